//! One seed of the experiment: data, demonstrations, SFT, reinforcement learning, evaluation.

use std::error::Error;

use burn::module::Module;
use convrec_cli::steps::{Step, steps};
use convrec_core::Example;
use convrec_metrics::JudgedList;
use convrec_policy::Policy;
use convrec_train::evaluate::Evaluation;
use convrec_train::{Record, RlConfig, RunOptions};
use convrec_world::World;
use quickstart::{Ground, N, cloning, list_level, rank_grpo, reinforce, sft, supervise};
use rank_grpo::LossConfig;

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
        Self {
            seeds: vec![seed],
            conversations: 4000,
            sft_steps: 1800,
            rl_steps: 20,
            test: 400,
        }
    }

    /// Some tens of minutes.
    pub fn full(seed: u64) -> Self {
        Self {
            seeds: (seed..seed + 3).collect(),
            conversations: 4000,
            sft_steps: 1800,
            rl_steps: 80,
            test: 1000,
        }
    }

    /// # Errors
    /// When there is nothing to train on.
    pub fn check(&self) -> Result<(), String> {
        let rules = [
            ("--conversations", self.conversations),
            ("--sft-steps", self.sft_steps),
            ("--rl-steps", self.rl_steps),
        ];
        match rules.iter().find(|(_, value)| *value == 0) {
            Some((flag, _)) => Err(format!("{flag} 0: expected at least 1")),
            None => Ok(()),
        }
    }

    /// The plan in words.
    pub fn describe(&self) -> String {
        let Self {
            conversations,
            sft_steps,
            rl_steps,
            test,
            ..
        } = self;
        format!(
            "{conversations} conversations, {sft_steps} steps of SFT, {rl_steps} of each RL run, {test} to test on"
        )
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
    pub variants: Vec<Variant>,
    /// The lists of one who knows each user's taste: no list can be expected to do better.
    pub best: Vec<JudgedList>,
}

/// A policy and how it came to be.
pub struct Variant {
    /// Its name.
    pub name: &'static str,
    /// How good its lists are where only lists of N different unseen catalog items can be written.
    pub constrained: Evaluation,
    /// How good they are where it may write anything.
    pub unconstrained: Evaluation,
    /// The log of its reinforcement learning, if any.
    pub log: Vec<Record>,
}

/// Runs one seed.
///
/// # Errors
/// When training diverges or a backend is not there.
pub fn run(world: &World, plan: &Plan, seed: u64) -> Result<Run, Box<dyn Error>> {
    let ground = Ground::new(world, seed, plan.conversations, plan.test)?;
    let output = ground.clone_teacher(cloning())?;
    let (pairs, kept) = (ground.pairs(&output)?, RunOptions::default());
    let policy = ground.untrained()?;
    println!(
        "a decoder of {} parameters, {} tokens",
        policy.num_params(),
        policy.config().vocab_size
    );
    let variant = |name, policy: &Policy, log| {
        let [constrained, unconstrained] = ground.evaluate(policy);
        Variant {
            name,
            constrained,
            unconstrained,
            log,
        }
    };
    let mut variants = vec![variant("zero-shot", &policy, vec![])];
    let (policy, sft) = supervise(
        policy,
        &ground.constrained,
        &pairs,
        &sft(plan.sft_steps, seed),
        &kept,
    )?;
    variants.push(variant("SFT", &policy, vec![]));
    for (name, config) in algorithms(plan, seed) {
        let (trained, log) = reinforce(
            name,
            policy.clone(),
            &ground.constrained,
            &ground.train,
            &config,
            &kept,
        )?;
        variants.push(variant(name, &trained, log));
    }
    let cloning = steps(
        &output,
        ground.unconstrained.catalog(),
        &ground.split.train,
        N,
    );
    Ok(Run {
        example: ground.split.test[0].clone(),
        cloning,
        sft,
        variants,
        best: ground.best(world),
    })
}

/// Three members of the loss family with the same rollouts, updates (two a batch, so that their ratios
/// matter) and KL penalty.
fn algorithms(plan: &Plan, seed: u64) -> Vec<(&'static str, RlConfig)> {
    let base = rank_grpo(plan.rl_steps, seed);
    let [grpo, gspo] = [LossConfig::grpo(), LossConfig::gspo()].map(|loss| list_level(&base, loss));
    vec![("Rank-GRPO", base), ("GRPO", grpo), ("GSPO", gspo)]
}
