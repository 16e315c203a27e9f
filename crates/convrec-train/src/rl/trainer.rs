//! The loop around steps, with the start, the end and the files of a run.

use std::collections::BTreeMap;
use std::fmt;

use burn::tensor::Device;
use convrec_collective::ProcessGroup;
use convrec_config::check;
use convrec_policy::Policy;
use convrec_watch::{Observer, StepView};

use super::config::RlConfig;
use super::job::{Job, StepError, kind_of_lists};
use super::learner::Learner;
use super::step::{Rollouts, State, StepResult, Steps};
use crate::config::{frozen, with_lora};
use crate::optim::Updates;
use crate::replicas::Workers;
use crate::reward::{Popularity, RewardFunction, WeightedRewards, built_in};
use crate::run::{Run, RunOptions, Start, TrainError, Validation};
use crate::sampler::{Local, Sampler, Shared};
use crate::task::{Sample, Task};

/// Trains a policy by Rank-GRPO or another member of the loss family, from the ground truth of
/// samples.
///
/// Only the policy, the task and the samples are required. Everything else has a default: the
/// settings of [`RlConfig::default`], the built-in reward functions, a policy that samples by
/// itself, and a run that is not written to disk.
///
/// ```no_run
/// use convrec_policy::Policy;
/// use convrec_train::{RankGrpoTrainer, RlConfig, RunOptions, Sample, StepView, Task, TrainError};
///
/// fn train(policy: Policy, task: &Task, samples: &[Sample]) -> Result<Policy, TrainError> {
///     let config = RlConfig { max_steps: 200, num_generations: 8, ..RlConfig::default() };
///     let mut show = |step: &StepView<'_>| println!("{:?}", step.record["reward"]);
///     RankGrpoTrainer::new(policy, task, samples)
///         .config(config)
///         .run(RunOptions { folder: Some("runs/rank-grpo".into()), ..RunOptions::default() })
///         .observer(&mut show)
///         .train()
/// }
/// ```
#[must_use = "nothing is trained before `train` is called"]
pub struct RankGrpoTrainer<'a> {
    policy: Policy,
    task: &'a Task,
    samples: &'a [Sample],
    config: RlConfig,
    reward_functions: Vec<Box<dyn RewardFunction + 'a>>,
    sampler: Option<&'a mut dyn Sampler>,
    devices: &'a [Device],
    validation: Option<Validation<'a>>,
    options: RunOptions,
    inputs: BTreeMap<String, String>,
    observer: Option<&'a mut dyn Observer>,
}

impl fmt::Debug for RankGrpoTrainer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RankGrpoTrainer")
            .field("samples", &self.samples.len())
            .field("config", &self.config)
            .field("options", &self.options)
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

impl<'a> RankGrpoTrainer<'a> {
    /// Trains `policy` on `samples`, which `task` has made. The policy must be on an autodiff
    /// device. As given, without an adapter that it may have, it is also the reference of the KL
    /// penalty.
    pub fn new(policy: Policy, task: &'a Task, samples: &'a [Sample]) -> Self {
        Self {
            policy,
            task,
            samples,
            config: RlConfig::default(),
            reward_functions: vec![],
            sampler: None,
            devices: &[],
            validation: None,
            options: RunOptions::default(),
            inputs: BTreeMap::new(),
            observer: None,
        }
    }

    /// Sets the settings of training.
    pub fn config(self, config: RlConfig) -> Self {
        Self { config, ..self }
    }

    /// Adds a reward function to the built-in ones. It counts where
    /// [`RlConfig::reward_weights`] gives its name a weight, or
    /// [`RlConfig::reward_targets`] a target.
    pub fn reward_function(mut self, function: impl RewardFunction + 'a) -> Self {
        self.reward_functions.push(Box::new(function));
        self
    }

    /// Adds several reward functions.
    pub fn reward_functions(
        mut self,
        functions: impl IntoIterator<Item = Box<dyn RewardFunction + 'a>>,
    ) -> Self {
        self.reward_functions.extend(functions);
        self
    }

    /// Sets the sampler of completions. Without it the policy samples by itself ([`Local`]) on its
    /// own device and on those of [`devices`](Self::devices).
    pub fn sampler(self, sampler: &'a mut dyn Sampler) -> Self {
        Self {
            sampler: Some(sampler),
            ..self
        }
    }

    /// Gives a share of the gradients to further devices of this host.
    pub fn devices(self, devices: &'a [Device]) -> Self {
        Self { devices, ..self }
    }

