//! One step: rollouts, advantages, and updates of the policy by micro-batches.

use std::error::Error;
use std::time::Instant;

use burn::optim::GradientsParams;
use burn::tensor::Device;
use convrec_policy::{Allowed, Policy, Sequence, TokenLogProbs};
use convrec_watch::{CompletionRecord, Record, Timing};
use rank_grpo::{
    BatchTotals, InputError, Kl, LengthShaping, Loss, LossConfig, LossInputs, Metrics, to_host,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::collect::Collected;
use super::config::RlConfig;
use super::log::StepLog;
use crate::batches::{micro_batches, shuffled};
use crate::checkpoint::CheckpointError;
use crate::optim::Updates;
use crate::replicas::gradients;
use crate::reward::{Popularity, RewardError, WeightedRewards};
use crate::rollout::{Collation, Row, table};
use crate::sampler::Sampler;
use crate::task::{Sample, Task};

/// What a step needs of the steps before it, beside weights and moments.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Batches of prompts that were sampled.
    pub(super) batches: usize,
    /// The weight of the KL penalty.
    pub(super) beta: f64,
}

impl State {
    pub(super) fn read(state: Value) -> Result<Self, CheckpointError> {
        serde_json::from_value(state).map_err(|e| CheckpointError::State(e.to_string()))
    }

    pub(super) fn write(self) -> Value {
        serde_json::to_value(self).expect("two numbers")
    }
}

/// What a step did.
pub(super) struct Stepped {
    pub(super) record: Record,
    /// Of the last update.
    pub(super) grad_norm: f64,
    pub(super) completions: Vec<CompletionRecord>,
    pub(super) timing: Timing,
}

pub(super) enum StepError {
    Loss(InputError),
    Reward(RewardError),
    Sampler(Box<dyn Error + Send + Sync>),
}

impl<E: Into<InputError>> From<E> for StepError {
    fn from(error: E) -> Self {
        StepError::Loss(error.into())
    }
}

pub(super) struct Trainer<'a> {
    pub(super) config: &'a RlConfig,
    pub(super) task: &'a Task,
    pub(super) rewards: WeightedRewards<'a>,
    pub(super) popularity: Popularity,
    pub(super) sampler: &'a mut dyn Sampler,
    /// Beside the policy's own.
    pub(super) devices: &'a [Device],
    /// Where there is a KL penalty.
    pub(super) reference: Option<Policy>,
    /// Taken out while it is stepped, so that its weights are changed in place.
    pub(super) policy: Option<Policy>,
    pub(super) updates: Updates,
    pub(super) state: State,
}

const HELD: &str = "only taken out within a step";

