//! One seed of the experiment: data, demonstrations, SFT, reinforcement learning, evaluation.

use std::error::Error;
use std::path::Path;

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

/// The sizes of a run: seeds, data and steps.
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
    /// A plan of some minutes.
    pub fn short(seed: u64) -> Self {
        Self {
            seeds: vec![seed],
            conversations: 4000,
            sft_steps: 1800,
            rl_steps: 20,
            test: 400,
        }
    }

    /// A plan of some tens of minutes.
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

/// The results of one seed.
pub struct Run {
    /// A conversation to show: the first that is tested on.
    pub example: Example,
    /// The demonstrations, step by step.
    pub cloning: Vec<Step>,
    /// The log of supervised fine-tuning.
    pub sft: Vec<Record>,
    /// The policies, from zero-shot on.
    pub variants: Vec<Variant>,
    /// The best lists by each user's known taste. No list can be expected to do better.
    pub best: Vec<JudgedList>,
}

/// A policy and its training.
pub struct Variant {
    /// Its name.
    pub name: &'static str,
    /// The evaluation of its constrained lists: only N different unseen catalog items can be
    /// written.
    pub constrained: Evaluation,
    /// The evaluation of its unconstrained lists.
    pub unconstrained: Evaluation,
    /// The log of its reinforcement learning, if any.
    pub log: Vec<Record>,
}

/// Runs one seed.
///
/// # Errors
/// When training diverges or a backend is not there.
/// Where a folder is given, the Rank-GRPO policy, its log and the data are written into it.
pub fn run(
    world: &World,
    plan: &Plan,
    seed: u64,
    kept: Option<&Path>,
) -> Result<Run, Box<dyn Error>> {
    let ground = Ground::new(world, seed, plan.conversations, plan.test)?;
    let output = ground.clone_teacher(cloning())?;
    let pairs = ground.pairs(&output)?;
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
        &RunOptions::default(),
    )?;
    variants.push(variant("SFT", &policy, vec![]));
    for (name, config) in algorithms(plan, seed) {
        // The first algorithm leaves its log and its model.
        let folder = kept
            .filter(|_| variants.len() == 2)
            .map(|folder| folder.join("rank-grpo"));
        let options = RunOptions {
            folder: folder.clone(),
            keep_checkpoints: 1,
            ..RunOptions::default()
        };
        let (trained, log) = reinforce(
            name,
            policy.clone(),
            &ground.constrained,
            &ground.train,
            &config,
            &options,
        )?;
        if let (Some(_), Some(kept)) = (folder, kept) {
            ground.save(&trained, kept)?;
        }
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

/// Three members of the loss family with the same rollouts, updates (two a batch, so that their
/// ratios matter) and KL penalty.
fn algorithms(plan: &Plan, seed: u64) -> Vec<(&'static str, RlConfig)> {
    let base = rank_grpo(plan.rl_steps, seed);
    let [grpo, gspo] = [LossConfig::grpo(), LossConfig::gspo()].map(|loss| list_level(&base, loss));
    vec![("Rank-GRPO", base), ("GRPO", grpo), ("GSPO", gspo)]
}
