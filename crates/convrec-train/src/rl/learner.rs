//! One step: rollouts, then updates of the policy by micro-batches.

use std::collections::BTreeMap;
use std::time::Instant;

use convrec_policy::Policy;
use convrec_watch::{CompletionRecord, Record, Timing};
use rank_grpo::{Kl, Loss, LossConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::collect::{Collected, collect};
use super::job::{Job, StepError};
use super::log::StepLog;
use super::micro_batch::{MicroBatch, deal};
use crate::checkpoint::CheckpointError;
use crate::optim::Updates;
use crate::replicas::{Workers, gradients};
use crate::reward::RowRewards;
use crate::sampler::Sampler;
use crate::task::Sample;

/// The state that a step needs from earlier steps, beside weights and moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// The number of batches of prompts that were sampled.
    pub(super) batches: usize,
    /// The weight of the KL penalty.
    pub(super) beta: f64,
    /// The multipliers of the rewards with a target, by name. Before the first step there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) multipliers: BTreeMap<String, f64>,
}

impl State {
    pub(super) fn read(state: Value) -> Result<Self, CheckpointError> {
        serde_json::from_value(state).map_err(|e| CheckpointError::State(e.to_string()))
    }

    pub(super) fn write(&self) -> Value {
        serde_json::to_value(self).expect("numbers")
    }
}

/// The result of a step.
pub(super) struct StepResult {
    /// The line of the log.
    pub(super) record: Record,
    pub(super) completions: Vec<CompletionRecord>,
    pub(super) timing: Timing,
    /// The gradient norm of the last update.
    pub(super) grad_norm: f64,
    /// The mean difference between the sampler's and the trainer's log-probabilities, in nats a
    /// token, before any update.
    pub(super) logp_difference: f64,
}

/// The policy in training, with all that a step needs.
pub(super) struct Learner<'a> {
    pub(super) job: Job<'a>,
    pub(super) sampler: &'a mut dyn Sampler,
    /// The devices of all processes.
    pub(super) workers: Workers<'a>,
    /// The reference of the KL penalty, where there is one.
    pub(super) reference: Option<Policy>,
    /// `None` only while an update owns the policy, so that its weights are changed in place.
    pub(super) policy: Option<Policy>,
    pub(super) updates: Updates,
    pub(super) state: State,
}

const HELD: &str = "the policy is only taken out within an update";

impl Learner<'_> {
    pub(super) fn policy(&self) -> &Policy {
        self.policy.as_ref().expect(HELD)
    }

    pub(super) fn into_policy(self) -> Policy {
        self.policy.expect(HELD)
    }

    /// Samples one batch of rollouts and learns from it. `step` counts from 0.
    pub(super) fn step(
        &mut self,
        step: usize,
        samples: &[Sample],
    ) -> Result<StepResult, StepError> {
        let clock = Instant::now();
        self.job.rewards.set_multipliers(&self.state.multipliers);
        let policy = self.policy.as_ref().expect(HELD);
        let batches = &mut self.state.batches;
        let collected = collect(&self.job, policy, self.sampler, step, samples, batches)?;
        let rollout_seconds = clock.elapsed().as_secs_f64();
        let mut log = StepLog::new(&self.job, &collected);
        self.follow_targets(&collected, &mut log);
        self.learn(step, &collected, &mut log)?;
        log.beta(self.state.beta);
        let config = self.job.config;
        // The log has the weight that this step used; the controller changes that of the next step.
        if let (Some(control), Some(kl)) = (config.kl_control, log.kl()) {
            self.state.beta = control.next(self.state.beta, kl, collected.rows.len());
        }
        let tokens = collected
            .rows
            .iter()
            .map(|row| row.completion.tokens.len())
            .sum();
        let completions = collected.shown(self.job.task, step + 1);
        let (grad_norm, logp_difference) = (log.grad_norm(), log.logp_difference());
        Ok(StepResult {
            record: log.finish(),
            completions,
            timing: Timing {
                seconds: clock.elapsed().as_secs_f64(),
                rollout_seconds,
                tokens,
            },
            grad_norm,
            logp_difference,
        })
    }

    /// Logs the multipliers of this step, and makes those of the next one.
    fn follow_targets(&mut self, collected: &Collected<'_>, log: &mut StepLog) {
        let sampled = collected.sampled();
        let rewards: Vec<&RowRewards> = sampled.iter().map(|row| &row.rewards).collect();
        for mut measured in self.job.rewards.measure(&rewards) {
            log.target(&measured);
            measured.constraint.update(measured.mean);
            let (name, multiplier) = (measured.name, measured.constraint.multiplier);
            self.state.multipliers.insert(name.into(), multiplier);
        }
    }

    /// Goes `num_iterations` times through the completions, in `mini_batches` updates each time.
    fn learn(
        &mut self,
        step: usize,
        collected: &Collected<'_>,
        log: &mut StepLog,
    ) -> Result<(), StepError> {
        let config = self.job.config;
        // Dealt once for all passes: the old and the reference log-probabilities stay those of the
        // policy that sampled and of the reference.
        let loss = self.loss();
        let reference = self.reference.as_ref();
        let updates = deal(&self.job, &self.workers, collected, reference, step)?;
        log.active_rows(updates.iter().flatten().map(|part| part.rows.len()).sum());
        for iteration in 0..config.num_iterations {
            for (n, parts) in updates.iter().enumerate() {
                let first = iteration == 0 && n == 0;
                let place = (step * config.num_iterations + iteration) * config.mini_batches + n;
                self.update(place, parts, &loss, first, log)?;
            }
        }
        Ok(())
    }

    /// One update of the policy, the `place`-th of the run. The `first` of a step is compared with
    /// the sampler: the policy has not moved yet.
    fn update(
        &mut self,
        place: usize,
        parts: &[MicroBatch<'_>],
        loss: &Loss,
        first: bool,
        log: &mut StepLog,
    ) -> Result<(), StepError> {
        if parts.is_empty() {
            log.skipped_update(self.updates.learning_rate(place));
            return Ok(());
        }
        let temperature = self.job.config.temperature;
        let compute = |policy: &Policy, n: usize| {
            let computed = parts[n].gradients(policy, loss, temperature, first);
            computed.map_err(StepError::from)
        };
        let (gradients, computed) = gradients(self.policy(), &self.workers, parts.len(), &compute)?;
        for (part, computed) in parts.iter().zip(computed) {
            log.micro_batch(&computed.metrics, computed.loss);
            if let Some(log_probs) = computed.log_probs {
                log.compare(&part.rows, &log_probs);
            }
        }
        // Taken out, as a second handle to the weights would make the optimiser copy them.
        let policy = self.policy.take().expect(HELD);
        let (policy, done) = self.updates.step(place, policy, gradients);
        self.policy = Some(policy);
        log.update(done.grad_norm, done.learning_rate);
        Ok(())
    }

    /// The loss, with the weight of the KL penalty as it stands.
    fn loss(&self) -> Loss {
        let config = self.job.config;
        let kl = config.kl().map(|kl| Kl {
            beta: self.state.beta,
            ..kl
        });
        let loss = LossConfig {
            kl,
            ..config.loss.clone()
        };
        loss.check().expect("the settings were checked")
    }
}
