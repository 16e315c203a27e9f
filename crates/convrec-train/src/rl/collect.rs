//! What is trained on in one step: completions of prompts that tell good lists from bad ones.

use convrec_watch::CompletionRecord;
use std::error::Error;

use convrec_policy::{Completion, Generation, Policy, TokenLogProbs};
use rank_grpo::{GroupAdvantages, to_host};
use serde::{Deserialize, Serialize};

use super::config::RlConfig;
use super::trainer::{StepError, Trainer, log_probs};
use crate::batches::places;
use crate::config::frozen;
use crate::rollout::{Row, read_rows};
use crate::run::listed;
use crate::task::{Sample, Task};

/// Prompts whose completions are all worth the same teach nothing: sample others in their place
/// (DAPO: Yu et al., arXiv 2503.14476, section 3.2; here by rank).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamicSampling {
    /// Batches of `prompts_per_step` prompts that a step may sample. It goes on with the prompts
    /// it has when they are used up, be they fewer than wanted, or none.
    pub max_batches: usize,
    /// A prompt is kept where its completions differ in reward at so many ranks at least.
    pub min_ranks: usize,
}

/// The completions of a step, in whole groups.
pub(super) struct Collected<'a> {
    pub(super) rows: Vec<Row<'a>>,
    /// Those that dynamic sampling left out.
    pub(super) left_out: Vec<Row<'a>>,
    pub(super) advantages: GroupAdvantages,
    /// Prompts that were sampled.
    pub(super) prompts: usize,
    /// The share of their (prompt, rank) groups in which rewards differ.
    pub(super) signal: f64,
}

impl<'a> Collected<'a> {
    /// Everything that was sampled, in whole groups.
    pub(super) fn sampled(&self) -> Vec<&Row<'a>> {
        self.rows.iter().chain(&self.left_out).collect()
    }

    /// The completions for people to read, a prompt before the first of its own.
    pub(super) fn shown(&self, task: &Task, step: usize) -> Vec<CompletionRecord> {
        let show = |(n, (row, advantages)): (usize, (&Row<'_>, &Vec<f64>))| {
            let first = n == 0 || self.rows[n - 1].sample.id != row.sample.id;
            CompletionRecord {
                step,
                id: row.sample.id.clone(),
                prompt: first.then(|| {
                    task.prompter()
                        .tokenizer()
                        .decode_with_specials(&row.sample.prompt)
                }),
                text: row.answer.text.clone(),
                items: listed(&row.answer, &row.relevant),
                rewards: row.rewards.total.clone(),
                advantages: advantages.clone(),
                ended: row.completion.ended,
            }
        };
        self.rows
            .iter()
            .zip(&self.advantages.values)
            .enumerate()
            .map(show)
            .collect()
    }
}

