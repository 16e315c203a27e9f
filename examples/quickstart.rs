//! The whole of ConvRec-R1 in a few minutes, on an embedded world of real films and generated conversations whose best
//! possible score is known: a teacher that errs, Remap-Reflect-Adjust, supervised fine-tuning (SFT) of a small decoder
//! from scratch, then Rank-GRPO, GRPO and GSPO from the same checkpoint with the same number of rollouts and updates.
//!
//! `cargo run --release --example quickstart` prints a table and writes an HTML report.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use burn::module::Module;
use clap::Parser;
use convrec_catalog::Catalog;
use convrec_cloning::{Cloned, LexicalEmbedder, Pipeline, PipelineConfig, Services};
use convrec_core::{Example, Item, ItemId};
use convrec_examples::report::{Line, Report};
use convrec_examples::{Outcome, device::device, show};
use convrec_metrics::{JudgedList, Measure, lists};
use convrec_policy::{ModelConfig, Policy};
use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};
use convrec_train::evaluate::{Evaluation, evaluate, judge_ranking};
use convrec_train::{
    OptimizerConfig, Record, Reward, RlConfig, RunOptions, Sample, Schedule, SftConfig, Task, TokenPair, Validation,
    train_rank_grpo, train_sft,
};
use convrec_world::{Split, World, WorldConfig, WorldJudge, WorldTeacher};
use rank_grpo::{Kl, LengthShaping, LossConfig};

/// N, items in a list.
const N: usize = 10;
/// Cuts lists that do not end.
const MAX_NEW_TOKENS: usize = 96;
/// Lists side by side.
const ROWS: usize = 128;

/// Trains and compares policies on an embedded world of films.
#[derive(Parser)]
struct Options {
    /// Of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Training conversations.
    #[arg(long, default_value_t = 4000)]
    conversations: usize,
    /// Updates of supervised fine-tuning.
    #[arg(long, default_value_t = 900)]
    sft_steps: usize,
    /// Batches of rollouts of each reinforcement learning run.
    #[arg(long, default_value_t = 20)]
    rl_steps: usize,
    /// Learning rate of reinforcement learning.
    #[arg(long, default_value_t = 3e-4)]
    rl_learning_rate: f64,
    /// Where the report goes.
    #[arg(long, default_value = "runs/quickstart/report.html")]
    report: PathBuf,
}

fn main() -> Outcome {
    let options = Options::parse();
    let clock = Instant::now();
    let world = World::embedded();
    let catalog = Catalog::new(world.catalog())?;
    let sizes = WorldConfig { seed: options.seed, n_train: options.conversations, n_validation: 0, n_test: 400 };
    let split = world.generate(&sizes);
    println!("{} films, {} training conversations, {} to test on", catalog.len(), split.train.len(), split.test.len());
    let mut report = Report::new("ConvRec-R1: quickstart");
    report.section("A conversation", &conversation(&split.test[0]));

    let cloned = clone_teacher(&catalog, &split, options.seed)?;
    let task = task(catalog, &split)?;
    let samples = |examples: &[Example]| examples.iter().map(|e| task.sample(e)).collect::<Result<Vec<Sample>, _>>();
    let (train, test) = (samples(&split.train)?, samples(&split.test)?);
    let steps = cloning_table(&cloned, &train);
    let heading = ["demonstrations", "in catalog", "Recall@10", "NDCG@5", "NDCG@10"];
    println!("\n{}\n", show::table(&heading, &steps));
    report.section("Remap-Reflect-Adjust", "The teacher's lists on the training conversations, step by step.");
    report.table(&heading, &steps);

    let pairs = cloned.demonstrations.iter().map(|d| task.pair(d)).collect::<Result<Vec<TokenPair>, _>>()?;
    let shape = ModelConfig::small(task.prompter().tokenizer().vocab_size(), 128, 3, 4);
    let policy = Policy::new(&shape, options.seed, &device()?.autodiff())?;
    println!("a decoder of {} parameters", policy.num_params());
    let test_it = |policy: &Policy| evaluate(&policy.valid(), &task, &test, MAX_NEW_TOKENS, ROWS);
    let mut found = vec![("zero-shot", test_it(&policy))];
    let (policy, sft_log) = supervise(policy, &task, &pairs, &options)?;
    found.push(("SFT", test_it(&policy)));
    let mut logs = Vec::new();
    for (name, config) in runs(&options) {
        let (trained, log) = reinforce(name, policy.clone(), &task, &train, &config)?;
        found.push((name, test_it(&trained)));
        logs.push((name, log));
    }

    let oracle = oracle(world, &split, &test);
    let mut rows: Vec<Vec<String>> = found.iter().map(|(name, evaluation)| evaluation_row(name, evaluation)).collect();
    rows.push(oracle_row(&oracle));
    let heading = ["", "valid", "in catalog", "dupl.", "items", "R@5", "R@10", "N@5", "N@10", "hits@1-3", "hits@4-10"];
    println!("\n{}", show::table(&heading, &rows));
    println!(
        "R: Recall, N: NDCG; hits: share of lists that hit at a rank, mean over the ranks. {} conversations, one seed:",
        test.len()
    );
    println!("differences below about .02 mean nothing. `best possible` knows each user's taste.");
    report.section("Result", "On conversations not trained on; greedy lists, seen and off-catalog items removed.");
    report.table(&heading, &rows);
    curves(&mut report, &sft_log, &logs, &found)?;
    report.section("Before and after", &before_and_after(&found, &split.test[0]));
    report.write(&options.report)?;
    println!("\nreport: {}   ({:.0} s in all)", options.report.display(), clock.elapsed().as_secs_f64());
    Ok(())
}

