//! Scores TREC runs by TREC judgements. No catalog and no model are needed.

use std::path::PathBuf;

use clap::Parser;
use convrec::metrics::Measure;
use convrec::metrics::trec::{Qrels, Run};
use convrec_cli::{Comparison, Outcome, exit, recall_and_ndcg};

/// Scores runs, and compares the first with the others.
#[derive(Parser)]
struct Options {
    /// The judgements: a TREC qrels file.
    #[arg(long)]
    qrels: PathBuf,
    /// The runs: TREC run files.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let qrels = Qrels::read_file(&options.qrels)?;
    // Queries are named dialog-turn; those of one dialog are resampled together.
    let dialog = |query: &'_ str| match query.rsplit_once('-') {
        Some((dialog, _)) => dialog.to_string(),
        None => query.to_string(),
    };
    let measures = recall_and_ndcg(20).into_iter();
    let measures = measures.chain([Measure::Mrr(20), Measure::Map(20), Measure::HitRate(20)]);
    let mut comparison = Comparison::new(qrels.queries().map(dialog), measures.collect());
    for path in &options.runs {
        let run = Run::read_file(path)?;
        if !qrels
            .queries()
            .any(|query| run.ranking(query).next().is_some())
        {
            let (run, qrels) = (path.display(), options.qrels.display());
            return Err(format!(
                "{run}: found no list for a query of {qrels}; expected the same query ids in both"
            )
            .into());
        }
        let name = format!("{} ({} queries)", run.tag(), run.queries().len());
        comparison.add(name, qrels.judge(&run));
    }
    comparison.print();
    Ok(())
}
