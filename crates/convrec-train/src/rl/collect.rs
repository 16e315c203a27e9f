//! The completions that a step trains on.

use convrec_policy::{Completion, Policy};
use convrec_watch::CompletionRecord;
use rank_grpo::{ScaleRewards, to_host};
use serde::{Deserialize, Serialize};

use super::job::{Job, StepError};
use super::sampled::check;
use crate::batches::places;
use crate::config::frozen;
use crate::processes;
use crate::reward::{MultiObjectiveAggregation, RowRewards};
use crate::rollout::{Row, TokenNumbers, log_probs, read_rows, rewards_of};
use crate::run::listed;
use crate::sampler::Sampler;
use crate::task::{Sample, Task};

/// Settings of dynamic sampling. Prompts whose completions all earn the same teach nothing and are
/// replaced by others (DAPO: Yu et al., arXiv 2503.14476, section 3.2). Here the rule is applied to
/// each rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamicSampling {
    /// The largest number of batches that a step samples, each of `prompts_per_step` prompts. When
    /// they are used up, the step trains on the prompts that it has kept. There may be none.
    pub max_batches: usize,
    /// The number of ranks at which the completions of a prompt must differ in reward for the
    /// prompt to be kept.
    pub min_ranks: usize,
}

/// The completions of a step, in whole groups.
#[derive(Default)]
pub(super) struct Collected<'a> {
    /// The completions to train on.
    pub(super) rows: Vec<Row<'a>>,
    /// Their advantages, `[B][N]`.
    pub(super) advantages: Vec<Vec<f64>>,
    /// The completions that dynamic sampling left out.
    pub(super) left_out: Vec<Row<'a>>,
    /// The number of prompts that were sampled.
    pub(super) prompts: usize,
    /// The number of batches of prompts that the run has sampled, those of this step included.
    pub(super) batches: usize,
    /// The number of their (prompt, rank) pairs, and of those whose rewards differ.
    pairs: usize,
    informative_pairs: usize,
}

impl<'a> Collected<'a> {
    /// All completions that were sampled, in whole groups.
    pub(super) fn sampled(&self) -> Vec<&Row<'a>> {
        self.rows.iter().chain(&self.left_out).collect()
    }

    /// The share of (prompt, rank) pairs whose rewards are all equal.
    pub(super) fn frac_reward_zero_std(&self) -> f64 {
        1.0 - self.informative_pairs as f64 / self.pairs.max(1) as f64
    }

    /// The completions for people to read, with the prompt before the first of its completions.
    pub(super) fn shown(&self, task: &Task, step: usize) -> Vec<CompletionRecord> {
        let show = |(n, (row, advantages)): (usize, (&Row<'_>, &Vec<f64>))| {
            let first = n == 0 || self.rows[n - 1].sample.id != row.sample.id;
            let prompt = || {
                let tokenizer = task.prompter().tokenizer();
                tokenizer.decode_with_specials(&row.sample.prompt)
            };
            CompletionRecord {
                step,
                id: row.sample.id.clone(),
                prompt: first.then(prompt),
                text: row.answer.text.clone(),
                items: listed(&row.answer, &row.relevant),
                rewards: row.rewards.total.clone(),
                advantages: advantages.clone(),
                ended: row.completion.ended,
            }
        };
        let rows = self.rows.iter().zip(&self.advantages);
        rows.enumerate().map(show).collect()
    }

    /// Sorts a batch into groups to train on, at most `wanted` of them in all, and others.
    fn add(
        &mut self,
        rows: Vec<Row<'a>>,
        advantages: Vec<Vec<f64>>,
        size: usize,
        wanted: usize,
        min_ranks: usize,
    ) {
        let (mut rows, mut advantages) = (rows.into_iter(), advantages.into_iter());
        while rows.len() > 0 {
            let group = rows.by_ref().take(size);
            let of_group: Vec<Vec<f64>> = advantages.by_ref().take(size).collect();
            let informative = informative_ranks(&of_group);
            self.prompts += 1;
            self.pairs += of_group[0].len();
            self.informative_pairs += informative;
            if informative >= min_ranks && self.rows.len() < wanted * size {
                self.rows.extend(group);
                self.advantages.extend(of_group);
            } else {
                self.left_out.extend(group);
            }
        }
    }
}

