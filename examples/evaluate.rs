//! Evaluates a policy, and baselines beside it: lists by greedy decoding or sampled, seen items
//! removed, exact match.

use std::error::Error;
use std::path::{Path, PathBuf};

use burn::module::Module;
use clap::Parser;
use convrec::device;
use convrec_catalog::{Catalog, top_k};
use convrec_cli::data::{DataOptions, TwinRule, in_catalog_file, of_file, say_report};
use convrec_cli::{Outcome, Table, at_least_one, check_output, exit, say};
use convrec_core::{Example, ItemId, files};
use convrec_demonstrations::scripted::{PopularityScorer, Scorer, Scorers};
use convrec_metrics::stats::{PairedTest, cluster_bootstrap, paired_test};
use convrec_metrics::trec::{Qrels, Run};
use convrec_metrics::{JudgedList, Measure};
use convrec_policy::Sampling;
use convrec_train::Model;
use convrec_train::data;
use convrec_train::evaluate::judge_example;
use convrec_train::evaluate::{Decoding, Evaluated, ListHealth, evaluate};

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
    #[command(flatten)]
    data: DataOptions,
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
    if let Some((run, qrels)) = options.score_run.as_ref().zip(options.qrels.as_ref()) {
        return score_run(run, qrels);
    }
    for output in [&options.run, &options.write_qrels].into_iter().flatten() {
        check_output(output)?;
    }
    let (Some(catalog), Some(conversations)) = (&options.catalog, &options.conversations) else {
        return Err("--catalog and --conversations are needed".into());
    };
    let read = options.data;
    let (catalog_file, catalog) = (catalog, read.catalog(catalog, TwinRule::Keep)?);
    let examples = read.judged(&catalog, conversations)?;
    if let Some(path) = &options.write_qrels {
        write_qrels(path, &catalog, &examples)?;
    }
    let mut systems: Vec<(String, Vec<Option<JudgedList>>)> = Vec::new();
    let mut n_ranks = 20;
    for folder in &options.model {
        let files = (catalog_file.as_path(), conversations.as_path());
        let (found, n) = policy(options, folder, &catalog, files, &examples)?;
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
        let judged = found.into_iter().map(|sample| Some(sample?.judged));
        let judged = judged.collect();
        systems.push((folder.display().to_string(), judged));
    }
    if let Some(train) = &options.train {
        let train = read.conversations(train)?;
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
                .map(|example| Some(baseline(&catalog, scorer, example, n_ranks)))
                .collect();
            systems.push((name.to_string(), judged));
        }
    }
    if systems.is_empty() && options.write_qrels.is_some() {
        return Ok(());
    }
    // Systems are compared on the same conversations: those that all of them could be asked.
    let all_have = |place: &usize| systems.iter().all(|(_, judged)| judged[*place].is_some());
    let kept: Vec<usize> = (0..examples.len()).filter(all_have).collect();
    let dialogs: Vec<&str> = kept.iter().map(|n| examples[*n].dialog_id()).collect();
    let systems: Vec<(String, Vec<JudgedList>)> = systems
        .into_iter()
        .map(|(name, judged)| {
            let judged = kept.iter().filter_map(|n| judged[*n].clone());
            (name, judged.collect())
        })
        .collect();
    let Some((first, others)) = systems.split_first() else {
        return Err("nothing to evaluate: give --model, --train or both".into());
    };
    let measures = measures(n_ranks);
    let heading = |corner: &str| {
        std::iter::once(corner.to_string()).chain(measures.iter().map(Measure::to_string))
    };
    let mut table = Table::new(heading(""));
    systems.iter().for_each(|(name, judged)| {
        table.row(name, measures.iter().map(|m| cell(*m, judged, &dialogs)))
    });
    say(format_args!("{}", table.print()));
    say(format_args!(
        "{} samples of {} dialogs; 95% intervals by resampling dialogs\n",
        kept.len(),
        distinct(&dialogs)
    ));
    if !options.model.is_empty() && !others.is_empty() {
        let mut table = Table::new(heading("delta to first model"));
        others.iter().for_each(|(name, judged)| {
            table.row(
                name,
                measures
                    .iter()
                    .map(|m| difference(*m, &first.1, judged, &dialogs)),
            );
        });
        say(format_args!("{}", table.print()));
        say(format_args!(
            "p: paired permutation test over dialogs, not corrected for the number of comparisons"
        ));
    }
    Ok(())
}

