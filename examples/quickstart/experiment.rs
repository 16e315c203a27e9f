//! One seed of the experiment: data, demonstrations, SFT, reinforcement learning, evaluation.

use std::collections::BTreeMap;
use std::error::Error;

use burn::module::Module;
use convrec_catalog::Catalog;
use convrec_cloning::{Cloned, LexicalEmbedder, Pipeline, PipelineConfig, Services};
use convrec_core::Example;
use convrec_examples::judging::judge;
use convrec_examples::steps::{Step, steps};
use convrec_examples::{device::device, show};
use convrec_metrics::JudgedList;
use convrec_policy::{ModelConfig, Policy};
use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};
use convrec_train::evaluate::{Decoding, Evaluation, evaluate};
use convrec_train::{
    Local, OptimizerConfig, Record, Reward, RlConfig, RlJob, RunOptions, Sample, Schedule, SftConfig, SftJob, StepView,
    Task, TokenPair, Validation, train_rank_grpo, train_sft,
};
use convrec_world::{Split, World, WorldConfig, WorldJudge, WorldTeacher};
use rank_grpo::{Kl, LengthShaping, LossConfig};

/// N, items in a list.
pub const N: usize = 10;
/// Cuts free lists that do not end.
const MAX_NEW_TOKENS: usize = 96;
/// Lists side by side.
const ROWS: usize = 128;

/// How long to train on how much, and how often.
pub struct Plan {
    /// One run each.
    pub seeds: Vec<u64>,
    /// Training conversations.
    pub conversations: usize,
    /// Updates of supervised fine-tuning.
    pub sft_steps: usize,
    /// Batches of rollouts of each reinforcement learning run.
    pub rl_steps: usize,
    /// Conversations to test on.
    pub test: usize,
}

impl Plan {
    /// Some minutes.
    pub fn short(seed: u64) -> Self {
        Self { seeds: vec![seed], conversations: 4000, sft_steps: 1800, rl_steps: 20, test: 400 }
    }

    /// Some tens of minutes.
    pub fn full(seed: u64) -> Self {
        Self { seeds: (seed..seed + 3).collect(), conversations: 4000, sft_steps: 1800, rl_steps: 80, test: 1000 }
    }

    /// # Errors
    /// When there is nothing to train on.
    pub fn check(&self) -> Result<(), String> {
        let rules =
            [("--conversations", self.conversations), ("--sft-steps", self.sft_steps), ("--rl-steps", self.rl_steps)];
        match rules.iter().find(|(_, value)| *value == 0) {
            Some((flag, _)) => Err(format!("{flag} 0: expected at least 1")),
            None => Ok(()),
        }
    }

    /// The plan in words.
    pub fn describe(&self) -> String {
        let Self { conversations, sft_steps, rl_steps, test, .. } = self;
        format!("{conversations} conversations, {sft_steps} steps of SFT, {rl_steps} of each RL run, {test} to test on")
    }
}

/// What one seed found.
pub struct Run {
    /// A conversation to show: the first that is tested on.
    pub example: Example,
    /// The demonstrations, step by step.
    pub cloning: Vec<Step>,
    /// The log of supervised fine-tuning.
    pub sft: Vec<Record>,
    /// The policies, from zero-shot on.
    pub arms: Vec<Arm>,
    /// The lists of one who knows each user's taste: no list can be expected to do better.
    pub best: Vec<JudgedList>,
}

/// A policy and how it came to be.
pub struct Arm {
    /// Its name.
    pub name: &'static str,
    /// How good its lists are where only lists of N different unseen catalog items can be written.
    pub constrained: Evaluation,
    /// How good they are where it may write anything.
    pub free: Evaluation,
    /// The log of its reinforcement learning, if any.
    pub log: Vec<Record>,
}

