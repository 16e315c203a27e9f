//! Reinforcement learning from ranked lists. Each step: sample G completions of each prompt, read
//! them once, reward ranks or lists, compare within the group, and take mu updates.
//!
//! Departures from the authors' code, all by default and each a setting or a documented rule:
//! one parse gives items and token spans (their two parses disagree, quirk S2); the loss is
//! averaged over ranks (theirs over tokens, L1; `LossConfig::authors()`); groups of equal rewards
//! get advantage exactly 0 (A3); trailing line feeds do not change how a list ended (S4); each
//! ground-truth item is credited once (H6).

mod collect;
mod config;
mod kl;
mod log;
mod trainer;

use std::collections::BTreeMap;

use burn::tensor::Device;
use convrec_config::check;
use convrec_policy::Policy;
use convrec_text::segments::Segmentation;
use convrec_watch::{Observer, Record, StepView};

use crate::config::{frozen, with_lora};
use crate::optim::Updates;
use crate::reward::{Gain, Popularity, Rewards, built_in};
use crate::run::{Run, RunOptions, Start, TrainError, Validation};
use crate::sampler::Sampler;
use crate::task::{Sample, Task};
use log::LOGP_DIFFERENCE;
use trainer::{State, StepError, Stepped, Trainer};

pub use collect::DynamicSampling;
pub use config::RlConfig;
pub use kl::KlControl;

/// What a run learns from.
pub struct RlJob<'a> {
    /// What is asked of the policy.
    pub task: &'a Task,
    /// What it trains on, made by `task`.
    pub samples: &'a [Sample],
    /// What it is evaluated on while it trains.
    pub validation: Validation<'a>,
    /// What [`RlConfig::gains`] may name beside what is built in.
    pub gains: Vec<Box<dyn Gain + 'a>>,
    /// Where completions come from.
    pub sampler: &'a mut dyn Sampler,
    /// Further devices of this host that take a share of the gradients; [`Local`](crate::Local)
    /// has those for sampling.
    pub devices: &'a [Device],
}

