//! Ranks anew what another search found: a TREC run goes in, and one goes out.

use std::path::PathBuf;

use clap::Parser;
use convrec::burn::module::Module;
use convrec::core::{Candidates, files};
use convrec::device;
use convrec::metrics::trec::Run;
use convrec::prelude::*;
use convrec::train::trec;
use convrec_cli::data::{DataOptions, TwinRule, in_catalog_file};
use convrec_cli::{Outcome, at_least_one, check_outputs, exit, say};

/// Ranks candidates of conversations by a trained policy.
#[derive(Parser)]
struct Options {
    /// The model's folder.
    #[arg(long)]
    model: PathBuf,
    /// Catalog: JSON lines, CSV, or a pickled list of titles and years.
    #[arg(long)]
    catalog: PathBuf,
    /// The conversations. Their ids are the queries of the run.
    #[arg(long)]
    conversations: PathBuf,
    /// The candidates: a TREC run. Document `r<n>` is item n of the catalog, from 0.
    #[arg(long)]
    candidates: PathBuf,
    /// The first so many candidates of a conversation are ranked.
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    depth: usize,
    /// Where the ranked lists go, as a TREC run. What the policy does not list stays behind, in its
    /// order.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    data: DataOptions,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let inputs = [
        &options.catalog,
        &options.conversations,
        &options.candidates,
    ];
    check_outputs([&options.out], inputs)?;
    let model = Model::load(&options.model, &device()?)?;
    let catalog = options.data.catalog(&options.catalog, TwinRule::Keep)?;
    let task = in_catalog_file(&options.catalog, model.language.task_for(catalog, false))?;
    let given = Run::read_file(&options.candidates)?;
    let file = options.candidates.display();
    let (mut samples, mut found) = (vec![], vec![]);
    for example in options.data.conversations(&options.conversations)? {
        let items = trec::listed(&given, &example.id, task.catalog());
        let items = items.map_err(|e| format!("{file}: {e}"))?;
        if !items.is_empty() {
            let first = Candidates::new(items.iter().take(options.depth).copied());
            let first = task.prior_among(&example, first);
            samples.push(task.among(task.sample(&example)?, first)?);
            found.push(items);
        }
    }
    if samples.is_empty() {
        return Err(format!("{file}: no query is the id of a conversation").into());
    }
    let decoding = model.language.format.greedy();
    let ranked = evaluate(&model.policy.valid(), &task, &samples, &decoding);
    let mut run = Run::new("rerank")?;
    for ((sample, best), found) in samples.iter().zip(ranked.samples).zip(found) {
        let each_once = Candidates::new(best.list.into_iter().chain(found));
        trec::add_list(&mut run, &sample.id, each_once.items())?;
    }
    files::write_atomic(&options.out, |out| run.write(out))?;
    say(format_args!(
        "{}: {ranked} lists",
        options.out.display(),
        ranked = samples.len()
    ));
    Ok(())
}