impl Trainer<'_> {
    /// Samples batch after batch until `prompts_per_step` prompts are worth training on; without
    /// dynamic sampling, one.
    pub(super) fn collect<'s>(
        &mut self,
        step: usize,
        samples: &'s [Sample],
    ) -> Result<Collected<'s>, StepError> {
        let config = self.config;
        let policy = frozen(self.policy(), config.bf16);
        self.sampler
            .begin_step(&policy, step + 1)
            .map_err(StepError::Sampler)?;
        let (mut kept, mut left_out, mut prompts, mut signal, mut groups) =
            (Vec::new(), Vec::new(), 0, 0, 0);
        for _ in 0..config
            .dynamic_sampling
            .map_or(1, |dynamic| dynamic.max_batches)
        {
            let chosen = places(
                samples.len(),
                config.prompts_per_step,
                self.state.batches,
                config.seed,
            );
            let batch: Vec<&Sample> = chosen.iter().map(|&place| &samples[place]).collect();
            let generation = config.generation(self.task, self.state.batches);
            let completions = self
                .sampler
                .sample(&policy, self.task, &batch, &generation)
                .map_err(StepError::Sampler)?;
            if !self.sampler.is_trainer() {
                check(self.task, &policy, &batch, &completions, &generation)
                    .map_err(StepError::Sampler)?;
            }
            let rows = read_rows(self.task, &batch, completions, &self.rewards)
                .map_err(StepError::Reward)?;
            self.state.batches += 1;
            let ranks = self.informative_ranks(&rows);
            prompts += batch.len();
            signal += ranks.iter().sum::<usize>();
            groups += ranks.len() * rows.first().map_or(0, |row| row.rewards.total.len());
            let least = config
                .dynamic_sampling
                .map_or(0, |dynamic| dynamic.min_ranks);
            let mut of_prompt = rows.into_iter();
            for ranks in ranks {
                let group: Vec<Row<'_>> = of_prompt.by_ref().take(config.num_generations).collect();
                if ranks >= least && kept.len() < config.prompts_per_step {
                    kept.push(group);
                } else {
                    left_out.extend(group);
                }
            }
            if kept.len() == config.prompts_per_step {
                break;
            }
        }
        let mut rows: Vec<Row<'_>> = kept.into_iter().flatten().collect();
        if !self.sampler.is_trainer() {
            score(&mut rows, &policy, config)?;
        }
        let advantages = self.advantages(&rows);
        Ok(Collected {
            rows,
            left_out,
            advantages,
            prompts,
            signal: signal as f64 / groups.max(1) as f64,
        })
    }

    fn advantages(&self, rows: &[Row<'_>]) -> GroupAdvantages {
        self.rewards
            .advantages(
                rows.iter().map(|row| &row.rewards),
                self.config.num_generations,
            )
            .expect("rows come in whole groups of one width")
    }

    /// For each prompt, the number of ranks at which its completions differ in reward.
    fn informative_ranks(&self, rows: &[Row<'_>]) -> Vec<usize> {
        let advantages = self.advantages(rows).values;
        let differs = |group: &[Vec<f64>], rank: usize| group.iter().any(|row| row[rank] != 0.0);
        let of_group = |group: &[Vec<f64>]| {
            (0..group[0].len())
                .filter(|rank| differs(group, *rank))
                .count()
        };
        advantages
            .chunks(self.config.num_generations)
            .map(of_group)
            .collect()
    }
}

/// Refuses what no sampler should give: another number of completions, tokens that cannot be there.
fn check(
    task: &Task,
    policy: &Policy,
    batch: &[&Sample],
    completions: &[Vec<Completion>],
    generation: &Generation,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let group_size = generation.group_size;
    let longest = task.longest_list().unwrap_or(generation.max_new_tokens);
    if completions.len() != batch.len() || completions.iter().any(|group| group.len() != group_size)
    {
        let found = completions.iter().map(Vec::len).collect::<Vec<_>>();
        return Err(format!(
            "{found:?} completions; expected {group_size} of each of {} prompts",
            batch.len()
        )
        .into());
    }
    let vocabulary = policy.config().vocab_size;
    for (sample, completion) in batch
        .iter()
        .zip(completions)
        .flat_map(|(s, group)| group.iter().map(move |c| (s, c)))
    {
        let tokens = &completion.tokens;
        let problem = match () {
            () if tokens.is_empty() => "no tokens",
            () if tokens.len() != completion.log_probs.len() => {
                "not as many log-probabilities as tokens"
            }
            () if !completion
                .log_probs
                .iter()
                .all(|x| (-1e6..1e-3).contains(x)) =>
            {
                "a number that is no log-probability"
            }
            () if tokens.len() > longest => "more tokens than were asked for",
            () if ends(tokens, generation.end_token) != completion.ended => {
                "an end that is not where its end token is"
            }
            () if tokens[..tokens.len() - 1].contains(&generation.end_token) => {
                "tokens after its end token"
            }
            () if tokens.iter().any(|token| *token as usize >= vocabulary) => {
                "a token outside of the vocabulary"
            }
            () if !task.admits(&sample.seen, tokens) => {
                "a list that the task's constraint does not allow"
            }
            () => continue,
        };
        return Err(format!("sample `{}`: a completion with {problem}", sample.id).into());
    }
    Ok(())
}

fn ends(tokens: &[u32], end_token: u32) -> bool {
    tokens.last() == Some(&end_token)
}

/// The trainer's own numbers for completions of a sampler that is not the trainer.
fn score(rows: &mut [Row<'_>], policy: &Policy, config: &RlConfig) -> Result<(), StepError> {
    for rows in rows.chunks_mut(config.micro_batch) {
        let TokenLogProbs {
            log_probs,
            entropies,
            ..
        } = log_probs(policy, &rows.iter().collect::<Vec<_>>(), config.temperature);
        let width = log_probs.dims()[1];
        let [log_probs, entropies] = [to_host(&log_probs)?, to_host(&entropies)?];
        for (n, row) in rows.iter_mut().enumerate() {
            let own = |table: &[f64]| {
                table[n * width..][..row.completion.tokens.len()]
                    .iter()
                    .map(|x| *x as f32)
                    .collect()
            };
            row.trainers = Some([own(&log_probs), own(&entropies)]);
        }
    }
    Ok(())
}