/// Runs one seed.
///
/// # Errors
/// When training diverges or a backend is not there.
pub fn run(world: &World, plan: &Plan, seed: u64) -> Result<Run, Box<dyn Error>> {
    let catalog = Catalog::new(world.catalog())?;
    let sizes = WorldConfig { seed, n_train: plan.conversations, n_validation: 0, n_test: plan.test };
    let split = world.generate(&sizes);
    let cloned = clone_teacher(&catalog, &split, seed)?;
    let cloning = steps(&cloned, &catalog, &split.train, N);
    let free = task(catalog, &split)?;
    let task = free.clone().constrained()?;
    let samples = |examples: &[Example]| examples.iter().map(|e| task.sample(e)).collect::<Result<Vec<Sample>, _>>();
    let (train, test) = (samples(&split.train)?, samples(&split.test)?);
    let pairs = cloned.demonstrations.iter().map(|d| task.pair(d)).collect::<Result<Vec<TokenPair>, _>>()?;

    let shape = ModelConfig::small(task.prompter().tokenizer().vocab_size(), 128, 2, 4);
    let policy = Policy::new(&shape, seed, &device()?.autodiff())?;
    println!("a decoder of {} parameters, {} tokens", policy.num_params(), shape.vocab_size);
    let arm = |name, policy: &Policy, log| {
        let [constrained, free] = [&task, &free].map(|task| {
            let decoding = Decoding::greedy(MAX_NEW_TOKENS, ROWS);
            evaluate(&policy.valid(), task, &test, &decoding)
        });
        Arm { name, constrained, free, log }
    };
    let mut arms = vec![arm("zero-shot", &policy, vec![])];
    let (policy, sft) = supervise(policy, &task, &pairs, plan, seed)?;
    arms.push(arm("SFT", &policy, vec![]));
    for (name, config) in family(plan, seed) {
        let (trained, log) = reinforce(name, policy.clone(), &task, &train, &config)?;
        arms.push(arm(name, &trained, log));
    }
    let best = split.test.iter().map(|example| {
        let ranking = world.oracle_ranking(&split.tastes[&example.id], &example.seen, N);
        judge(task.catalog(), example, &ranking, N)
    });
    Ok(Run { example: split.test[0].clone(), cloning, sft, arms, best: best.collect() })
}

fn clone_teacher(catalog: &Catalog, split: &Split, seed: u64) -> Result<Cloned, Box<dyn Error>> {
    let teacher = WorldTeacher::new(seed);
    let judge = WorldJudge::new(split.tastes.clone(), seed);
    let texts: Vec<String> = catalog.iter().map(|(_, item)| item.text()).collect();
    let embedder = LexicalEmbedder::fit(&texts, LexicalEmbedder::DEFAULT_WIDTH);
    let services = Services { teacher: &teacher, embedder: &embedder, judge: Some(&judge), describer: &teacher };
    let pipeline = Pipeline::new(PipelineConfig { n: N, ..Default::default() }, catalog, services)?;
    let bars = show::Stages::default();
    let cloned = pipeline.run(&split.train, &|progress| bars.show(progress, String::new()))?.complete()?;
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

fn supervise(
    policy: Policy,
    task: &Task,
    pairs: &[TokenPair],
    plan: &Plan,
    seed: u64,
) -> Result<(Policy, Vec<Record>), Box<dyn Error>> {
    let optimizer = OptimizerConfig {
        learning_rate: 4e-3,
        beta_2: 0.98,
        weight_decay: 0.05,
        schedule: Schedule::Cosine,
        warmup_steps: 30.min(plan.sft_steps / 4),
        ..Default::default()
    };
    let config =
        SftConfig { steps: plan.sft_steps, batch_size: 16, micro_batch: 16, seed, optimizer, ..SftConfig::default() };
    let bar = show::bar("SFT", config.steps);
    let (mut log, run) = (Vec::new(), RunOptions::default());
    let job = SftJob { task, data: pairs, validation: unwatched(task) };
    let policy = train_sft(policy, job, &config, &run, BTreeMap::new(), &mut |view: &StepView<'_>| {
        show::step(&bar, view, &["loss"]);
        log.push(view.record.clone());
    })?;
    bar.finish();
    Ok((policy, log))
}

/// Three members of the family with the same rollouts, updates (two a batch, so that their ratios matter) and KL penalty.
fn family(plan: &Plan, seed: u64) -> Vec<(&'static str, RlConfig)> {
    let base = RlConfig {
        steps: plan.rl_steps,
        updates_per_batch: 2,
        max_new_tokens: MAX_NEW_TOKENS,
        micro_batch: 64,
        rollout_rows: ROWS,
        seed,
        optimizer: OptimizerConfig { learning_rate: 2e-4, ..Default::default() },
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
    let (mut log, run) = (Vec::new(), RunOptions::default());
    let mut observe = |view: &StepView<'_>| {
        show::step(&bar, view, &["dcg", "kl", "entropy", "items"]);
        log.push(view.record.clone());
    };
    let job = RlJob { task, samples: train, validation: unwatched(task), gains: vec![], sampler: &mut Local };
    let policy = train_rank_grpo(policy, job, config, &run, BTreeMap::new(), &mut observe)?;
    bar.finish();
    Ok((policy, log))
}

/// No evaluation while training.
fn unwatched(task: &Task) -> Validation<'_> {
    Validation { task, samples: &[], decoding: Decoding::greedy(MAX_NEW_TOKENS, ROWS) }
}