    /// Sets the validation samples on which the policy is evaluated while it trains.
    pub fn validation(self, validation: Validation<'a>) -> Self {
        Self {
            validation: Some(validation),
            ..self
        }
    }

    /// Sets the folder of the run, how often it writes, and whether it is resumed.
    pub fn run(self, options: RunOptions) -> Self {
        Self { options, ..self }
    }

    /// Sets the hashes of the run's inputs ([`sha256`](convrec_core::hash::sha256)), so that a
    /// checkpoint is not resumed with other data.
    pub fn inputs(self, inputs: BTreeMap<String, String>) -> Self {
        Self { inputs, ..self }
    }

    /// Shows every step to `observer`, such as a progress bar.
    pub fn observer(self, observer: &'a mut dyn Observer) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// Trains, and returns the policy on its autodiff device.
    ///
    /// # Errors
    /// - [`TrainError::Config`] when a setting is wrong or does not fit task and samples.
    /// - [`TrainError::Exists`], [`TrainError::Checkpoint`], [`TrainError::File`] and
    ///   [`TrainError::Optimizer`] when the run cannot be written or resumed.
    /// - [`TrainError::Reward`], [`TrainError::Sampler`] and [`TrainError::Loss`] when a step
    ///   fails.
    /// - [`TrainError::Diverged`], [`TrainError::Disagree`] and [`TrainError::Unhealthy`] when
    ///   training goes wrong.
    /// - [`TrainError::Group`] when another process of the run ends or stops.
    /// - [`TrainError::Stopped`] when it was asked to stop.
    pub fn train(self) -> Result<Policy, TrainError> {
        let group = self.options.group.clone();
        self.train_in(&group)
            .inspect_err(|error| error.tell(&group))
    }

    fn train_in(self, group: &ProcessGroup) -> Result<Policy, TrainError> {
        let (config, task, samples) = (&self.config, self.task, self.samples);
        config.check()?;
        check_fit(config, task, samples, group)?;
        let mut own_sampler = Local {
            devices: self.devices.to_vec(),
        };
        let mut shared;
        let sampler: &mut dyn Sampler = match self.sampler {
            Some(sampler) if group.size() == 1 => sampler,
            None if group.size() == 1 => &mut own_sampler,
            Some(sampler) => {
                shared = Shared::OfFirst(sampler, group);
                &mut shared
            }
            None => {
                shared = Shared::Dealt(own_sampler, group);
                &mut shared
            }
        };
        let popularity = Popularity::of(samples, task.catalog().len());
        let mut functions: Vec<Box<dyn RewardFunction + '_>> =
            built_in(task.catalog(), &popularity, &config.named_rewards())?;
        functions.extend(self.reward_functions);
        let job = Job {
            config,
            task,
            rewards: WeightedRewards::new(&functions, config)?,
            popularity: &popularity,
            group,
        };
        // The reference is the policy without any adapter, bit for bit, for the whole run. The two
        // share these weights, except for the copy of the projections with bf16.
        let reference = config
            .kl()
            .map(|_| frozen(&self.policy.without_lora(), config.bf16));
        let start = Start {
            step: 0,
            policy: with_lora(self.policy, config.lora.as_ref(), config.seed)?,
            behaviour: None,
            updates: Updates::new(&config.optimizer, config.updates()),
            state: None,
        };
        let inputs = with_kinds(self.inputs, task, sampler);
        let (run, start) = Run::open(&self.options, "rank_grpo", config, inputs, start)?;
        // Weights and moments are in `start`; the rest of a step's state is only these numbers.
        let state = match start.state {
            Some(state) => State::read(state)?,
            None => State {
                batches: 0,
                beta: config.kl().map_or(0.0, |kl| kl.beta),
                multipliers: BTreeMap::new(),
            },
        };
        // A checkpoint does not record these two settings, so they are set after it was read.
        let set = |policy: Policy| {
            policy
                .with_gradient_checkpointing(config.gradient_checkpointing)
                .with_bf16_products(config.bf16)
        };
        let steps = Steps {
            rollouts: Rollouts {
                job,
                sampler,
                samples,
            },
            learner: Learner {
                config,
                task,
                workers: Workers::new(group, self.devices)?,
                reference,
                policy: Some(set(start.policy)),
                updates: start.updates,
            },
            state,
            behaviour: start.behaviour.map(set),
            ahead: None,
        };
        let mut nobody = ();
        let observer = self.observer.unwrap_or(&mut nobody);
        let validation = self.validation.as_ref();
        drive(steps, run, start.step, validation, observer)
    }
}

/// Takes the steps of a run from `first` on.
fn drive(
    mut steps: Steps<'_>,
    mut run: Run<'_>,
    first: usize,
    validation: Option<&Validation<'_>>,
    observer: &mut dyn Observer,
) -> Result<Policy, TrainError> {
    let (config, samples) = (steps.rollouts.job.config, steps.rollouts.samples.len());
    let total = config.max_steps;
    for step in first..total {
        let result = steps.step(step);
        if matches!(result, Err(StepError::Sampler(_))) && run.is_stopping() {
            // A stop was asked for while the sampler hung. Nothing of this step is kept, and the
            // resumed run begins it again.
            return Err(run.stop_here(step, total, steps.progress()));
        }
        let done = step + 1;
        let StepResult {
            mut record,
            mut completions,
            timing,
            grad_norm,
            logp_difference,
            is_stale,
        } = result.map_err(|error| error.at(done))?;
        run.watch(done, grad_norm)?;
        if steps.rollouts.sampler.is_trainer() {
            agree(done, logp_difference, config.bf16, is_stale)?;
        }
        record.insert("step".into(), done.into());
        let visited = steps.state.batches * config.prompts_per_step;
        let epoch = visited as f64 / samples as f64;
        record.insert("epoch".into(), epoch.into());
        if let Some(validation) = validation {
            let policy = || frozen(steps.learner.policy(), config.bf16);
            record.extend(run.evaluate(done, total, &policy, validation));
            completions.extend(run.lists(done, &policy, validation));
        }
        let view = StepView {
            record: &record,
            completions: &completions,
            timing,
            total_steps: total,
        };
        // The log comes first: a resumed run drops the records behind its checkpoint, but cannot
        // make up missing ones.
        run.record(&view, observer)?;
        run.checkpoint(done, total, steps.progress())?;
    }
    Ok(steps.learner.into_policy())
}

/// Checks the settings that depend on task, samples and processes.
fn check_fit(
    config: &RlConfig,
    task: &Task,
    samples: &[Sample],
    group: &ProcessGroup,
) -> Result<(), TrainError> {
    let ranks = if config.reward.is_ranked() {
        task.n_ranks()
    } else {
        1
    };
    let reachable = config
        .dynamic_sampling
        .is_none_or(|dynamic| dynamic.min_ranks <= ranks);
    let rules = [
        (
            "dynamic_sampling.min_ranks",
            reachable,
            "at most N, the ranks of a list; 1 where lists as a whole are rewarded",
        ),
        ("samples", !samples.is_empty(), "at least one sample"),
        (
            "one_step_off_policy",
            // What processes tell each other has one order, for rollouts and updates together.
            !config.one_step_off_policy || group.size() == 1,
            "false with several processes; leave it out, or train in one process",
        ),
    ];
    Ok(check(config, &rules)?)
}

/// Adds the inputs of the run that are no files.
fn with_kinds(
    mut inputs: BTreeMap<String, String>,
    task: &Task,
    sampler: &dyn Sampler,
) -> BTreeMap<String, String> {
    let sampler = if sampler.is_trainer() {
        "trainer"
    } else {
        "elsewhere"
    };
    inputs.insert("lists".into(), kind_of_lists(task));
    inputs.insert("sampler".into(), sampler.into());
    inputs
}

/// Stops where the sampler's log-probabilities are not the trainer's, as ratios would mean nothing.
/// Stale ones are those of another policy, so that only NaN stops.
fn agree(step: usize, difference: f64, bf16: bool, is_stale: bool) -> Result<(), TrainError> {
    // The limit is in nats a token, in the mean. Rounding makes about 1e-6 in f32 and up to 0.02 in
    // bf16. Another prompt, mask or temperature makes tenths.
    let largest = match (is_stale, bf16) {
        (true, _) => f64::INFINITY,
        (false, true) => 0.05,
        (false, false) => 0.01,
    };
    // The comparison is false for NaN, which then stops the run too.
    if difference <= largest {
        Ok(())
    } else {
        Err(TrainError::Disagree { step, difference })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampler_that_is_not_the_trainer_stops_the_run() {
        assert!(agree(3, 1e-5, false, false).is_ok());
        assert!(agree(3, 0.02, true, false).is_ok());
        assert!(agree(3, 0.02, false, false).is_err());
        assert!(agree(3, 0.3, false, true).is_ok());
        assert!(agree(3, f64::NAN, false, true).is_err());
        let error = agree(3, 0.3, false, false).unwrap_err().to_string();
        assert!(error.contains("step 3") && error.contains("0.3"), "{error}");
    }
}