fn conversation(example: &Example) -> String {
    let turns = example.dialog.iter().map(|turn| format!("{}: {}", turn.role.as_str(), turn.content));
    let names = |items: &[Item]| items.iter().map(Item::to_string).collect::<Vec<_>>().join("; ");
    let ends = [format!("seen: {}", names(&example.seen)), format!("right: {}", names(&example.groundtruth))];
    turns.chain(ends).collect::<Vec<_>>().join("\n")
}

fn clone_teacher(catalog: &Catalog, split: &Split, seed: u64) -> Result<Cloned, Box<dyn Error>> {
    let teacher = WorldTeacher::new(seed);
    let judge = WorldJudge::new(split.tastes.clone(), seed);
    let texts: Vec<String> = catalog.iter().map(|(_, item)| item.text()).collect();
    let embedder = LexicalEmbedder::fit(&texts, LexicalEmbedder::DEFAULT_WIDTH);
    let services = Services { teacher: &teacher, embedder: &embedder, judge: Some(&judge), describer: &teacher };
    let pipeline = Pipeline::new(PipelineConfig { n: N, ..Default::default() }, catalog, services)?;
    let bars = show::Stages::default();
    let cloned = pipeline.run(&split.train, &|progress| bars.show(progress))?;
    bars.finish();
    Ok(cloned)
}

/// A tokenizer trained on catalog lines and dialogs, and prompts written with it.
fn task(catalog: Catalog, split: &Split) -> Result<Task, Box<dyn Error>> {
    let mut corpus: Vec<String> = catalog.iter().map(|(_, item)| format!("{}\n", item.item())).collect();
    corpus.extend(corpus.clone());
    corpus.extend(split.train.iter().flat_map(|example| example.dialog.iter().map(|turn| turn.content.clone())));
    let tokenizer = TextTokenizer::train(corpus.iter(), &TrainConfig { vocab_size: 3000, ..Default::default() })?;
    Ok(Task::new(catalog, PromptFormat::default().prompter(&tokenizer)?, N))
}

fn cloning_table(cloned: &Cloned, train: &[Sample]) -> Vec<Vec<String>> {
    let row = |name: &str, share: f64, list: &dyn Fn(usize) -> Vec<ItemId>| {
        let judged: Vec<JudgedList> = train.iter().enumerate().map(|(i, x)| judge_ranking(&list(i), x, N).1).collect();
        let mean = |m: Measure| judged.iter().map(|list| m.of(list)).sum::<f64>() / judged.len() as f64;
        let measures = [Measure::Recall(10), Measure::Ndcg(5), Measure::Ndcg(10)].map(|m| format!("{:.3}", mean(m)));
        [vec![name.to_string(), format!("{share:.3}")], measures.to_vec()].concat()
    };
    let named: Vec<Vec<bool>> =
        cloned.steps.iter().map(|steps| steps.teacher.iter().map(|item| item.id.is_some()).collect()).collect();
    let inside = lists::catalog_share(&named, |inside| *inside).unwrap_or(0.0);
    vec![
        row("teacher", inside, &|i| cloned.steps[i].teacher.iter().filter_map(|item| item.id).collect()),
        row("+ remap", 1.0, &|i| cloned.steps[i].remap.clone()),
        row("+ reflect", 1.0, &|i| cloned.steps[i].reflect.clone()),
        row("+ adjust", 1.0, &|i| cloned.steps[i].adjust.clone()),
    ]
}

fn supervise(
    policy: Policy,
    task: &Task,
    pairs: &[TokenPair],
    options: &Options,
) -> Result<(Policy, Vec<Record>), Box<dyn Error>> {
    let optimizer = OptimizerConfig {
        learning_rate: 3e-3,
        beta_2: 0.98,
        weight_decay: 0.05,
        schedule: Schedule::Cosine,
        warmup_steps: 30,
        ..Default::default()
    };
    let config = SftConfig { steps: options.sft_steps, batch_size: 16, micro_batch: 16, seed: options.seed, optimizer };
    let bar = show::bar("SFT", config.steps);
    let mut log = Vec::new();
    let run = RunOptions::default();
    let policy = train_sft(policy, pairs, &unwatched(task), &config, &run, BTreeMap::new(), &mut |record| {
        show::step(&bar, record, &["loss"]);
        log.push(record.clone());
    })?;
    bar.finish();
    Ok((policy, log))
}

