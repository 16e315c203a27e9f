//! The flags of a program that makes demonstrations, and its output files.

mod output;

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use convrec_catalog::Catalog;
use convrec_core::Example;
use convrec_demonstrations::services::{OpenServer, ServiceSettings};
use convrec_demonstrations::{
    Origin, Pipeline, PipelineConfig, PipelineOutput, Scored, Shard, augment,
};

use crate::data::DataOptions;
use crate::output::{say, warn};
use crate::services::{ServiceOptions, described, finished};
use crate::{Outcome, check_apart, check_folder, check_outputs, progress};

/// Endings of other formats, by which readers would take the demonstrations for these.
const OTHER_FORMATS: [&str; 6] = ["csv", "tsv", "json", "parquet", "arrow", "pkl"];

/// Memory bounds the conversations that are made.
fn at_most_a_million(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n <= 1_000_000 => Ok(n),
        _ => Err("expected a number, at most 1000000".into()),
    }
}

/// Endings of files beside `--out` that are replaced or removed.
const BESIDE: [&str; 3] = ["manifest.json", "failures.jsonl", "report.html"];

pub use output::Output;

/// The flags of Remap-Reflect-Adjust.
#[derive(Debug, Args)]
pub struct DemonstrationOptions {
    /// Catalog: JSON lines, CSV, or a pickled list of titles and years.
    #[arg(long)]
    pub catalog: PathBuf,
    /// Training conversations: JSON lines, or a folder or file of Hugging Face's `datasets`.
    #[arg(long)]
    pub conversations: PathBuf,
    /// The file of the demonstrations. A manifest and a report are written beside it. With --shard,
    /// the folder of the part.
    #[arg(long)]
    pub out: PathBuf,
    /// Settings of the pipeline, TOML.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Items in a list.
    #[arg(long)]
    pub n: Option<usize>,
    /// Adds this many conversations without words, of one to four items of a training dialog, so
    /// that the policy sees more of the catalog.
    #[arg(
        long,
        default_value_t = 0,
        value_parser = at_most_a_million,
        conflicts_with_all = ["answers", "services"]
    )]
    pub item_conversations: usize,
    /// Adds a conversation without words for every item of the catalog, in which it was seen.
    #[arg(long, conflicts_with_all = ["answers", "services"])]
    pub every_item: bool,
    /// Adds every conversation in which items were seen once more without them, so that the policy
    /// learns from words.
    #[arg(long, conflicts_with_all = ["answers", "services"])]
    pub without_seen: bool,
    /// Leaves Remap out, so that only items of the answer that are in the catalog are left.
    #[arg(long)]
    pub no_remap: bool,
    /// Leaves Reflect out.
    #[arg(long)]
    pub no_reflect: bool,
    /// Leaves Adjust out.
    #[arg(long)]
    pub no_adjust: bool,
    /// Asks about one part of the conversations only, as `2/8`, and writes it into the folder
    /// --out. --merge puts parts together.
    #[arg(long)]
    pub shard: Option<Shard>,
    /// Folders of parts. They are put together, adjusted and written, and no service is asked.
    #[arg(long, num_args = 1.., conflicts_with = "shard")]
    pub merge: Vec<PathBuf>,
    /// What becomes of rows that cannot be used.
    #[command(flatten)]
    pub data: DataOptions,
    /// Who answers and rates.
    #[command(flatten)]
    pub services: ServiceOptions,
}

impl DemonstrationOptions {
    /// The settings of the pipeline: defaults, the file, the flags.
    ///
    /// # Errors
    /// When the file cannot be read or a field is wrong.
    pub fn config(&self) -> Result<PipelineConfig, Box<dyn Error>> {
        let mut config = convrec_config::read(self.config.as_deref(), PipelineConfig::default())?;
        config.n = self.n.unwrap_or(config.n);
        config.remap &= !self.no_remap;
        config.reflect &= !self.no_reflect;
        config.adjust &= !self.no_adjust;
        Ok(config)
    }

    /// Checks before any work that `--out` and what is written beside it replace nothing that is
    /// read.
    ///
    /// # Errors
    /// [`OutputError`](crate::OutputError).
    pub fn check_files(&self, settings: &ServiceSettings) -> Outcome {
        let inputs = [&self.catalog, &self.conversations]
            .into_iter()
            .chain(&self.config);
        let inputs: Vec<PathBuf> = inputs
            .map(PathBuf::as_path)
            .chain(self.services.files().map(PathBuf::as_path))
            .chain(settings.files())
            .map(PathBuf::from)
            .collect();
        if self.shard.is_some() {
            check_folder(&self.out)?;
            return Ok(check_apart(&self.out, inputs.iter().map(PathBuf::as_path))?);
        }
        let ending = self.out.extension().and_then(|ending| ending.to_str());
        if let Some(ending) = ending.filter(|ending| OTHER_FORMATS.contains(ending)) {
            let out = self.out.display();
            let problem = format!("--out {out}: found `.{ending}`, expected `.jsonl`, the format");
            return Err(format!("{problem} of what is written").into());
        }
        let beside = BESIDE.map(|ending| self.out.with_extension(ending));
        Ok(check_outputs(beside.iter().chain([&self.out]), &inputs)?)
    }