/// A policy's lists, one for each conversation that it can be asked, and N.
fn policy(
    options: &Options,
    folder: &Path,
    catalog: &Catalog,
    (catalog_file, conversations): (&Path, &Path),
    examples: &[Example],
) -> Result<(Vec<Option<Evaluated>>, usize), Box<dyn Error>> {
    let Model { policy, language } = Model::load(folder, &device()?)?;
    let task = language.task_for(catalog.clone(), options.unconstrained);
    let task = in_catalog_file(catalog_file, task)?;
    let samples = data::samples_in_order(&task, examples);
    let (samples, report) = of_file(conversations, samples)?;
    if !report.is_clean() {
        say_report(&folder.display().to_string(), &report);
    }
    let asked: Vec<bool> = samples.iter().map(Option::is_some).collect();
    let samples: Vec<_> = samples.into_iter().flatten().collect();
    if samples.is_empty() {
        return Err(format!(
            "{}: no conversation can be asked: {report}",
            folder.display()
        )
        .into());
    }
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
    say(format_args!(
        "{}: valid lines {valid_lines:.4}, in catalog {in_catalog:.4}, duplicates {duplicates:.4}, seen {seen:.4}, \
         items a list {length:.2}, ended {ended:.4}",
        folder.display()
    ));
    let mut found = found.samples.into_iter();
    let found = asked
        .iter()
        .map(|asked| asked.then(|| found.next()).flatten());
    Ok((found.collect(), language.format.n_ranks))
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

fn cell(measure: Measure, judged: &[JudgedList], dialogs: &[&str]) -> String {
    let values: Vec<f64> = judged.iter().map(|list| measure.of(list)).collect();
    match cluster_bootstrap(&values, dialogs, 1, 2000) {
        Ok(interval) => format!(
            "{:.4} ±{:.4}",
            interval.mean,
            (interval.high - interval.low) / 2.0
        ),
        Err(_) => format!("{:.4}", measure.mean(judged)),
    }
}

fn difference(
    measure: Measure,
    ours: &[JudgedList],
    theirs: &[JudgedList],
    dialogs: &[&str],
) -> String {
    let values = |judged: &[JudgedList]| {
        judged
            .iter()
            .map(|list| measure.of(list))
            .collect::<Vec<f64>>()
    };
    match paired_test(&values(ours), &values(theirs), dialogs, 1, 2000) {
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
        Err(_) => format!("{:+.4}", measure.mean(ours) - measure.mean(theirs)),
    }
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
        say(format_args!(
            "{measure:<10} {}",
            cell(measure, &judged, &dialogs)
        ));
    }
    say(format_args!(
        "{}: {} queries judged, {} in the run; 95% intervals by resampling {} dialogs",
        run.tag(),
        judged.len(),
        run.queries().len(),
        distinct(&dialogs)
    ));
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
    say(format_args!(
        "{}: the ground truth as TREC qrels",
        path.display()
    ));
    Ok(files::write_atomic(path, |out| qrels.write(out))?)
}

fn write_run(path: &Path, examples: &[Example], found: &[Option<Evaluated>]) -> Outcome {
    let mut run = Run::new("convrec")?;
    for (example, sample) in examples.iter().zip(found) {
        let Some(sample) = sample else { continue };
        let documents: Vec<String> = sample.list.iter().map(|id| format!("r{}", id.0)).collect();
        run.add(&example.id, documents.iter().map(String::as_str))?;
    }
    let mut text = Vec::new();
    run.write(&mut text)?;
    say(format_args!("{}: the lists as a TREC run", path.display()));
    Ok(files::write_atomic(path, |out| out.write_all(&text))?)
}