impl Trainer<'_> {
    pub(super) fn policy(&self) -> &Policy {
        self.policy.as_ref().expect(HELD)
    }

    pub(super) fn into_policy(self) -> Policy {
        self.policy.expect(HELD)
    }

    /// One batch of rollouts and its updates.
    pub(super) fn step(&mut self, step: usize, samples: &[Sample]) -> Result<Stepped, StepError> {
        let (config, clock) = (self.config, Instant::now());
        let collected = self.collect(step, samples)?;
        let rollout_seconds = clock.elapsed().as_secs_f64();
        let mut log = StepLog::new(
            self.task,
            &collected,
            config.num_generations,
            &self.rewards,
            &self.popularity,
        );
        let loss = self.loss();
        let batches = self
            .shares(step, &collected)
            .into_iter()
            .map(|rows| self.parts(&collected, &rows));
        let batches: Vec<Vec<Part<'_>>> = batches.collect::<Result<_, _>>()?;
        log.active(batches.iter().flatten().map(|part| part.rows.len()).sum());
        for round in 0..config.num_iterations {
            for (share, parts) in batches.iter().enumerate() {
                let place = (step * config.num_iterations + round) * config.mini_batches + share;
                if parts.is_empty() {
                    log.skip(self.updates.learning_rate(place));
                    continue;
                }
                let first = round == 0 && share == 0;
                let compute = |policy: &Policy, n: usize| {
                    parts[n].gradients(policy, &loss, config.temperature, first)
                };
                let (gradients, found) =
                    gradients(self.policy(), self.devices, parts.len(), &compute)?;
                for (part, computed) in parts.iter().zip(found) {
                    log.part(&computed.metrics, computed.loss);
                    computed
                        .log_probs
                        .iter()
                        .for_each(|log_probs| log.compare(&part.rows, log_probs));
                }
                let policy = self.policy.take().expect(HELD);
                let (policy, done) = self.updates.step(place, policy, gradients);
                self.policy = Some(policy);
                log.update(done.grad_norm, done.learning_rate);
            }
        }
        log.beta(self.state.beta);
        if let (Some(control), Some(kl)) = (config.kl_control, log.kl()) {
            self.state.beta = control.next(self.state.beta, kl, collected.rows.len());
        }
        let tokens = collected
            .rows
            .iter()
            .map(|row| row.completion.tokens.len())
            .sum();
        let completions = collected.shown(self.task, step + 1);
        let (record, grad_norm) = log.finish();
        let timing = Timing {
            seconds: clock.elapsed().as_secs_f64(),
            rollout_seconds,
            tokens,
        };
        Ok(Stepped {
            record,
            grad_norm,
            completions,
            timing,
        })
    }

    /// With the weight of the KL penalty as it stands.
    fn loss(&self) -> Loss {
        let kl = self.config.kl().map(|kl| Kl {
            beta: self.state.beta,
            ..kl
        });
        LossConfig {
            kl,
            ..self.config.loss.clone()
        }
        .check()
        .expect("the settings were checked")
    }

    /// The rows of each update, in whole groups.
    fn shares(&self, step: usize, collected: &Collected<'_>) -> Vec<Vec<usize>> {
        let (groups, size) = (
            collected.rows.len() / self.config.num_generations,
            self.config.num_generations,
        );
        if self.config.mini_batches == 1 {
            return vec![(0..collected.rows.len()).collect()];
        }
        let order = shuffled(groups, self.config.seed ^ SHARES, step as u64);
        let mut shares: Vec<Vec<usize>> = vec![vec![]; self.config.mini_batches];
        order
            .into_iter()
            .enumerate()
            .for_each(|(n, group)| shares[n % self.config.mini_batches].push(group));
        let rows = |mut groups: Vec<usize>| {
            groups.sort_unstable();
            groups
                .into_iter()
                .flat_map(|group| group * size..(group + 1) * size)
                .collect()
        };
        shares.into_iter().map(rows).collect()
    }

    /// The micro-batches of an update. Rows without any advantage are left out where neither a KL
    /// penalty nor an entropy bonus acts on them: their gradient is 0.
    fn parts<'r>(
        &self,
        collected: &'r Collected<'r>,
        all: &[usize],
    ) -> Result<Vec<Part<'r>>, InputError> {
        let (config, advantages) = (self.config, &collected.advantages.values);
        let collation = Collation {
            n_ranks: self.task.n_ranks(),
            reward: config.reward,
            // Nothing about the length of a constrained list was the policy's choice.
            shaping: if self.task.is_constrained() {
                LengthShaping::OFF
            } else {
                config.shaping
            },
            mask_truncated_completions: config.mask_truncated_completions,
            forced: config.forced_tokens,
        };
        let inputs = |indices: &[usize]| {
            let chosen: Vec<&Row<'_>> = indices.iter().map(|&row| &collected.rows[row]).collect();
            let theirs: Vec<&Vec<f64>> = indices.iter().map(|&row| &advantages[row]).collect();
            let inputs = collation
                .inputs(&chosen, &theirs)
                .expect("tables are built to fit");
            (chosen, inputs)
        };
        if all.is_empty() {
            return Ok(vec![]);
        }
        let (_, whole) = inputs(all);
        let totals = BatchTotals::of([&whole]);
        let width = whole.shape[1];
        let everywhere = config.kl().is_some() || config.loss.entropy_bonus != 0.0;
        let acts = |place: usize| {
            let tokens = place * width..(place + 1) * width;
            everywhere
                || tokens
                    .into_iter()
                    .any(|t| whole.mask[t] && whole.advantages[t] != 0.0)
        };
        let active: Vec<usize> = (0..all.len())
            .filter(|place| acts(*place))
            .map(|place| all[place])
            .collect();
        let mut parts = Vec::new();
        for indices in micro_batches(&active, config.micro_batch, config.num_generations) {
            let (rows, mut inputs) = inputs(&indices);
            inputs.whole_batch = Some(totals);
            inputs.entropies = Some(table(&rows, |row| row.entropies()));
            if config.num_iterations * config.mini_batches > 1 {
                inputs.old_log_probs = Some(table(&rows, |row| row.log_probs()));
            }
            if config.loss.correction.is_some() {
                inputs.sampler_log_probs = Some(table(&rows, |row| &row.completion.log_probs));
            }
            let mut part = Part { rows, inputs };
            if let Some(reference) = &self.reference {
                let log_probs = part.log_probs(reference, config.temperature).log_probs;
                part.inputs.ref_log_probs = Some(to_host(&log_probs)?);
            }
            parts.push(part);
        }
        Ok(parts)
    }
}

/// Tells the order of prompts within a step from that of the data.
const SHARES: u64 = 0x5AE5;

struct Part<'r> {
    rows: Vec<&'r Row<'r>>,
    inputs: LossInputs,
}

/// What a part's share of an update gives beside its gradients.
struct Computed {
    metrics: Metrics,
    loss: f64,
    /// Before the first update, to compare with the sampler's.
    log_probs: Option<Vec<f64>>,
}

impl Part<'_> {
    fn gradients(
        &self,
        policy: &Policy,
        loss: &Loss,
        temperature: f32,
        compare: bool,
    ) -> Result<(GradientsParams, Computed), InputError> {
        let TokenLogProbs {
            log_probs,
            entropies,
            tape,
        } = self.log_probs(policy, temperature);
        let found = if compare {
            Some(to_host(&log_probs)?)
        } else {
            None
        };
        let output = loss.forward_with_entropies(log_probs, entropies, &self.inputs)?;
        let value = f64::from(output.loss.clone().into_scalar::<f32>());
        let computed = Computed {
            metrics: output.metrics,
            loss: value,
            log_probs: found,
        };
        Ok((tape.backward(output.loss, policy), computed))
    }

    fn log_probs(&self, policy: &Policy, temperature: f32) -> TokenLogProbs {
        log_probs(policy, &self.rows, temperature)
    }
}

/// Under the constraint that the rows were sampled under, if any.
pub(super) fn log_probs(policy: &Policy, rows: &[&Row<'_>], temperature: f32) -> TokenLogProbs {
    let sequences: Vec<Sequence<'_>> = rows.iter().map(|row| row.sequence()).collect();
    let allowed: Option<Vec<&Allowed>> = rows.iter().map(|row| row.allowed.as_ref()).collect();
    match allowed {
        Some(allowed) => policy.log_probs_constrained(&sequences, &allowed, temperature),
        None => policy.log_probs(&sequences, temperature),
    }
}
