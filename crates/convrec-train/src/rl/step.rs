//! One step: rollouts, then updates of the policy. With `one_step_off_policy` the rollouts of the
//! next step are drawn while the updates run.

use std::collections::BTreeMap;
use std::panic;
use std::thread;
use std::time::Instant;

use convrec_policy::Policy;
use convrec_watch::{CompletionRecord, Record, Timing};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::collect::{Collected, collect};
use super::job::{Job, StepError};
use super::learner::Learner;
use super::log::StepLog;
use crate::checkpoint::CheckpointError;
use crate::reward::RowRewards;
use crate::run::Progress;
use crate::sampler::Sampler;
use crate::task::Sample;

/// The state that a step needs from earlier steps, beside weights and moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// The number of batches of prompts that were learned from, or left out.
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

    fn write(&self) -> Value {
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
    /// Whether the policy had moved between the rollouts and these updates.
    pub(super) is_stale: bool,
}

/// What draws and rewards completions.
pub(super) struct Rollouts<'a> {
    pub(super) job: Job<'a>,
    pub(super) sampler: &'a mut dyn Sampler,
    pub(super) samples: &'a [Sample],
}

impl<'a> Rollouts<'a> {
    /// The rollouts of `step` (from 0) by `policy`, after the steps that led to `state`.
    fn draw(
        &mut self,
        policy: &Policy,
        state: &State,
        step: usize,
    ) -> Result<Collected<'a>, StepError> {
        self.job.rewards.set_multipliers(&state.multipliers);
        let (samples, batches) = (self.samples, state.batches);
        collect(&self.job, policy, self.sampler, step, samples, batches)
    }
}

/// The steps of a run.
pub(super) struct Steps<'a> {
    pub(super) rollouts: Rollouts<'a>,
    pub(super) learner: Learner<'a>,
    pub(super) state: State,
    /// The policy that the next rollouts are drawn from, where it is not the learner's.
    pub(super) behaviour: Option<Policy>,
    /// The next rollouts, where they were drawn while the learner learned.
    pub(super) ahead: Option<Result<Collected<'a>, StepError>>,
}

impl Steps<'_> {
    /// What a checkpoint between two steps holds. Rollouts that were drawn ahead are drawn again.
    pub(super) fn progress(&self) -> Progress<'_> {
        Progress {
            policy: self.learner.policy(),
            behaviour: self.behaviour.as_ref(),
            updates: &self.learner.updates,
            state: self.state.write(),
        }
    }

    /// Takes a step, which counts from 0. A step without rollouts changes nothing.
    pub(super) fn step(&mut self, step: usize) -> Result<StepResult, StepError> {
        let clock = Instant::now();
        let collected = match self.ahead.take() {
            Some(drawn) => drawn?,
            None => {
                let policy = self.behaviour.as_ref();
                let policy = policy.unwrap_or(self.learner.policy());
                self.rollouts.draw(policy, &self.state, step)?
            }
        };
        let mut rollout_seconds = clock.elapsed().as_secs_f64();
        let (config, task) = (self.rollouts.job.config, self.rollouts.job.task);
        self.state.batches = collected.batches;
        let mut log = StepLog::new(&self.rollouts.job, &collected);
        self.follow_targets(&collected, &mut log);
        let draws_ahead = config.one_step_off_policy && step + 1 < config.max_steps;
        let now = draws_ahead.then(|| self.learner.policy().clone());
        let is_stale = std::mem::replace(&mut self.behaviour, now).is_some();
        if draws_ahead {
            rollout_seconds += self.learn_and_draw(step, &collected, &mut log)?;
        } else {
            self.learner
                .learn(step, &collected, self.state.beta, &mut log)?;
        }
        log.beta(self.state.beta);
        // The log has the weight that this step used; the controller changes that of the next step.
        if let (Some(control), Some(kl)) = (config.kl_control, log.kl()) {
            self.state.beta = control.next(self.state.beta, kl, collected.rows.len());
        }
        let tokens = collected
            .rows
            .iter()
            .map(|row| row.completion.tokens.len())
            .sum();
        let completions = collected.shown(task, step + 1);
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
            is_stale,
        })
    }

    /// Learns from the rollouts of `step` in a thread of its own, and draws those of the next step
    /// meanwhile, by the behaviour policy. Returns the seconds for which the learner had to wait.
    ///
    /// The rollouts depend on nothing that the learner changes, so timing changes no bit. Where
    /// they fail, this step is whole, and the next one ends with the error.
    fn learn_and_draw(
        &mut self,
        step: usize,
        collected: &Collected<'_>,
        log: &mut StepLog,
    ) -> Result<f64, StepError> {
        let (learner, beta) = (&mut self.learner, self.state.beta);
        let policy = self.behaviour.as_ref().expect("it was kept for this");
        thread::scope(|scope| {
            let learning = scope.spawn(move || {
                let learned = learner.learn(step, collected, beta, log);
                (learned, Instant::now())
            });
            self.ahead = Some(self.rollouts.draw(policy, &self.state, step + 1));
            let drawn = Instant::now();
            let learning = learning.join();
            let (learned, ended) = learning.unwrap_or_else(|e| panic::resume_unwind(e));
            learned?;
            Ok(drawn.saturating_duration_since(ended).as_secs_f64())
        })
    }

    /// Logs the multipliers of this step, and makes those of the next one.
    fn follow_targets(&mut self, collected: &Collected<'_>, log: &mut StepLog) {
        let sampled = collected.sampled();
        let rewards: Vec<&RowRewards> = sampled.iter().map(|row| &row.rewards).collect();
        for mut measured in self.rollouts.job.rewards.measure(&rewards) {
            log.target(&measured);
            measured.constraint.update(measured.mean);
            let (name, multiplier) = (measured.name, measured.constraint.multiplier);
            self.state.multipliers.insert(name.into(), multiplier);
        }
    }
}
