use std::collections::BTreeMap;
use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use convrec_collective::GroupError;
use convrec_config::{ConfigError, check};
use convrec_policy::{Allowed, LoraConfig, Policy, Sequence, TokenLogProbs};
use convrec_watch::{Observer, Record, StepView, Timing};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::batches::places;
use crate::config::{check_lora, frozen, with_lora};
use crate::optim::{OptimizerConfig, Updates};
use crate::replicas::{Workers, gradients};
use crate::run::{Progress, Run, RunOptions, Start, TrainError, Validation};
use crate::task::{Task, TokenPair};

/// Settings of supervised fine-tuning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftConfig {
    /// Updates in all.
    pub max_steps: usize,
    /// Demonstrations an update.
    pub batch_size: usize,
    /// Demonstrations side by side on the device; changes memory and speed, and results only by
    /// rounding.
    pub micro_batch: usize,
    /// Keep only the inputs of the policy's blocks, and compute the rest once more for the
    /// gradients: less memory, about a third more time.
    pub gradient_checkpointing: bool,
    /// Compute the products of the policy's blocks in bf16, for GPUs with units for it; the
    /// weights stay in f32.
    pub bf16: bool,
    /// Learn the distribution over what a constrained task lets be written, which is the one that
    /// is drawn from later: nothing is spent on what cannot be written anyway. Every
    /// demonstration must then be a list of N different unseen items.
    pub constrained: bool,
    /// Learn the items of a list that are in its example's ground truth alone; the others are read
    /// and not learned. Lists that have them at any rank teach what is right wherever the list is.
    pub accepted_only: bool,
    /// Of the order of the data.
    pub seed: u64,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
    /// Train a low-rank adapter and leave the weights as they are; drawn by `seed`.
    pub lora: Option<LoraConfig>,
}

impl Default for SftConfig {
    fn default() -> Self {
        Self {
            max_steps: 1000,
            batch_size: 16,
            micro_batch: 16,
            gradient_checkpointing: false,
            bf16: false,
            constrained: false,
            accepted_only: false,
            seed: 0,
            optimizer: OptimizerConfig::default(),
            lora: None,
        }
    }
}

impl SftConfig {
    /// # Errors
    /// At the first field that makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        let rules = [
            ("max_steps", self.max_steps > 0, "at least 1"),
            ("batch_size", self.batch_size > 0, "at least 1"),
            ("micro_batch", self.micro_batch > 0, "at least 1"),
            (
                "optimizer.warmup_steps",
                self.optimizer.warmup_steps < self.max_steps.max(1),
                "fewer than `max_steps`",
            ),
        ];
        check(self, &rules)?;
        check_lora(self.lora.as_ref())?;
        self.optimizer.check()
    }
}

/// What supervised fine-tuning learns from.
#[derive(Debug, Clone, Copy)]
pub struct SftJob<'a> {
    /// What is asked of the policy.
    pub task: &'a Task,
    /// Demonstrations, made by `task`.
    pub data: &'a [TokenPair],
    /// What it is evaluated on while it trains.
    pub validation: Validation<'a>,
    /// Further devices of this host that take a share of each batch.
    pub devices: &'a [Device],
}

/// Supervised fine-tuning: minimises the mean of -log pi over the completion tokens of each batch;
/// where `config.constrained`, over those that the constraint of `task` left a choice about.
///
/// `inputs` names what the run depends on by hash ([`sha256`](convrec_core::hash::sha256)), so that
/// a checkpoint is not resumed with other data. `observer` is shown every step, for progress bars.
///
/// `policy` must be on an autodiff device; so is the result. A policy with an adapter, its own or
/// that of `config.lora`, keeps its other weights: checkpoints hold the adapter alone, so `inputs`
/// should name the weights too.
///
/// # Errors
/// When the config makes no sense or the data does not fit it, a file cannot be written, a
/// checkpoint does not fit, or training diverges.
pub fn train_sft(
    policy: Policy,
    job: SftJob<'_>,
    config: &SftConfig,
    options: &RunOptions,
    inputs: BTreeMap<String, String>,
    observer: &mut dyn Observer,
) -> Result<Policy, TrainError> {
    let trained = train(policy, job, config, options, inputs, observer);
    trained.inspect_err(|error| error.tell(&options.group))
}

