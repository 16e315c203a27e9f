//! The loop of Rank-GRPO, written out: rollouts, rewards of ranks, advantages, the loss, an update.
//!
//! `RankGrpoTrainer` does the same, and adds evaluation, checkpoints, logs and several updates a
//! batch. Copy this file where you need another loop.

use std::path::PathBuf;

use clap::Parser;
use convrec::burn::module::Module;
use convrec::loss::{PolicyOutput, ScaleRewards, group_advantages, spread};
use convrec::metrics::rewards::RankReward;
use convrec::policy::{Allowed, Completion, Generation, Sequence};
use convrec::prelude::*;
use convrec::text::segments::END;
use convrec::train::{OptimizerConfig, Updates};
use convrec_cli::{Outcome, at_least_one, exit, say};

/// Trains a policy by Rank-GRPO.
#[derive(Parser)]
struct Options {
    /// The model's folder.
    #[arg(long)]
    model: PathBuf,
    /// The catalog.
    #[arg(long)]
    catalog: PathBuf,
    /// Conversations with ground truth.
    #[arg(long)]
    conversations: PathBuf,
    /// The folder of the trained model.
    #[arg(long)]
    out: PathBuf,
    #[arg(long, default_value_t = 20, value_parser = at_least_one)]
    max_steps: usize,
    #[arg(long, default_value_t = 8, value_parser = at_least_one)]
    prompts_per_step: usize,
    #[arg(long, default_value_t = 8, value_parser = at_least_one)]
    num_generations: usize,
    #[arg(long, default_value_t = 1e-4)]
    learning_rate: f64,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let Model {
        mut policy,
        language,
    } = Model::load(&options.model, &convrec::device()?.autodiff())?;
    let task = language.task(convrec::read_catalog(&options.catalog)?)?;
    let conversations = convrec::read_conversations(&options.conversations)?;
    let samples: Vec<Sample> = conversations
        .iter()
        .map(|example| task.sample(example))
        .collect::<Result<_, _>>()?;

    let loss = LossConfig {
        kl: None,
        ..LossConfig::paper()
    }
    .check()?;
    let learning_rate = options.learning_rate;
    let config = OptimizerConfig {
        learning_rate,
        ..OptimizerConfig::default()
    };
    let mut updates = Updates::new(&config, options.max_steps);
    let mut prompts = samples.iter().cycle();

    for step in 0..options.max_steps {
        // 1. Rollouts: G lists for each of P prompts, drawn under the catalog's constraint.
        let batch: Vec<&Sample> = prompts.by_ref().take(options.prompts_per_step).collect();
        let tokens: Vec<&[u32]> = batch.iter().map(|sample| &sample.prompt[..]).collect();
        let generation = Generation {
            sampling: Sampling::default(),
            group_size: options.num_generations,
            max_new_tokens: task.longest_list().ok_or("no constraint")?,
            end_token: task.prompter().end(),
            max_rows: 64,
            seed: step as u64,
        };
        let constraint = |prompt: usize| task.constraint(batch[prompt]).expect("constrained");
        let sampler = policy.valid();
        let groups = sampler.generate_constrained(&tokens, &generation, &constraint);
        let lists = batch.iter().zip(&groups);
        let rows: Vec<(&Sample, &Completion)> = lists
            .flat_map(|(sample, group)| group.iter().map(move |list| (*sample, list)))
            .collect();

        // 2. Rewards: one for each rank of each list.
        let answers = rows
            .iter()
            .map(|(sample, list)| task.answer(sample, &list.tokens));
        let answers: Vec<_> = answers.collect();
        let rewards = rows.iter().zip(&answers);
        let rewards: Vec<Vec<f64>> = rewards
            .map(|((sample, _), answer)| {
                RankReward::ExpInf.rewards(&task.relevance(answer, sample))
            })
            .collect();

        // 3. Advantages: a rank is compared with the same rank of the other lists of its prompt.
        let advantages = group_advantages(&rewards, generation.group_size, ScaleRewards::Group)?;

        // 4. The tables [B, T] that the loss reads. Forced tokens take no part.
        let allowed = rows
            .iter()
            .map(|(sample, list)| task.allowed(sample, &list.tokens));
        let allowed: Vec<Allowed> = allowed.collect::<Option<_>>().ok_or("no constraint")?;
        let width = rows
            .iter()
            .map(|(_, list)| list.tokens.len())
            .max()
            .unwrap_or(0);
        let (mut mask, mut ranks) = (vec![], vec![]);
        for (answer, allowed) in answers.iter().zip(&allowed) {
            let of_list = &answer.segments.ranks;
            let counts = of_list
                .iter()
                .enumerate()
                .map(|(t, _)| !allowed.is_forced(t));
            mask.extend(counts.chain(std::iter::repeat(false)).take(width));
            let of_tokens = of_list
                .iter()
                .map(|&rank| if rank == END { -1 } else { rank.into() });
            ranks.extend(of_tokens.chain(std::iter::repeat(-1)).take(width));
        }
        let segments = Segments::ranks(&ranks, task.n_ranks());
        let token_advantages = spread(&advantages.values, &segments)?;
        let inputs = LossInputs::new([rows.len(), width], mask, segments, token_advantages);

        // 5. The update. It is on-policy, so the loss needs no old log-probabilities.
        let sequences: Vec<Sequence<'_>> = rows
            .iter()
            .map(|(sample, list)| Sequence {
                prompt: &sample.prompt,
                completion: &list.tokens,
            })
            .collect();
        let allowed: Vec<&Allowed> = allowed.iter().collect();
        let found = policy.log_probs_constrained(&sequences, &allowed, 1.0);
        let output = PolicyOutput {
            log_probs: found.log_probs,
            entropies: Some(found.entropies),
        };
        let output = loss.forward(output, &inputs)?;
        let gradients = found.tape.backward(output.loss, &policy);
        let (next, update) = updates.step(step, policy, gradients);
        policy = next;

        let total: f64 = rewards.iter().flatten().sum();
        let reward = total / rewards.len() as f64;
        let silent = advantages.frac_reward_zero_std;
        say(format_args!(
            "step {:>3}: reward {reward:.3}, ranks without signal {silent:.2}, gradient {:.3}",
            step + 1,
            update.grad_norm
        ));
    }
    Model { policy, language }.save(&options.out)?;
    say(format_args!("the model is in {}", options.out.display()));
    Ok(())
}