/// Samples batch after batch until `prompts_per_step` prompts are worth training on. Without
/// dynamic sampling that is one batch. `batches` is the number of batches before this step.
pub(super) fn collect<'s>(
    job: &Job<'_>,
    policy: &Policy,
    sampler: &mut dyn Sampler,
    step: usize,
    samples: &'s [Sample],
    batches: usize,
) -> Result<Collected<'s>, StepError> {
    let config = job.config;
    let policy = frozen(policy, config.bf16);
    sampler
        .begin_step(&policy, step + 1)
        .map_err(StepError::Sampler)?;
    let (max_batches, min_ranks) = config
        .dynamic_sampling
        .map_or((1, 0), |dynamic| (dynamic.max_batches, dynamic.min_ranks));
    let (wanted, size) = (config.prompts_per_step, config.num_generations);
    let mut collected = Collected {
        batches,
        ..Collected::default()
    };
    for _ in 0..max_batches {
        let n = collected.batches;
        let chosen = places(samples.len(), wanted, n, config.seed);
        let batch: Vec<&Sample> = chosen.iter().map(|&place| &samples[place]).collect();
        let completions = sample(job, &policy, sampler, &batch, n)?;
        collected.batches += 1;
        let mut rows = read_rows(job.task, &batch, completions);
        reward(job, &mut rows)?;
        let advantages = job.advantages(&rows);
        collected.add(rows, advantages, size, wanted, min_ranks);
        if collected.rows.len() == wanted * size {
            break;
        }
    }
    // Some advantages are divided by a spread over the whole batch. Where the rows to train on come
    // from several batches, the spread must be that of these rows.
    let depends_on_batch = config.scale_rewards == ScaleRewards::Batch
        || config.multi_objective_aggregation == MultiObjectiveAggregation::NormalizeThenSum;
    if depends_on_batch && !collected.left_out.is_empty() {
        collected.advantages = job.advantages(&collected.rows);
    }
    if !sampler.is_trainer() {
        recompute(&mut collected.rows, &policy, job)?;
    }
    Ok(collected)
}

/// The completions of the n-th batch of the run.
fn sample(
    job: &Job<'_>,
    policy: &Policy,
    sampler: &mut dyn Sampler,
    batch: &[&Sample],
    n: usize,
) -> Result<Vec<Vec<Completion>>, StepError> {
    let generation = job.config.generation(job.task, n);
    let completions = sampler
        .sample(policy, job.task, batch, &generation)
        .map_err(|error| match error.downcast() {
            Ok(of_group) => StepError::Group(*of_group),
            Err(error) => StepError::Sampler(error),
        })?;
    if !sampler.is_trainer() {
        check(job.task, policy, batch, &completions, &generation)
            .map_err(|e| StepError::Sampler(e.into()))?;
    }
    Ok(completions)
}

/// Rewards rows. Each process does so for a part of them, so that a reward function is asked once.
fn reward(job: &Job<'_>, rows: &mut [Row<'_>]) -> Result<(), StepError> {
    let own = &rows[job.group.share(rows.len())];
    let own: Result<Vec<RowRewards>, _> = own
        .iter()
        .map(|row| rewards_of(job.task, row, &job.rewards))
        .collect();
    let all = processes::gather(job.group, own.map_err(StepError::Reward)?)?;
    for (row, rewards) in rows.iter_mut().zip(all.into_iter().flatten()) {
        row.rewards = rewards;
    }
    Ok(())
}

/// The number of ranks at which the completions of a group differ in reward. Advantages are 0 at
/// all other ranks.
fn informative_ranks(group: &[Vec<f64>]) -> usize {
    (0..group[0].len())
        .filter(|&rank| group.iter().any(|row| row[rank] != 0.0))
        .count()
}

/// Computes the trainer's own numbers for completions that another sampler wrote: its
/// log-probabilities differ by rounding, and ratios must start at exactly 1.
fn recompute(rows: &mut [Row<'_>], policy: &Policy, job: &Job<'_>) -> Result<(), StepError> {
    let (config, group) = (job.config, job.group);
    let mut own = Vec::new();
    let chunks = rows.chunks(config.micro_batch);
    for rows in chunks.skip(group.rank()).step_by(group.size()) {
        let output = log_probs(policy, &rows.iter().collect::<Vec<_>>(), config.temperature);
        let width = output.log_probs.dims()[1];
        let [log_probs, entropies] = [to_host(&output.log_probs)?, to_host(&output.entropies)?];
        let numbers = rows.iter().enumerate().map(|(n, row)| {
            let tokens = n * width..n * width + row.completion.tokens.len();
            let own = |table: &[f64]| table[tokens.clone()].iter().map(|x| *x as f32).collect();
            TokenNumbers {
                log_probs: own(&log_probs),
                entropies: own(&entropies),
            }
        });
        own.push(numbers.collect::<Vec<_>>());
    }
    let all = processes::gather(group, own)?;
    let mut all: Vec<_> = all.into_iter().map(Vec::into_iter).collect();
    for (n, rows) in rows.chunks_mut(config.micro_batch).enumerate() {
        let numbers = all[n % group.size()].next();
        let numbers = numbers.expect("as many chunks as in every process");
        for (row, numbers) in rows.iter_mut().zip(numbers) {
            row.recomputed = Some(numbers);
        }
    }
    Ok(())
}
