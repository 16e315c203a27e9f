//! Fits a retriever to training conversations, measures how many relevant items are among its
//! candidates, and writes lists to imitate.

use std::path::PathBuf;

use clap::Parser;
use convrec::core::jsonl;
use convrec::metrics::Measure;
use convrec::retrieve::Fitted;
use convrec::train::evaluate::judge_example;
use convrec_cli::data::{DataOptions, TwinRule};
use convrec_cli::{Outcome, Table, at_least_one, check_outputs, exit, say, say_table};
use rayon::prelude::*;

/// Fits a retriever: the weights of co-occurrence, words, similarity and BM25 in one score.
#[derive(Parser)]
struct Options {
    /// Catalog: JSON lines, CSV, or a pickled list of titles and years.
    #[arg(long)]
    catalog: PathBuf,
    /// Training conversations with ground truth.
    #[arg(long)]
    conversations: PathBuf,
    /// Where the retriever goes.
    #[arg(long)]
    out: PathBuf,
    /// The candidates that a policy gets for a conversation.
    #[arg(long, default_value_t = 300, value_parser = at_least_one)]
    candidates: usize,
    /// The factor of the scores that are added to a policy's logits.
    #[arg(long, default_value_t = 1.0, value_parser = weight)]
    weight: f32,
    /// Conversations that the candidates are measured on.
    #[arg(long)]
    validation: Option<PathBuf>,
    /// Where lists to imitate go. The relevant items come first, then candidates that are drawn by
    /// their scores.
    #[arg(long)]
    demonstrations: Option<PathBuf>,
    /// Put what was right at any rank, for `train_sft --accepted-only`.
    #[arg(long, requires = "demonstrations")]
    anywhere: bool,
    /// Lists for each conversation.
    #[arg(long, default_value_t = 2, value_parser = at_least_one)]
    draws: usize,
    /// Items in a list.
    #[arg(long, default_value_t = 20, value_parser = at_least_one)]
    n: usize,
    /// The seed of the draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    data: DataOptions,
}

/// A factor that scores can be multiplied by.
fn weight(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(weight) if weight > 0.0 && weight <= 1e3 => Ok(weight),
        _ => Err("expected a number above 0, at most 1000".into()),
    }
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    check_outputs(
        [&options.out].into_iter().chain(&options.demonstrations),
        [&options.catalog, &options.conversations]
            .into_iter()
            .chain(&options.validation),
    )?;
    let catalog = options.data.catalog(&options.catalog, TwinRule::Keep)?;
    let training = options.data.conversations(&options.conversations)?;
    let mut fitted = Fitted::fit(&catalog, &training)?;
    (fitted.n_candidates, fitted.weight) = (options.candidates, options.weight);
    fitted.write(&options.out)?;
    let mut table = Table::new(["source", "ln(1 + score)", "share", "ln(share)"].map(String::from));
    for (name, weights) in fitted.weights() {
        table.row(name, weights.map(|weight| format!("{weight:.3}")));
    }
    say_table(&table);
    let retriever = fitted.over(&catalog);
    if let Some(path) = &options.validation {
        let examples = options.data.judged_examples(&catalog, path)?;
        let cuts = [10, 20, 100, 200, options.candidates];
        let most = *cuts.iter().max().unwrap_or(&1);
        let judged: Vec<_> = examples
            .par_iter()
            .map(|example| {
                let found = retriever.candidates(example, most);
                judge_example(&catalog, example, found.items(), most)
            })
            .collect();
        for measure in cuts
            .map(Measure::Recall)
            .into_iter()
            .chain([Measure::Ndcg(20)])
        {
            say(format_args!("{measure}: {:.4}", measure.mean(&judged)));
        }
    }
    if let Some(path) = &options.demonstrations {
        let draw = |n: usize| {
            let seed = options.seed + n as u64;
            retriever.demonstrations(&training, options.n, options.anywhere, seed)
        };
        let lists: Vec<_> = (0..options.draws).flat_map(draw).collect();
        jsonl::write_file(path, &lists)?;
        say(format_args!(
            "{} demonstrations in {}",
            lists.len(),
            path.display()
        ));
    }
    say(format_args!(
        "the retriever is in {}: {} conversations are counted",
        options.out.display(),
        fitted.conversations()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn options_are_sound() {
        super::Options::command().debug_assert();
    }
}