/// Trains `policy` on the samples' ground truth. The policy as given, without an adapter that it
/// may have, is also the reference of the KL penalty.
///
/// `inputs`, `observer` and the errors are as for [`train_sft`](crate::train_sft). `policy` must be
/// on an autodiff device.
///
/// # Errors
/// When the config makes no sense, a file cannot be written, a checkpoint does not fit, no
/// completions can be had, or training goes wrong.
pub fn train_rank_grpo(
    policy: Policy,
    job: RlJob<'_>,
    config: &RlConfig,
    options: &RunOptions,
    mut inputs: BTreeMap<String, String>,
    observer: &mut dyn Observer,
) -> Result<Policy, TrainError> {
    config.check()?;
    let RlJob {
        task,
        samples,
        validation,
        gains,
        sampler,
        devices,
    } = job;
    let mut lists = format!(
        "{} items, constrained: {}",
        task.n_ranks(),
        task.is_constrained()
    );
    if task.segmentation() != Segmentation::OneParse {
        lists += ", ranks by line feeds";
    }
    inputs.insert("the kind of lists".into(), lists);
    let sampler_is = if sampler.is_trainer() {
        "the trainer"
    } else {
        "elsewhere"
    };
    inputs.insert("the kind of sampler".into(), sampler_is.into());
    let ranks = if config.reward.is_ranked() {
        task.n_ranks()
    } else {
        1
    };
    let reachable = config
        .dynamic_sampling
        .is_none_or(|dynamic| dynamic.min_ranks <= ranks);
    let problem = "at most N, the ranks of a list; 1 where lists as a whole are rewarded";
    check(
        config,
        &[("dynamic_sampling.min_ranks", reachable, problem)],
    )?;
    check(
        config,
        &[("samples", !samples.is_empty(), "at least one sample")],
    )?;
    let gains: Vec<Box<dyn Gain + '_>> = built_in(task.catalog(), samples)
        .into_iter()
        .map(|gain| gain as Box<dyn Gain>)
        .chain(gains)
        .collect();
    let rewards = Rewards::new(
        &gains,
        &config.gains,
        config.reward,
        config.normalization,
        config.scale,
    )?;
    // Bit for bit what it was before its adapter, whatever the adapter learns; the two share these
    // weights (in bf16 but for the copy of the projections).
    let reference = config
        .kl()
        .map(|_| frozen(&policy.without_lora(), config.bf16));
    let policy = with_lora(policy, config.lora.as_ref(), config.seed)?;
    let start = Start {
        step: 0,
        policy,
        updates: Updates::new(&config.optimizer, config.updates()),
        state: None,
    };
    let (mut run, start) = Run::open(options, "rank_grpo", config, inputs, start)?;
    let state = match start.state {
        Some(state) => State::read(state)?,
        None => State {
            batches: 0,
            beta: config.kl().map_or(0.0, |kl| kl.beta),
        },
    };
    // Not before: a checkpoint knows nothing of these.
    let policy = start
        .policy
        .with_gradient_checkpointing(config.gradient_checkpointing)
        .with_bf16_products(config.bf16);
    let popularity = Popularity::of(samples, task.catalog().len());
    let mut trainer = Trainer {
        config,
        task,
        rewards,
        popularity,
        sampler,
        devices,
        reference,
        policy: Some(policy),
        updates: start.updates,
        state,
    };
    for step in start.step..config.steps {
        let before = trainer.state;
        let stepped = trainer.step(step, samples);
        if matches!(stepped, Err(StepError::Sampler(_))) && run.is_stopping() {
            // The sampler was waited for no longer; of this step nothing is kept.
            trainer.state = before;
            run.checkpoint(
                step,
                config.steps,
                trainer.policy(),
                &trainer.updates,
                trainer.state.write(),
            )?;
        }
        let Stepped {
            mut record,
            grad_norm,
            mut completions,
            timing,
        } = stepped.map_err(|error| error.at(step + 1))?;
        run.watch(step + 1, grad_norm)?;
        if trainer.sampler.is_trainer() {
            agree(step + 1, &record, config)?;
        }
        let done = step + 1;
        record.insert("step".into(), done.into());
        let visited = trainer.state.batches * config.prompts_per_step;
        record.insert(
            "epoch".into(),
            (visited as f64 / samples.len() as f64).into(),
        );
        let policy = || frozen(trainer.policy(), config.bf16);
        record.extend(run.evaluate(done, config.steps, &policy, &validation));
        completions.extend(run.lists(done, &policy, &validation));
        let view = StepView {
            record: &record,
            completions: &completions,
            timing,
            total_steps: config.steps,
        };
        run.record(&view, observer)?;
        run.checkpoint(
            done,
            config.steps,
            trainer.policy(),
            &trainer.updates,
            trainer.state.write(),
        )?;
    }
    Ok(trainer.into_policy())
}

impl StepError {
    fn at(self, step: usize) -> TrainError {
        match self {
            StepError::Loss(source) => TrainError::Loss { step, source },
            StepError::Gain(problem) => TrainError::Gain { step, problem },
            StepError::Sampler(source) => TrainError::Sampler { step, source },
        }
    }
}

/// Ratios mean nothing where the sampler's log-probabilities are not the trainer's.
fn agree(step: usize, record: &Record, config: &RlConfig) -> Result<(), TrainError> {
    // Nats a token, in the mean. Rounding makes about 1e-6 in f32 and up to 0.02 in bf16; another
    // prompt, mask or temperature makes tenths.
    let largest = if config.bf16 { 0.05 } else { 0.01 };
    // JSON has no NaN: it is null there.
    let difference = record
        .get(LOGP_DIFFERENCE)
        .map_or(0.0, |value| value.as_f64().unwrap_or(f64::NAN));
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
        let record =
            |difference: f64| Record::from_iter([(LOGP_DIFFERENCE.to_string(), difference.into())]);
        let config = RlConfig::default();
        assert!(agree(3, &record(1e-5), &config).is_ok());
        assert!(
            agree(
                3,
                &record(0.02),
                &RlConfig {
                    bf16: true,
                    ..config.clone()
                }
            )
            .is_ok()
        );
        assert!(agree(3, &record(0.02), &config).is_err());
        assert!(agree(3, &record(f64::NAN), &config).is_err());
        let error = agree(3, &record(0.3), &config).unwrap_err().to_string();
        assert!(error.contains("step 3") && error.contains("0.3"), "{error}");
    }
}
