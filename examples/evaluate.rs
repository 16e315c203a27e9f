//! Evaluates a policy, and baselines beside it: lists by greedy decoding or sampled, seen items
//! removed, exact match.

use std::error::Error;
use std::path::{Path, PathBuf};

use burn::module::Module;
use clap::Parser;
use convrec::device;
use convrec_catalog::{Catalog, top_k};
use convrec_cli::data::{read_catalog, read_conversations, read_examples, samples};
use convrec_cli::{Outcome, Table, at_least_one, check_output, exit};
use convrec_core::{Example, ItemId, files};
use convrec_demonstrations::scripted::{PopularityScorer, Scorer, Scorers};
use convrec_metrics::stats::{PairedTest, cluster_bootstrap, paired_test};
use convrec_metrics::trec::{Qrels, Run};
use convrec_metrics::{JudgedList, Measure};
use convrec_policy::Sampling;
use convrec_retrieve::Fitted;
use convrec_train::Model;
use convrec_train::evaluate::judge_example;
use convrec_train::evaluate::{Decoding, Evaluation, ListHealth, evaluate};

/// Evaluates a policy on conversations.
#[derive(Parser)]
struct Options {
    /// A model's folder; may be given often, and the first is compared with all else. Without one
    /// only the baselines are evaluated.
    #[arg(long)]
    model: Vec<PathBuf>,
    /// Let the list be whatever the policy writes. Without it only different unseen catalog items
    /// can be written.
    #[arg(long)]
    unconstrained: bool,
    /// Catalog: JSON lines, CSV, or a pickled list of titles and years.
    #[arg(long, required_unless_present = "score_run")]
    catalog: Option<PathBuf>,
    /// Conversations with ground truth, JSON lines.
    #[arg(long, required_unless_present = "score_run")]
    conversations: Option<PathBuf>,
    /// Treat items of the catalog that are most likely one as one. Published protocols do not.
    #[arg(long)]
    merge_twins: bool,
    /// Score this TREC run by the judgements of `--qrels`, and do nothing else. No catalog and no
    /// model are needed.
    #[arg(long, requires = "qrels", conflicts_with_all = ["model", "train", "run", "write_qrels"])]
    score_run: Option<PathBuf>,
    /// The judgements of `--score-run`: a TREC qrels file.
    #[arg(long, requires = "score_run")]
    qrels: Option<PathBuf>,
    /// Write the ground truth as a TREC qrels file, by which other tools can score `--run`.
    #[arg(long)]
    write_qrels: Option<PathBuf>,
    /// Training conversations: adds the baselines popularity, BM25 and co-occurrence, and what the
    /// informed scripted teacher ranks by.
    #[arg(long)]
    train: Option<PathBuf>,
    /// Writes the first model's lists as a TREC run; document `r<n>` is item n of the catalog,
    /// from 0.
    #[arg(long, requires = "model")]
    run: Option<PathBuf>,
    /// A retriever, as `fit_retriever` writes it: its ranking is evaluated beside the others.
    #[arg(long)]
    retriever: Option<PathBuf>,
    /// So many models at a time, in the order given, are seeds of one recipe: the mean of their
    /// measures is taken sample by sample.
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pool: usize,
    /// 0 is greedy decoding; 1 samples from the policy as it is.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f32,
    /// Of sampling.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Lists side by side; bounds memory.
    #[arg(long, default_value_t = 96, value_parser = at_least_one)]
    rows: usize,
}

/// What is compared: a baseline, or a policy of one or several seeds.
struct System {
    name: String,
    runs: Vec<Vec<JudgedList>>,
}

impl System {
    fn new(name: impl ToString, run: Vec<JudgedList>) -> Self {
        Self {
            name: name.to_string(),
            runs: vec![run],
        }
    }

