//! Makes demonstrations by Remap-Reflect-Adjust: conversations and a teacher's answers in, lists from the catalog out.
//!
//! The teacher is a model on a server (`--llm`), a file of answers (`--answers`), or, where neither is given, scripted from
//! the conversations (co-occurrence and BM25), errors included.

mod items;
mod output;

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use convrec_cloning::{Cloned, Pipeline, PipelineConfig, PipelineError, Progress, Scored, Shard};
use convrec_core::Example;
use convrec_examples::data::{read_catalog, read_conversations};
use convrec_examples::services::{Backend, Chosen, Scorers, ServiceOptions};
use convrec_examples::{Outcome, check_output, exit, settings, show};

/// Makes demonstrations by Remap-Reflect-Adjust.
#[derive(Parser)]
struct Options {
    /// Catalog: JSON lines, CSV, or a pickled list of titles and years.
    #[arg(long)]
    catalog: PathBuf,
    /// Training conversations: JSON lines, or a folder or file of Hugging Face's `datasets`.
    #[arg(long)]
    conversations: PathBuf,
    /// Where the demonstrations go; beside them a manifest and a report. With --shard, the folder of the part.
    #[arg(long)]
    out: PathBuf,
    /// Settings of the pipeline, TOML.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Items in a list.
    #[arg(long)]
    n: Option<usize>,
    /// Adds so many conversations without words, of one to four items of a training dialog, so that the policy sees
    /// more of the catalog.
    #[arg(long, default_value_t = 0, conflicts_with_all = ["answers", "llm"])]
    item_conversations: usize,
    /// Leaves Remap out: only items of the answer that are in the catalog are left.
    #[arg(long)]
    no_remap: bool,
    /// Leaves Reflect out.
    #[arg(long)]
    no_reflect: bool,
    /// Leaves Adjust out.
    #[arg(long)]
    no_adjust: bool,
    /// Asks about one part of the conversations only, as `2/8`, and writes it into the folder --out; --merge puts parts
    /// together.
    #[arg(long)]
    shard: Option<Shard>,
    /// Folders of parts: nobody is asked, they are put together, adjusted and written.
    #[arg(long, num_args = 1.., conflicts_with = "shard")]
    merge: Vec<PathBuf>,
    #[command(flatten)]
    services: ServiceOptions,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let started = Instant::now();
    if options.shard.is_none() {
        check_output(&options.out)?;
    }
    let mut config = settings::read(options.config.as_deref(), PipelineConfig::default())?;
    settings::set(&mut config.n, options.n);
    config.remap &= !options.no_remap;
    config.reflect &= !options.no_reflect;
    config.adjust &= !options.no_adjust;

    let backend = options.services.backend()?;
    let catalog = read_catalog(&options.catalog)?;
    let catalog = options.services.described(backend.as_ref(), catalog)?;
    let mut examples = read_conversations(&options.conversations)?;
    let scorers = Scorers::new(&catalog, &examples);
    let chosen = Chosen::new(&options.services, backend.as_ref(), &catalog, &scorers)?;
    chosen.keep_answered(&mut examples, &options.conversations)?;
    examples.extend(items::item_conversations(&examples, options.item_conversations, options.services.seed));
    let origin = output::origin(&config, &catalog, &examples, &chosen);
    let pipeline = Pipeline::new(config, &catalog, chosen.services())?;

    let scored = if options.merge.is_empty() {
        let part = options.shard.map_or(0..examples.len(), |shard| shard.range(examples.len()));
        match score(&pipeline, &examples[part], backend.as_ref(), options)? {
            Some(scored) => scored,
            None => return Ok(()),
        }
    } else {
        let (scored, found) = Scored::merge(&options.merge)?;
        output::check_origin(&found, &origin)?;
        scored
    };
    if let Some(shard) = options.shard {
        scored.write(&options.out, shard, &origin)?;
        println!("part {shard} in {}", options.out.display());
        return Ok(());
    }
    let cloned = adjust(&pipeline, &config, &scored)?;
    let usage = backend.as_ref().map(Backend::usage);
    output::Output { options, catalog: &catalog, origin: &origin, scored: &scored, cloned: &cloned, usage }
        .write(started.elapsed())
}

/// Asks everybody; nothing where that was not all that is needed: at Ctrl-C, or where requests go into batch files.
fn score<'e>(
    pipeline: &Pipeline<'_>,
    examples: &'e [Example],
    backend: Option<&Backend>,
    options: &Options,
) -> Result<Option<Scored<'e>>, Box<dyn std::error::Error>> {
    let bars = show::Stages::default();
    let show = |progress: Progress| {
        bars.show(progress, backend.map(|backend| backend.usage().to_string()).unwrap_or_default())
    };
    let scored = pipeline.score(examples, &show);
    bars.finish();
    let Some(backend) = backend else { return Ok(Some(scored?)) };
    if backend.stopped() {
        return Err("stopped; the answers so far are kept, and the same command goes on".into());
    }
    if let Some(files) = backend.write_batch(&options.services)?.filter(|files| *files > 0) {
        let folder = options.services.batch.as_deref().unwrap_or(&options.out).display();
        println!("{files} files of requests in {folder}; send them, then give what comes back as --batch-results");
        return Ok(None);
    }
    if scored.is_err() {
        println!("{}", backend.usage());
    }
    Ok(Some(scored?))
}

fn adjust(pipeline: &Pipeline<'_>, config: &PipelineConfig, scored: &Scored<'_>) -> Result<Cloned, PipelineError> {
    let fit = match config.adjust {
        false => None,
        true => {
            let bar = show::spinner("adjust");
            let fit = pipeline.fit(scored, &|step| {
                let (norm, needed) = (step.gradient_norm, step.needed);
                bar.set_message(format!("step {}, gradient {norm:.1e}, needed {needed:.1e}", step.iteration));
                bar.tick();
            });
            bar.finish_and_clear();
            Some(fit?)
        }
    };
    let cloned = pipeline.finish(scored, fit.as_ref().map(|fit| &fit.adjust));
    Ok(Cloned { fit, ..cloned })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn options_are_sound() {
        super::Options::command().debug_assert();
    }
}
