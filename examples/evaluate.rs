//! Evaluates a policy, and baselines beside it: lists by greedy decoding or sampled, seen items removed, exact match.

use std::path::PathBuf;

use burn::module::Module;
use clap::Parser;
use convrec_catalog::{Catalog, top_k};
use convrec_cloning::scripted::{Bm25Scorer, Cooccurrence, Popularity, Scorer};
use convrec_core::{Example, ItemId, files, jsonl};
use convrec_examples::judging::{judge, mean};
use convrec_examples::training::{at_least_one, read_examples, read_samples};
use convrec_examples::{Outcome, check_output, device::device, exit, model_folder, show};
use convrec_metrics::stats::cluster_bootstrap;
use convrec_metrics::trec::Run;
use convrec_metrics::{JudgedList, Measure};
use convrec_policy::Sampling;
use convrec_train::evaluate::{Decoding, evaluate};

/// Evaluates a policy on conversations.
#[derive(Parser)]
struct Options {
    /// The model's folder; without one only the baselines are evaluated.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Let the list be whatever the policy writes. Without it only different unseen catalog items can be written.
    #[arg(long)]
    free: bool,
    /// Catalog, JSON lines.
    #[arg(long)]
    catalog: PathBuf,
    /// Conversations with ground truth, JSON lines.
    #[arg(long)]
    conversations: PathBuf,
    /// Training conversations: adds the baselines popularity, BM25 and co-occurrence.
    #[arg(long)]
    train: Option<PathBuf>,
    /// Writes the policy's lists as a TREC run; document `r<n>` is item n of the catalog, from 0.
    #[arg(long, requires = "model")]
    run: Option<PathBuf>,
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

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    options.run.as_deref().map_or(Ok(()), check_output)?;
    let catalog = Catalog::read(&options.catalog)?;
    let examples = read_examples(&catalog, &options.conversations)?;
    let dialogs: Vec<&str> = examples.iter().map(Example::dialog_id).collect();
    let mut rows = Vec::new();
    let mut n_ranks = 20;
    let mut run = None;
    if let Some(folder) = &options.model {
        let (policy, tokenizer, format) = model_folder::load(folder, &device()?)?;
        n_ranks = format.n_ranks;
        let task = format.task(catalog.clone(), &tokenizer, options.free)?;
        let (_, samples) = read_samples(&task, &options.conversations)?;
        let sampling = Sampling { temperature: options.temperature, ..Sampling::default() };
        sampling.check().map_err(|e| format!("--temperature: {e}"))?;
        let decoding = Decoding { sampling, max_rows: options.rows, seed: options.seed, ..format.greedy() };
        let found = evaluate(&policy.valid(), &task, &samples, &decoding);
        let judged: Vec<JudgedList> = found.samples.iter().map(|sample| sample.judged.clone()).collect();
        rows.push((folder.display().to_string(), judged));
        let health = found.health;
        println!(
            "valid lines {:.4}, in catalog {:.4}, duplicates {:.4}, seen {:.4}, items a list {:.2}, ended {:.4}",
            health.valid_lines, health.in_catalog, health.duplicates, health.seen, health.length, health.ended
        );
        run = Some(found.samples.into_iter().map(|sample| sample.list).collect::<Vec<_>>());
    }
    if let Some(train) = &options.train {
        let train: Vec<Example> = jsonl::read_file(train)?;
        let popularity = Popularity::new(&catalog, &train);
        let bm25 = Bm25Scorer::new(&catalog);
        let cooccurrence = Cooccurrence::new(&catalog, &train);
        let baselines: [(&str, &dyn Scorer); 3] =
            [("popularity", &popularity), ("bm25", &bm25), ("cooccurrence", &cooccurrence)];
        for (name, scorer) in baselines {
            let judged: Vec<JudgedList> =
                examples.iter().map(|example| baseline(&catalog, scorer, example, n_ranks)).collect();
            rows.push((name.to_string(), judged));
        }
    }
    if rows.is_empty() {
        return Err("nothing to evaluate: give --model, --train or both".into());
    }
    let measures = measures(n_ranks);
    let mut table = show::Table::new(std::iter::once(String::new()).chain(measures.iter().map(Measure::to_string)));
    rows.iter().for_each(|(name, judged)| table.row(name, measures.iter().map(|m| cell(*m, judged, &dialogs))));
    println!("{}", table.print());
    println!("{} samples of {} dialogs; 95% intervals by resampling dialogs", examples.len(), distinct(&dialogs));
    if let (Some(path), Some(lists)) = (&options.run, run) {
        write_run(path, &examples, &lists)?;
        println!("the run is in {}", path.display());
    }
    Ok(())
}

fn baseline(catalog: &Catalog, scorer: &dyn Scorer, example: &Example, n_ranks: usize) -> JudgedList {
    let scores = scorer.scores(example);
    let ranking: Vec<ItemId> = top_k(&scores, n_ranks + example.seen.len()).into_iter().map(|(id, _)| id).collect();
    judge(catalog, example, &ranking, n_ranks)
}

fn measures(n_ranks: usize) -> Vec<Measure> {
    let cuts: Vec<usize> = [5, 10, 15, 20].into_iter().filter(|k| *k < n_ranks).chain([n_ranks]).collect();
    cuts.iter().map(|k| Measure::Recall(*k)).chain(cuts.iter().map(|k| Measure::Ndcg(*k))).collect()
}

fn cell(measure: Measure, judged: &[JudgedList], dialogs: &[&str]) -> String {
    let values: Vec<f64> = judged.iter().map(|list| measure.of(list)).collect();
    match cluster_bootstrap(&values, dialogs, 1, 2000) {
        Ok(interval) => format!("{:.4} ±{:.4}", interval.mean, (interval.high - interval.low) / 2.0),
        Err(_) => format!("{:.4}", mean(measure, judged)),
    }
}

fn distinct(dialogs: &[&str]) -> usize {
    dialogs.iter().collect::<std::collections::HashSet<_>>().len()
}

fn write_run(path: &std::path::Path, examples: &[Example], lists: &[Vec<ItemId>]) -> Outcome {
    let mut run = Run::new("convrec")?;
    for (example, list) in examples.iter().zip(lists) {
        let documents: Vec<String> = list.iter().map(|id| format!("r{}", id.0)).collect();
        run.add(&example.id, documents.iter().map(String::as_str))?;
    }
    let mut text = Vec::new();
    run.write(&mut text)?;
    Ok(files::write_atomic(path, |out| out.write_all(&text))?)
}