    /// The catalog, described by the server where the settings ask for it and this is no part.
    ///
    /// # Errors
    /// When an item gets no answer.
    pub fn described(
        &self,
        settings: &ServiceSettings,
        server: Option<&OpenServer>,
        catalog: Catalog,
    ) -> Result<Catalog, Box<dyn Error>> {
        if self.shard.is_none() && self.merge.is_empty() {
            return described(settings, server, catalog);
        }
        if settings.describer.server {
            // Else each machine would pay for the same descriptions.
            warn(
                &"the catalog is taken as it is: its own items are described by a run without \
                   --shard and --merge",
            );
        }
        Ok(catalog)
    }

    /// Adds the conversations that `--item-conversations`, `--every-item` and `--without-seen` ask
    /// for.
    pub fn augment(&self, examples: &mut Vec<Example>, catalog: &Catalog, seed: u64) {
        let mut more = augment::item_conversations(examples, self.item_conversations, seed);
        if self.every_item {
            more.extend(augment::every_item(catalog));
        }
        if self.without_seen {
            more.extend(augment::without_seen(examples));
        }
        examples.extend(more);
    }

    /// Checks that Adjust has something to learn from, where it is on.
    ///
    /// # Errors
    /// When no ground truth is in the catalog.
    pub fn check_ground_truth(
        &self,
        config: &PipelineConfig,
        catalog: &Catalog,
        examples: &[Example],
    ) -> Outcome {
        let is_known = |example: &Example| {
            let mut items = example.ground_truth.iter();
            items.any(|item| catalog.find(item).is_some())
        };
        if config.adjust && self.shard.is_none() && !examples.iter().any(is_known) {
            let from = self.conversations.display();
            return Err(format!(
                "{from}: no `ground_truth` is in the catalog, so Adjust has nothing to learn; \
                 give --no-adjust"
            )
            .into());
        }
        Ok(())
    }

    /// The scored conversations: those of the parts of `--merge`, or the answers to all
    /// conversations, or to those of `--shard`, with a progress bar.
    ///
    /// # Errors
    /// When a service fails, a part cannot be read, or parts are of another origin.
    pub fn scored<'e>(
        &self,
        pipeline: &Pipeline<'_>,
        examples: &'e [Example],
        server: Option<&OpenServer>,
        origin: &Origin,
    ) -> Result<Scored<'e>, Box<dyn Error>> {
        if !self.merge.is_empty() {
            let (scored, found) = Scored::merge(&self.merge)?;
            found.check(origin)?;
            return Ok(scored);
        }
        let all = 0..examples.len();
        let part = self.shard.map_or(all, |shard| shard.range(examples.len()));
        let bars = progress::Stages::default();
        let usage = || {
            server
                .map(|server| server.usage().to_string())
                .unwrap_or_default()
        };
        let scored = pipeline.score(&examples[part], &|stage| bars.show(stage, usage()));
        bars.finish();
        finished(server)?;
        Ok(scored?)
    }
}

/// Adjusts and finishes scored conversations, with a progress spinner.
///
/// # Errors
/// As [`Pipeline::adjust`].
pub fn adjust(
    pipeline: &Pipeline<'_>,
    scored: &Scored<'_>,
) -> Result<PipelineOutput, Box<dyn Error>> {
    let bar = progress::spinner("adjust");
    let output = pipeline.adjust(scored, &|step| {
        let (n, norm, needed) = (step.iteration, step.gradient_norm, step.needed);
        bar.set_message(format!(
            "step {n}, gradient {norm:.1e}, needed {needed:.1e}"
        ));
        bar.tick();
    });
    bar.finish_and_clear();
    Ok(output?)
}

/// Writes the scored conversations of a part into a folder.
///
/// # Errors
/// When it cannot be written; [`Paused`](crate::Paused) when a conversation got no answer.
pub fn write_part(
    folder: &Path,
    shard: Shard,
    scored: &Scored<'_>,
    origin: &Origin,
    server: Option<&OpenServer>,
) -> Outcome {
    scored.write(folder, shard, origin)?;
    if let Some(server) = server {
        say(server.usage());
    }
    let n = scored.examples().len();
    say(format_args!(
        "part {shard}, {n} conversations, in {}",
        folder.display()
    ));
    output::complete(scored.failures(), "the same command asks for these again")
}
