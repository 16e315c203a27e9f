//! Makes demonstrations by Remap-Reflect-Adjust: conversations and a teacher's answers in, lists
//! from the catalog out.
//!
//! The teacher is a model on a server (`--services`), a file of answers (`--answers`), or, where neither
//! is given, scripted from the conversations (co-occurrence and BM25), errors included.

mod items;
mod output;

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use convrec_cli::data::{DataOptions, TwinRule};
use convrec_cli::services::{ServiceOptions, described, finished, handed_in, open_server};
use convrec_cli::{Outcome, check_apart, check_folder, check_output, exit, progress, say, warn};
use convrec_core::{Example, printable};
use convrec_demonstrations::scripted::Scorers;
use convrec_demonstrations::services::{OpenServer, OpenServices};
use convrec_demonstrations::{Pipeline, PipelineConfig, Scored, Shard};

/// Makes demonstrations by Remap-Reflect-Adjust.
#[derive(Parser)]
struct Options {
    /// Catalog: JSON lines, CSV, or a pickled list of titles and years.
    #[arg(long)]
    catalog: PathBuf,
    /// Training conversations: JSON lines, or a folder or file of Hugging Face's `datasets`.
    #[arg(long)]
    conversations: PathBuf,
    /// Where the demonstrations go; beside them a manifest and a report. With --shard, the folder
    /// of the part.
    #[arg(long)]
    out: PathBuf,
    /// Settings of the pipeline, TOML.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Items in a list.
    #[arg(long)]
    n: Option<usize>,
    /// Adds so many conversations without words, of one to four items of a training dialog, so
    /// that the policy sees more of the catalog.
    #[arg(long, default_value_t = 0, conflicts_with_all = ["answers", "services"])]
    item_conversations: usize,
    /// Adds a conversation without words for every item of the catalog, in which it was seen.
    #[arg(long, conflicts_with_all = ["answers", "services"])]
    every_item: bool,
    /// Adds every conversation in which items were seen once more as if none were, so that the
    /// policy learns what words say.
    #[arg(long, conflicts_with_all = ["answers", "services"])]
    forgetful: bool,
    /// Leaves Remap out: only items of the answer that are in the catalog are left.
    #[arg(long)]
    no_remap: bool,
    /// Leaves Reflect out.
    #[arg(long)]
    no_reflect: bool,
    /// Leaves Adjust out.
    #[arg(long)]
    no_adjust: bool,
    /// Asks about one part of the conversations only, as `2/8`, and writes it into the folder
    /// --out; --merge puts parts together.
    #[arg(long)]
    shard: Option<Shard>,
    /// Folders of parts: nobody is asked, they are put together, adjusted and written.
    #[arg(long, num_args = 1.., conflicts_with = "shard")]
    merge: Vec<PathBuf>,
    #[command(flatten)]
    data: DataOptions,
    #[command(flatten)]
    services: ServiceOptions,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let started = Instant::now();
    let settings = options.services.settings()?;
    match options.shard {
        Some(_) => check_folder(&options.out)?,
        None => check_output(&options.out)?,
    }
    let inputs = [&options.catalog, &options.conversations]
        .into_iter()
        .chain(&options.config);
    check_apart(
        &options.out,
        inputs
            .chain(options.services.files())
            .map(PathBuf::as_path)
            .chain(settings.files()),
    )?;
    let mut config = convrec_config::read(options.config.as_deref(), PipelineConfig::default())?;
    config.n = options.n.unwrap_or(config.n);
    config.remap &= !options.no_remap;
    config.reflect &= !options.no_reflect;
    config.adjust &= !options.no_adjust;