/// Three members of the family with the same rollouts and updates, and the paper's KL penalty.
fn runs(options: &Options) -> Vec<(&'static str, RlConfig)> {
    let base = RlConfig {
        steps: options.rl_steps,
        max_new_tokens: MAX_NEW_TOKENS,
        micro_batch: 64,
        rollout_rows: ROWS,
        seed: options.seed,
        optimizer: OptimizerConfig { learning_rate: options.rl_learning_rate, ..Default::default() },
        ..Default::default()
    };
    let list = |loss: LossConfig| {
        let kl = LossConfig::paper().kl.map(|kl| Kl { aggregation: None, ..kl });
        RlConfig { loss: LossConfig { kl, ..loss }, reward: Reward::Dcg, shaping: LengthShaping::OFF, ..base.clone() }
    };
    vec![("Rank-GRPO", base.clone()), ("GRPO", list(LossConfig::grpo())), ("GSPO", list(LossConfig::gspo()))]
}

fn reinforce(
    name: &str,
    policy: Policy,
    task: &Task,
    train: &[Sample],
    config: &RlConfig,
) -> Result<(Policy, Vec<Record>), Box<dyn Error>> {
    let bar = show::bar(name, config.steps);
    let mut log = Vec::new();
    let run = RunOptions::default();
    let mut observe = |record: &Record| {
        show::step(&bar, record, &["dcg", "kl", "entropy", "items"]);
        log.push(record.clone());
    };
    let policy = train_rank_grpo(policy, task, train, &unwatched(task), config, &run, BTreeMap::new(), &mut observe)?;
    bar.finish();
    Ok((policy, log))
}

/// No evaluation while training.
fn unwatched(task: &Task) -> Validation<'_> {
    Validation { task, samples: &[], max_new_tokens: MAX_NEW_TOKENS, max_rows: ROWS }
}

/// The lists of one who knows each user's taste: no list can be expected to do better.
fn oracle(world: &World, split: &Split, test: &[Sample]) -> Vec<JudgedList> {
    let best = |example: &Example| world.oracle_ranking(&split.tastes[&example.id], &example.seen, N);
    split.test.iter().zip(test).map(|(example, sample)| judge_ranking(&best(example), sample, N).1).collect()
}

const MEASURES: [Measure; 4] = [Measure::Recall(5), Measure::Recall(10), Measure::Ndcg(5), Measure::Ndcg(10)];

fn evaluation_row(name: &str, evaluation: &Evaluation) -> Vec<String> {
    let health = evaluation.health;
    let shares = [health.valid_lines, health.in_catalog, health.duplicates].map(|x| format!("{x:.3}"));
    let mut row = vec![name.to_string()];
    row.extend(shares);
    row.push(format!("{:.1}", health.length));
    row.extend(MEASURES.map(|measure| format!("{:.3}", evaluation.mean(measure))));
    row.extend(hits(&evaluation.hits_per_rank));
    row
}

fn oracle_row(judged: &[JudgedList]) -> Vec<String> {
    let mean = |measure: Measure| judged.iter().map(|list| measure.of(list)).sum::<f64>() / judged.len() as f64;
    let mut row: Vec<String> = ["best possible", "1.000", "1.000", "0.000", "10.0"].map(String::from).to_vec();
    row.extend(MEASURES.map(|measure| format!("{:.3}", mean(measure))));
    row.extend(hits(&lists::hits_per_rank(judged, N)));
    row
}

fn hits(per_rank: &[f64]) -> [String; 2] {
    [&per_rank[..3], &per_rank[3..]].map(|ranks| format!("{:.3}", ranks.iter().sum::<f64>() / ranks.len() as f64))
}

fn curves(report: &mut Report, sft: &[Record], logs: &[(&str, Vec<Record>)], found: &[(&str, Evaluation)]) -> Outcome {
    report.section("Supervised fine-tuning", "");
    report.chart("loss per token", "step", &[Line::of_records("SFT", sft, "loss")])?;
    report.section("Reinforcement learning", "Means over the completions of each step.");
    let charts = [
        ("DCG@10 of the rollouts", "dcg"),
        ("KL against the SFT policy", "kl"),
        ("entropy", "entropy"),
        ("items a list", "items"),
        ("share in the catalog", "in_catalog"),
        ("gradient norm", "grad_norm"),
    ];
    for (title, field) in charts {
        let lines: Vec<Line<'_>> = logs.iter().map(|(name, log)| Line::of_records(name, log, field)).collect();
        report.chart(title, "step", &lines)?;
    }
    report.section("Relevance per rank", "The share of lists that hit at each rank, on the test conversations.");
    let lines: Vec<Line<'_>> = found.iter().map(|(name, e)| Line::of_values(name, &e.hits_per_rank)).collect();
    report.chart("hits per rank", "rank", &lines)
}

fn before_and_after(found: &[(&str, Evaluation)], example: &Example) -> String {
    let answers = found.iter().skip(1).map(|(name, evaluation)| {
        let mark =
            |item: &Item| if example.groundtruth.contains(item) { format!("{item} ✓") } else { item.to_string() };
        let names: Vec<String> = evaluation.samples[0].answer.names.iter().map(mark).collect();
        format!("{name}: {}", names.join("; "))
    });
    std::iter::once(conversation(example)).chain(answers).collect::<Vec<_>>().join("\n\n")
}
