//! What is trained on in one step: completions of prompts that tell good lists from bad ones.

use rank_grpo::GroupAdvantages;
use serde::{Deserialize, Serialize};

use super::trainer::{StepError, Trainer};
use crate::batches::places;
use crate::config::frozen;
use crate::rollout::{Row, read_rows};
use crate::task::Sample;

/// Prompts whose completions are all worth the same teach nothing: sample others in their place (DAPO: Yu et al., arXiv
/// 2503.14476, section 3.2; here by rank).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamicSampling {
    /// Batches of `prompts_per_step` prompts that a step may sample. It goes on with the prompts it has when they are
    /// used up, be they fewer than wanted, or none.
    pub max_batches: usize,
    /// A prompt is kept where its completions differ in reward at so many ranks at least.
    pub min_ranks: usize,
}

/// The completions of a step, in whole groups.
pub(super) struct Collected<'a> {
    pub(super) rows: Vec<Row<'a>>,
    pub(super) advantages: GroupAdvantages,
    /// Prompts that were sampled.
    pub(super) prompts: usize,
    /// The share of their (prompt, rank) groups in which rewards differ.
    pub(super) signal: f64,
}

impl Trainer<'_> {
    /// Samples batch after batch until `prompts_per_step` prompts are worth training on; without dynamic sampling, one.
    pub(super) fn collect<'s>(&mut self, samples: &'s [Sample]) -> Result<Collected<'s>, StepError> {
        let config = self.config;
        let policy = frozen(self.policy(), config.bf16);
        let (mut kept, mut prompts, mut signal, mut groups) = (Vec::new(), 0, 0, 0);
        for _ in 0..config.dynamic_sampling.map_or(1, |dynamic| dynamic.max_batches) {
            let chosen = places(samples.len(), config.prompts_per_step, self.state.batches, config.seed);
            let batch: Vec<&Sample> = chosen.iter().map(|&place| &samples[place]).collect();
            let generation = config.generation(self.task, self.state.batches);
            let completions =
                self.sampler.sample(&policy, self.task, &batch, &generation).map_err(StepError::Sampler)?;
            let rows = read_rows(self.task, &batch, completions, &self.rewards);
            self.state.batches += 1;
            let ranks = self.informative_ranks(&rows);
            prompts += batch.len();
            signal += ranks.iter().sum::<usize>();
            groups += ranks.len() * rows.first().map_or(0, |row| row.rewards[0].len());
            let least = config.dynamic_sampling.map_or(0, |dynamic| dynamic.min_ranks);
            let mut of_prompt = rows.into_iter();
            for ranks in ranks {
                let group: Vec<Row<'_>> = of_prompt.by_ref().take(config.group_size).collect();
                if ranks >= least && kept.len() < config.prompts_per_step {
                    kept.push(group);
                }
            }
            if kept.len() == config.prompts_per_step {
                break;
            }
        }
        let rows: Vec<Row<'_>> = kept.into_iter().flatten().collect();
        let advantages = self.advantages(&rows);
        Ok(Collected { rows, advantages, prompts, signal: signal as f64 / groups.max(1) as f64 })
    }

    fn advantages(&self, rows: &[Row<'_>]) -> GroupAdvantages {
        let rewards: Vec<&[Vec<f64>]> = rows.iter().map(|row| row.rewards.as_slice()).collect();
        self.rewards.advantages(&rewards, self.config.group_size).expect("rows come in whole groups of one width")
    }

    /// For each prompt, the number of ranks at which its completions differ in reward.
    fn informative_ranks(&self, rows: &[Row<'_>]) -> Vec<usize> {
        let advantages = self.advantages(rows).values;
        let differs = |group: &[Vec<f64>], rank: usize| group.iter().any(|row| row[rank] != 0.0);
        let of_group = |group: &[Vec<f64>]| (0..group[0].len()).filter(|rank| differs(group, *rank)).count();
        advantages.chunks(self.config.group_size).map(of_group).collect()
    }
}