    let server = open_server(&settings)?;
    let server = server.as_ref();
    let catalog = options.data.catalog(&options.catalog, TwinRule::Keep)?;
    // Parts take the catalog as it is: else each machine would pay for the same descriptions.
    let whole = options.shard.is_none() && options.merge.is_empty();
    if settings.describer.server && !whole {
        warn(&format_args!(
            "the catalog is taken as it is: its own items are described by a run without --shard and --merge"
        ));
    }
    let catalog = if whole {
        described(&settings, server, catalog)?
    } else {
        catalog
    };
    let mut examples = options.data.conversations(&options.conversations)?;
    say(format_args!(
        "conversations: {}",
        convrec_train::data::survey(&catalog, &examples)
    ));
    let scorers = Scorers::new(&catalog, &examples);
    let handed_in = handed_in(&settings, server, &catalog, &convrec::device()?)?;
    let chosen = OpenServices::open(&settings, &catalog, &scorers, handed_in)?;
    let all = examples.len();
    chosen.keep_answered(&mut examples)?;
    if examples.len() < all {
        say(format_args!(
            "{} of {all} conversations have an answer",
            examples.len()
        ));
    }
    let mut more = items::item_conversations(&examples, options.item_conversations, settings.seed);
    more.extend(
        options
            .every_item
            .then(|| items::every_item(&catalog))
            .into_iter()
            .flatten(),
    );
    more.extend(
        options
            .forgetful
            .then(|| items::forgetful(&examples))
            .into_iter()
            .flatten(),
    );
    examples.extend(more);
    let origin = output::origin(&config, &catalog, &examples, &chosen);
    chosen
        .names()
        .iter()
        .for_each(|(role, name)| say(format_args!("{role}: {}", printable(name))));
    let known = |example: &Example| {
        example
            .ground_truth
            .iter()
            .any(|item| catalog.find(item).is_some())
    };
    if config.adjust && options.shard.is_none() && !examples.iter().any(known) {
        let from = options.conversations.display();
        return Err(format!(
            "{from}: no `ground_truth` is in the catalog, so Adjust has nothing to learn; give --no-adjust"
        )
        .into());
    }
    let pipeline = Pipeline::new(config, &catalog, chosen.services())?;

    let scored = if options.merge.is_empty() {
        let part = options
            .shard
            .map_or(0..examples.len(), |shard| shard.range(examples.len()));
        score(&pipeline, &examples[part], server)?
    } else {
        let (scored, found) = Scored::merge(&options.merge)?;
        output::check_origin(&found, &origin)?;
        scored
    };
    let usage = server.map(OpenServer::usage);
    if let Some(shard) = options.shard {
        scored.write(&options.out, shard, &origin)?;
        usage.iter().for_each(|usage| say(format_args!("{usage}")));
        say(format_args!(
            "part {shard}, {} conversations, in {}",
            scored.examples().len(),
            options.out.display()
        ));
        return output::complete(scored.failures(), "the same command asks for these again");
    }
    let bar = progress::spinner("adjust");
    let output = pipeline.adjust(&scored, &|step| {
        let (norm, needed) = (step.gradient_norm, step.needed);
        bar.set_message(format!(
            "step {}, gradient {norm:.1e}, needed {needed:.1e}",
            step.iteration
        ));
        bar.tick();
    });
    bar.finish_and_clear();
    output::Output {
        options,
        described: settings.describer.server,
        catalog: &catalog,
        origin: &origin,
        scored: &scored,
        output: &output?,
        usage,
    }
    .write(started.elapsed())
}

/// Asks everybody.
fn score<'e>(
    pipeline: &Pipeline<'_>,
    examples: &'e [Example],
    server: Option<&OpenServer>,
) -> Result<Scored<'e>, Box<dyn std::error::Error>> {
    let bars = progress::Stages::default();
    let usage = || {
        server
            .map(|server| server.usage().to_string())
            .unwrap_or_default()
    };
    let scored = pipeline.score(examples, &|progress| bars.show(progress, usage()));
    bars.finish();
    finished(server)?;
    Ok(scored?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn options_are_sound() {
        super::Options::command().debug_assert();
    }
}
