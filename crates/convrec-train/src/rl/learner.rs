//! The policy in training, and the updates of a step.

use convrec_policy::Policy;
use rank_grpo::{Kl, Loss, LossConfig};

use super::collect::Collected;
use super::config::RlConfig;
use super::job::StepError;
use super::log::StepLog;
use super::micro_batch::{MicroBatch, deal};
use crate::optim::Updates;
use crate::replicas::{Workers, gradients};
use crate::task::Task;

/// The policy in training, with all that its updates need.
pub(super) struct Learner<'a> {
    pub(super) config: &'a RlConfig,
    pub(super) task: &'a Task,
    /// The devices of all processes.
    pub(super) workers: Workers<'a>,
    /// The reference of the KL penalty, where there is one.
    pub(super) reference: Option<Policy>,
    /// `None` only while an update owns the policy, so that its weights are changed in place.
    pub(super) policy: Option<Policy>,
    pub(super) updates: Updates,
}

const HELD: &str = "the policy is only taken out within an update";

impl Learner<'_> {
    pub(super) fn policy(&self) -> &Policy {
        self.policy.as_ref().expect(HELD)
    }

    pub(super) fn into_policy(self) -> Policy {
        self.policy.expect(HELD)
    }

    /// Goes `num_iterations` times through the completions of `step` (from 0), in `mini_batches`
    /// updates each time. `beta` is the weight of the KL penalty.
    pub(super) fn learn(
        &mut self,
        step: usize,
        collected: &Collected<'_>,
        beta: f64,
        log: &mut StepLog,
    ) -> Result<(), StepError> {
        let (config, task) = (self.config, self.task);
        // Dealt once for all passes: the old and the reference log-probabilities stay those of the
        // policy that sampled and of the reference.
        let loss = self.loss(beta);
        let reference = self.reference.as_ref();
        let updates = deal(config, task, &self.workers, collected, reference, step)?;
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

    /// One update of the policy, the `place`-th of the run. The policy before the `first` of a step
    /// is compared with the sampler.
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
        let temperature = self.config.temperature;
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

    fn loss(&self, beta: f64) -> Loss {
        let config = self.config;
        let kl = config.kl().map(|kl| Kl { beta, ..kl });
        let loss = LossConfig {
            kl,
            ..config.loss.clone()
        };
        loss.check().expect("the settings were checked")
    }
}