fn train(
    policy: Policy,
    job: SftJob<'_>,
    config: &SftConfig,
    options: &RunOptions,
    inputs: BTreeMap<String, String>,
    observer: &mut dyn Observer,
) -> Result<Policy, TrainError> {
    config.check()?;
    let SftJob {
        task,
        data,
        validation,
        devices,
    } = job;
    check(
        config,
        &[("data", !data.is_empty(), "at least one demonstration")],
    )?;
    check_constraint(task, data, config.constrained)?;
    let policy = with_lora(policy, config.lora.as_ref(), config.seed)?;
    let start = Start {
        step: 0,
        policy,
        behaviour: None,
        updates: Updates::new(&config.optimizer, config.max_steps),
        state: None,
    };
    let (
        mut run,
        Start {
            step: first,
            mut policy,
            mut updates,
            ..
        },
    ) = Run::open(options, "sft", config, inputs, start)?;
    // Not before: a checkpoint knows nothing of these.
    policy = policy
        .with_gradient_checkpointing(config.gradient_checkpointing)
        .with_bf16_products(config.bf16);
    let workers = Workers::new(&options.group, devices)?;
    for step in first..config.max_steps {
        let clock = Instant::now();
        let batch = places(data.len(), config.batch_size, step, config.seed);
        let allowed = |pair: &TokenPair| {
            config
                .constrained
                .then(|| task.allowed_along(pair.open(), &pair.completion))
                .flatten()
        };
        let pairs: Vec<(&TokenPair, Option<Allowed>)> = batch
            .iter()
            .map(|&row| (&data[row], allowed(&data[row])))
            .collect();
        let tokens: usize = pairs
            .iter()
            .map(|(pair, allowed)| decisions(pair, allowed.as_ref(), config.accepted_only))
            .sum();
        let parts: Vec<_> = pairs.chunks(config.micro_batch).collect();
        let compute = |policy: &Policy, part: usize| {
            let output = log_probs(policy, parts[part]);
            // Divided by the tokens of the whole batch: micro-batches must not weigh by their
            // number.
            let log_probs = match config.accepted_only {
                true => accepted(output.log_probs, parts[part]),
                false => output.log_probs,
            };
            let loss = log_probs.sum().div_scalar(-(tokens.max(1) as f64));
            let value = f64::from(loss.clone().into_scalar::<f32>());
            Ok::<_, GroupError>((output.tape.backward(loss, policy), value))
        };
        let (gradients, losses) = gradients(&policy, &workers, parts.len(), &compute)?;
        let loss: f64 = losses.iter().sum();
        let update;
        (policy, update) = updates.step(step, policy, gradients);
        run.watch(step + 1, update.grad_norm)?;
        let timing = Timing {
            seconds: clock.elapsed().as_secs_f64(),
            rollout_seconds: 0.0,
            tokens,
        };
        let done = step + 1;
        let mut record = Record::new();
        record.insert("step".into(), json!(done));
        record.insert(
            "epoch".into(),
            json!((done * config.batch_size) as f64 / data.len() as f64),
        );
        record.insert("loss".into(), json!(loss));
        record.insert("grad_norm".into(), json!(update.grad_norm));
        record.insert("learning_rate".into(), json!(update.learning_rate));
        record.insert("completion_tokens".into(), json!(tokens));
        let now = || frozen(&policy, config.bf16);
        record.extend(run.evaluate(done, config.max_steps, &now, &validation));
        let completions = run.lists(done, &now, &validation);
        run.record(
            &StepView {
                record: &record,
                completions: &completions,
                timing,
                total_steps: config.max_steps,
            },
            observer,
        )?;
        let progress = Progress {
            policy: &policy,
            behaviour: None,
            updates: &updates,
            state: serde_json::Value::Null,
        };
        run.checkpoint(done, config.max_steps, progress)?;
    }
    Ok(policy)
}

/// Whether every demonstration can be written under the constraint that it is to be learned under.
fn check_constraint(task: &Task, data: &[TokenPair], constrained: bool) -> Result<(), ConfigError> {
    if constrained && !task.is_constrained() {
        let expected = "false, as the lists of the task are unconstrained";
        return Err(ConfigError::new("constrained", true, expected));
    }
    match data
        .iter()
        .position(|pair| constrained && !task.admits(pair.open(), &pair.completion))
    {
        None => Ok(()),
        Some(row) => {
            let n = task.n_ranks();
            let expected = format!(
                "a list of {n} different items that were not seen, or `constrained = false`"
            );
            let field = format!("data.{row}");
            Err(ConfigError::new(field, "another list", expected))
        }
    }
}

/// The tokens that are learned.
fn decisions(pair: &TokenPair, allowed: Option<&Allowed>, accepted_only: bool) -> usize {
    (0..pair.completion.len())
        .filter(|&t| !allowed.is_some_and(|allowed| allowed.is_forced(t)))
        .filter(|&t| !accepted_only || pair.accepted[t])
        .count()
}

/// The log-probabilities `[B, T]` of accepted items; 0 for other tokens.
fn accepted(log_probs: Tensor<2>, pairs: &[(&TokenPair, Option<Allowed>)]) -> Tensor<2> {
    let shape = log_probs.dims();
    let of_row = |(pair, _): &(&TokenPair, Option<Allowed>)| {
        let marks = pair
            .accepted
            .iter()
            .map(|accepted| f32::from(u8::from(*accepted)));
        let missing = shape[1] - pair.accepted.len();
        marks
            .chain(std::iter::repeat_n(0.0, missing))
            .collect::<Vec<f32>>()
    };
    let mask: Vec<f32> = pairs.iter().flat_map(of_row).collect();
    let mask = Tensor::<2>::from_data(TensorData::new(mask, shape), &log_probs.device());
    log_probs * mask
}

fn log_probs(policy: &Policy, pairs: &[(&TokenPair, Option<Allowed>)]) -> TokenLogProbs {
    let sequences: Vec<Sequence<'_>> = pairs
        .iter()
        .map(|(pair, _)| Sequence {
            prompt: &pair.prompt,
            completion: &pair.completion,
        })
        .collect();
    let allowed: Option<Vec<&Allowed>> =
        pairs.iter().map(|(_, allowed)| allowed.as_ref()).collect();
    match allowed {
        Some(allowed) => policy.log_probs_constrained(&sequences, &allowed, 1.0),
        None => policy.log_probs(&sequences, 1.0),
    }
}