    /// A measure of each sample: the mean over the runs.
    fn values(&self, measure: Measure) -> Vec<f64> {
        let of_sample = |n: usize| {
            let values = self.runs.iter().map(|run| measure.of(&run[n]));
            values.sum::<f64>() / self.runs.len() as f64
        };
        (0..self.runs[0].len()).map(of_sample).collect()
    }
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    if let Some((run, qrels)) = options.score_run.as_ref().zip(options.qrels.as_ref()) {
        return score_run(run, qrels);
    }
    for output in [&options.run, &options.write_qrels].into_iter().flatten() {
        check_output(output)?;
    }
    let (Some(catalog), Some(conversations)) = (&options.catalog, &options.conversations) else {
        return Err("--catalog and --conversations are needed".into());
    };
    let catalog = read_catalog(catalog)?;
    let catalog = if options.merge_twins {
        catalog.merge_twins()
    } else {
        catalog
    };
    let examples = read_examples(&catalog, conversations)?;
    if let Some(path) = &options.write_qrels {
        write_qrels(path, &catalog, &examples)?;
    }
    let dialogs: Vec<&str> = examples.iter().map(Example::dialog_id).collect();
    if !options.model.len().is_multiple_of(options.pool) {
        let (models, pool) = (options.model.len(), options.pool);
        return Err(format!("--pool {pool}: found {models} models, expected a multiple").into());
    }
    let mut systems: Vec<System> = Vec::new();
    let mut n_ranks = 20;
    for (place, folder) in options.model.iter().enumerate() {
        let (found, n) = policy(options, folder, &catalog, (conversations, &examples))?;
        if systems.is_empty() {
            n_ranks = n;
            options
                .run
                .as_deref()
                .map_or(Ok(()), |path| write_run(path, &examples, &found))?;
        } else if n != n_ranks {
            return Err(format!(
                "{}: lists of {n} items; those of the first model have {n_ranks}",
                folder.display()
            )
            .into());
        }
        let judged = found
            .samples
            .into_iter()
            .map(|sample| sample.judged)
            .collect();
        match systems.last_mut() {
            Some(system) if !place.is_multiple_of(options.pool) => system.runs.push(judged),
            _ => systems.push(System::new(folder.display(), judged)),
        }
    }
    if let Some(train) = &options.train {
        let train = read_conversations(train)?;
        let popularity = PopularityScorer::new(&catalog, &train);
        let scorers = Scorers::new(&catalog, &train);
        let baselines: [(&str, &dyn Scorer); 4] = [
            ("popularity", &popularity),
            ("bm25", &scorers.bm25),
            ("cooccurrence", &scorers.cooccurrence),
            ("heuristic teacher", &scorers.heuristic()),
        ];
        for (name, scorer) in baselines {
            let judged = examples
                .iter()
                .map(|example| baseline(&catalog, scorer, example, n_ranks))
                .collect();
            systems.push(System::new(name, judged));
        }
    }
    if let Some(path) = &options.retriever {
        let retriever = Fitted::read(path)?.over(&catalog);
        let judged = examples
            .iter()
            .map(|example| baseline(&catalog, &retriever, example, n_ranks))
            .collect();
        systems.push(System::new(path.display(), judged));
    }
    if systems.is_empty() && options.write_qrels.is_some() {
        return Ok(());
    }
    let Some((first, others)) = systems.split_first() else {
        return Err("nothing to evaluate: give --model, --train or both".into());
    };
    let measures = measures(n_ranks);
    let heading = |corner: &str| {
        std::iter::once(corner.to_string()).chain(measures.iter().map(Measure::to_string))
    };
    let mut table = Table::new(heading(""));
    systems.iter().for_each(|system| {
        let cells = measures.iter();
        table.row(
            &system.name,
            cells.map(|m| cell(&system.values(*m), &dialogs)),
        )
    });
    println!("{}", table.print());
    println!(
        "{} samples of {} dialogs; 95% intervals by resampling dialogs\n",
        examples.len(),
        distinct(&dialogs)
    );
    if !options.model.is_empty() && !others.is_empty() {
        let mut table = Table::new(heading("delta to first model"));
        others.iter().for_each(|other| {
            let of = |m: &Measure| difference(&first.values(*m), &other.values(*m), &dialogs);
            table.row(&other.name, measures.iter().map(of));
        });
        println!("{}", table.print());
        println!(
            "p: paired permutation test over dialogs, not corrected for the number of comparisons"
        );
    }
    Ok(())
}

/// A policy's lists, and N.
fn policy(
    options: &Options,
    folder: &Path,
    catalog: &Catalog,
    (conversations, examples): (&Path, &[Example]),
) -> Result<(Evaluation, usize), Box<dyn Error>> {
    let Model { policy, language } = Model::load(folder, &device()?)?;
    let task = language.task_for(catalog.clone(), options.unconstrained)?;
    let samples = samples(&task, examples, conversations)?;
    let sampling = Sampling {
        temperature: options.temperature,
        ..Sampling::default()
    };
    sampling
        .check()
        .map_err(|e| format!("--temperature: {e}"))?;
    let decoding = Decoding {
        sampling,
        max_rows: options.rows,
        seed: options.seed,
        ..language.format.greedy()
    };
    let found = evaluate(&policy.valid(), &task, &samples, &decoding);
    let ListHealth {
        valid_lines,
        in_catalog,
        duplicates,
        seen,
        length,
        ended,
    } = found.health;
    println!(
        "{}: valid lines {valid_lines:.4}, in catalog {in_catalog:.4}, duplicates {duplicates:.4}, seen {seen:.4}, \
         items a list {length:.2}, ended {ended:.4}",
        folder.display()
    );
    Ok((found, language.format.n_ranks))
}

