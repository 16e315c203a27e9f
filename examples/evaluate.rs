//! Evaluates models, and baselines beside them, by one list for each conversation. Seen items are
//! removed, and items must match exactly.

use std::path::PathBuf;

use clap::Parser;
use convrec::burn::module::Module;
use convrec::device;
use convrec::prelude::*;
use convrec::retrieve::Fitted;
use convrec::train::trec;
use convrec_cli::data::{DataOptions, TwinRule, in_catalog_file, samples_of};
use convrec_cli::{Comparison, Outcome, at_least_one, check_outputs, exit, recall_and_ndcg, say};

/// Evaluates models on conversations.
#[derive(Parser)]
struct Options {
    /// A model's folder. It may be given often, and the first model is compared with all others.
    /// Without one only the baselines are evaluated.
    #[arg(long, required_unless_present_any = ["train", "retriever", "write_qrels"])]
    model: Vec<PathBuf>,
    /// Let the policy write unconstrained lists. Without this flag only different unseen catalog
    /// items can be written.
    #[arg(long)]
    unconstrained: bool,
    /// Catalog: JSON lines, CSV, or a pickled list of titles and years.
    #[arg(long)]
    catalog: PathBuf,
    /// Conversations with ground truth.
    #[arg(long)]
    conversations: PathBuf,
    #[command(flatten)]
    data: DataOptions,
    /// Training conversations: adds the baselines popularity, BM25, co-occurrence, and what the
    /// heuristic scripted teacher ranks by.
    #[arg(long)]
    train: Option<PathBuf>,
    /// Write the first model's lists as a TREC run; document `r<n>` is item n of the catalog,
    /// from 0. The example `score_run` scores it.
    #[arg(long, requires = "model")]
    run: Option<PathBuf>,
    /// Write the ground truth as a TREC qrels file, by which other tools can score `--run`.
    #[arg(long)]
    write_qrels: Option<PathBuf>,
    /// A retriever, as `fit_retriever` writes it: its ranking is evaluated beside the others. It may
    /// be given often. Without a model the first one is compared with all others.
    #[arg(long)]
    retriever: Vec<PathBuf>,
    /// So many models at a time, in the order given, are seeds of one recipe: the mean of their
    /// measures is taken sample by sample.
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pool: usize,
    /// The temperature. 0 is greedy decoding; 1 samples from the policy as it is.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f32,
    /// The seed of sampling.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of lists side by side, which bounds memory.
    #[arg(long, default_value_t = 96, value_parser = at_least_one)]
    rows: usize,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    check_outputs(
        [&options.run, &options.write_qrels].into_iter().flatten(),
        [&options.catalog, &options.conversations]
            .into_iter()
            .chain(&options.train)
            .chain(&options.retriever),
    )?;
    let catalog = options.data.catalog(&options.catalog, TwinRule::Keep)?;
    let file = &options.conversations;
    let examples = options.data.judged_examples(&catalog, file)?;
    if options.run.is_some() {
        let failed = |e| {
            format!(
                "{}: {e}; --run needs ids that TREC files can hold",
                file.display()
            )
        };
        trec::check_queries(&examples).map_err(failed)?;
    }
    if let Some(path) = &options.write_qrels {
        trec::write_qrels(path, &catalog, &examples)?;
        say(format_args!(
            "{}: the ground truth as TREC qrels",
            path.display()
        ));
    }

    let (models, pool) = (options.model.len(), options.pool);
    if !models.is_multiple_of(pool) {
        return Err(format!("--pool {pool}: found {models} models, expected a multiple").into());
    }

    let mut lists = vec![];
    for folder in &options.model {
        let model = Model::load(folder, &device()?)?;
        let task = model
            .language
            .task_for(catalog.clone(), options.unconstrained);
        let task = in_catalog_file(&options.catalog, task)?;
        let (samples, asked) = samples_of(&task, &examples, file, folder)?;
        let decoding = Decoding {
            sampling: Sampling {
                temperature: options.temperature,
                ..Sampling::default()
            },
            max_rows: options.rows,
            seed: options.seed,
            ..model.language.format.greedy()
        };
        decoding
            .sampling
            .check()
            .map_err(|e| format!("--temperature: {e}"))?;
        let found = evaluate(&model.policy.valid(), &task, &samples, &decoding);
        say(format_args!("{}: {}", folder.display(), found.health));
        if let (true, Some(path)) = (lists.is_empty(), &options.run) {
            trec::write_run(path, examples.iter().zip(&asked), &found)?;
            say(format_args!("{}: the lists as a TREC run", path.display()));
        }
        lists.push((
            folder.display().to_string(),
            task.n_ranks(),
            found.judged_of(&asked),
        ));
    }

    let n_ranks = lists.first().map_or(20, |(_, n, _)| *n);
    if let Some((name, other, _)) = lists.iter().find(|(_, n, _)| *n != n_ranks) {
        return Err(format!("{name}: lists of {other} items; the first has {n_ranks}").into());
    }
    let dialogs = examples.iter().map(Example::dialog_id);
    let mut comparison = Comparison::new(dialogs, recall_and_ndcg(n_ranks));
    for (place, (name, _, judged)) in lists.into_iter().enumerate() {
        match place % options.pool {
            0 => comparison.add(name, judged),
            _ => comparison.add_run(judged),
        }
    }
    for path in &options.retriever {
        let retriever = Fitted::read(path)?.over(&catalog);
        let name = path.display().to_string();
        comparison.add_scorer(&name, &retriever, &catalog, &examples, n_ranks);
    }
    if let Some(train) = &options.train {
        let train = options.data.conversations(train)?;
        comparison.add_baselines(&catalog, &examples, &train, n_ranks);
    }
    if !comparison.is_empty() {
        comparison.print();
    }
    Ok(())
}