fn baseline(
    catalog: &Catalog,
    scorer: &dyn Scorer,
    example: &Example,
    n_ranks: usize,
) -> JudgedList {
    let scores = scorer.scores(example);
    let ranking: Vec<ItemId> = top_k(&scores, n_ranks + example.seen.len())
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    judge_example(catalog, example, &ranking, n_ranks)
}

fn measures(n_ranks: usize) -> Vec<Measure> {
    let cuts: Vec<usize> = [5, 10, 15, 20]
        .into_iter()
        .filter(|k| *k < n_ranks)
        .chain([n_ranks])
        .collect();
    cuts.iter()
        .map(|k| Measure::Recall(*k))
        .chain(cuts.iter().map(|k| Measure::Ndcg(*k)))
        .collect()
}

fn cell(values: &[f64], dialogs: &[&str]) -> String {
    match cluster_bootstrap(values, dialogs, 1, 2000) {
        Ok(interval) => format!(
            "{:.4} ±{:.4}",
            interval.mean,
            (interval.high - interval.low) / 2.0
        ),
        Err(_) => format!("{:.4}", mean(values)),
    }
}

fn difference(ours: &[f64], theirs: &[f64], dialogs: &[&str]) -> String {
    match paired_test(ours, theirs, dialogs, 1, 2000) {
        Ok(PairedTest {
            difference: d,
            p_value,
        }) => {
            let p = if p_value < 0.001 {
                "p < .001".to_string()
            } else {
                format!("p {p_value:.3}")
            };
            format!("{:+.4} ±{:.4} {p}", d.mean, (d.high - d.low) / 2.0)
        }
        Err(_) => format!("{:+.4}", mean(ours) - mean(theirs)),
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn distinct(dialogs: &[&str]) -> usize {
    dialogs
        .iter()
        .collect::<std::collections::HashSet<_>>()
        .len()
}

/// Prints the measures of a run, with intervals over the queries of a dialog.
fn score_run(run: &Path, qrels: &Path) -> Outcome {
    let (run, qrels) = (Run::read_file(run)?, Qrels::read_file(qrels)?);
    let judged = qrels.judge(&run);
    let dialogs: Vec<&str> = qrels
        .queries()
        .map(|query| query.rsplit_once('-').map_or(query, |(dialog, _)| dialog))
        .collect();
    let ranked = [Measure::Mrr(20), Measure::Map(20), Measure::HitRate(20)];
    for measure in measures(20).into_iter().chain(ranked) {
        let values: Vec<f64> = judged.iter().map(|list| measure.of(list)).collect();
        println!("{measure:<10} {}", cell(&values, &dialogs));
    }
    println!(
        "{}: {} queries judged, {} in the run; 95% intervals by resampling {} dialogs",
        run.tag(),
        judged.len(),
        run.queries().len(),
        distinct(&dialogs)
    );
    Ok(())
}

/// Writes the ground truth of the examples: the unseen relevant items.
fn write_qrels(path: &Path, catalog: &Catalog, examples: &[Example]) -> Outcome {
    let mut qrels = Qrels::default();
    for example in examples {
        let ids = catalog.example_ids(example)?.ground_truth;
        let documents: Vec<String> = ids.iter().map(|id| format!("r{}", id.0)).collect();
        qrels.add(&example.id, documents.iter().map(String::as_str))?;
    }
    println!("{}: the ground truth as TREC qrels", path.display());
    Ok(files::write_atomic(path, |out| qrels.write(out))?)
}

fn write_run(path: &Path, examples: &[Example], found: &Evaluation) -> Outcome {
    let mut run = Run::new("convrec")?;
    for (example, sample) in examples.iter().zip(&found.samples) {
        let documents: Vec<String> = sample.list.iter().map(|id| format!("r{}", id.0)).collect();
        run.add(&example.id, documents.iter().map(String::as_str))?;
    }
    let mut text = Vec::new();
    run.write(&mut text)?;
    println!("{}: the lists as a TREC run", path.display());
    Ok(files::write_atomic(path, |out| out.write_all(&text))?)
}
