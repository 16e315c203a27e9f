//! Reinforcement learning from ranked lists. Each step: sample G completions of each prompt, read them once, reward
//! ranks or lists, compare within the group, and take mu updates.
//!
//! Departures from the authors' code, all by default and each a setting or a documented rule:
//! one parse gives items and token spans (their two parses disagree, quirk S2); the loss is averaged over ranks (theirs
//! over tokens, L1; `LossConfig::authors()`); groups of equal rewards get advantage exactly 0 (A3); trailing line feeds
//! do not change how a list ended (S4); each ground-truth item is credited once (H6).

use std::collections::BTreeMap;

use convrec_policy::{Allowed, Generation, LoraConfig, Policy, Sampling, Sequence, TokenLogProbs};
use rank_grpo::{BatchTotals, InputError, Kl, LengthShaping, Loss, LossConfig, LossInputs, Scale, to_host};
use serde::{Deserialize, Serialize};

use crate::batches::{micro_batches, places};
use crate::config::{ConfigError, check_lora, frozen, with_lora};
use crate::optim::{Accumulator, OptimizerConfig, Updates};
use crate::rl_log::{LOGP_DIFFERENCE, StepLog};
use crate::rollout::{Collation, ForcedTokens, Reward, Row, advantages, roll_out, table};
use crate::run::{Record, Run, RunOptions, Start, TrainError, Validation};
use crate::task::{Sample, Task};

/// Settings of reinforcement learning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RlConfig {
    /// Batches of rollouts in all.
    pub steps: usize,
    /// P, prompts a step.
    pub prompts_per_step: usize,
    /// G, completions of each.
    pub group_size: usize,
    /// mu, updates on each batch of rollouts.
    pub updates_per_batch: usize,
    /// Completions side by side in training; changes memory and speed, and results only by rounding (but for
    /// `loss.top_entropy` below 1, whose threshold is each part's own).
    pub micro_batch: usize,
    /// Keep only the inputs of the policy's blocks, and compute the rest once more for the gradients: less memory, about
    /// a third more time.
    pub gradient_checkpointing: bool,
    /// Compute the products of the policy's blocks in bf16, for GPUs with units for it. The weights stay in f32; sampler and
    /// reference hold copies of the projections in bf16.
    pub bf16: bool,
    /// Completions side by side in sampling; likewise.
    pub rollout_rows: usize,
    /// Of sampling and training alike.
    pub temperature: f32,
    /// Cuts completions that do not end; constrained ones all end.
    pub max_new_tokens: usize,
    /// What is rewarded.
    pub reward: Reward,
    /// What advantages are divided by.
    pub scale: Scale,
    /// The loss.
    pub loss: LossConfig,
    /// Advantages that teach the list's length; only where ranks are rewarded and lists are not constrained.
    pub shaping: LengthShaping,
    /// Leave completions out that were cut.
    pub mask_truncated: bool,
    /// What becomes of tokens that the task's constraint left no choice about.
    pub forced_tokens: ForcedTokens,
    /// Of the order of the prompts and of sampling.
    pub seed: u64,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
    /// Train a low-rank adapter and leave the weights as they are; drawn by `seed`.
    pub lora: Option<LoraConfig>,
}

impl Default for RlConfig {
    /// Rank-GRPO as the paper states it (exp_inf, G = 8, mu = 1), sized for a small policy.
    fn default() -> Self {
        Self {
            steps: 100,
            prompts_per_step: 16,
            group_size: 8,
            updates_per_batch: 1,
            micro_batch: 32,
            gradient_checkpointing: false,
            bf16: false,
            rollout_rows: 128,
            temperature: 1.0,
            max_new_tokens: 256,
            reward: Reward::Rank(convrec_catalog::rewards::RankReward::ExpInf),
            scale: Scale::Group,
            loss: LossConfig::paper(),
            shaping: LengthShaping::default(),
            mask_truncated: false,
            forced_tokens: ForcedTokens::LeaveOut,
            seed: 0,
            optimizer: OptimizerConfig { learning_rate: 1e-4, ..OptimizerConfig::default() },
            lora: None,
        }
    }
}

impl RlConfig {
    /// # Errors
    /// At the first field that makes no sense.
    pub fn check(&self) -> Result<Loss, ConfigError> {
        let shaped = self.shaping != LengthShaping::OFF;
        let reward = match self.reward {
            Reward::Rank(reward) => reward.check().is_ok(),
            _ => true,
        };
        let rules = [
            ("steps", self.steps > 0, "at least 1"),
            ("prompts_per_step", self.prompts_per_step > 0, "at least 1"),
            ("group_size", self.group_size > 1, "at least 2: one completion has nothing to be compared with"),
            ("updates_per_batch", self.updates_per_batch > 0, "at least 1"),
            ("micro_batch", self.micro_batch > 0, "at least 1"),
            ("rollout_rows", self.rollout_rows >= self.group_size, "at least group_size"),
            ("temperature", self.temperature > 0.0 && self.temperature.is_finite(), "a positive number"),
            ("max_new_tokens", self.max_new_tokens > 0, "at least 1"),
            (
                "optimizer.warmup_steps",
                self.optimizer.warmup_steps < (self.steps * self.updates_per_batch).max(1),
                "fewer than `steps` times `updates_per_batch`",
            ),
            ("reward.rank.exp_gamma.gamma", reward, "a number above 1"),
            ("shaping", self.reward.is_ranked() || !shaped, "zeros where lists as a whole are rewarded"),
        ];
        ConfigError::first("", &rules)?;
        check_lora(self.lora.as_ref())?;
        self.optimizer.check()?;
        let bad = |e: rank_grpo::ConfigError| ConfigError {
            field: format!("loss.{}", e.field),
            problem: format!("{}; expected {}", e.value, e.expected),
        };
        LossConfig { kl: self.kl(), ..self.loss.clone() }.check().map_err(bad)
    }

    /// The KL penalty; one with a weight of 0 is none, and needs no reference.
    fn kl(&self) -> Option<Kl> {
        self.loss.kl.clone().filter(|kl| kl.beta != 0.0)
    }

    /// The same settings with nothing left out: in formats without a null, no KL penalty is one of weight 0.
    pub fn printable(mut self) -> Self {
        self.loss.kl.get_or_insert(Kl { beta: 0.0, ..LossConfig::paper().kl.expect("the paper has a KL penalty") });
        self
    }

    fn generation(&self, task: &Task, step: usize) -> Generation {
        Generation {
            sampling: Sampling { temperature: self.temperature, ..Sampling::default() },
            group_size: self.group_size,
            max_new_tokens: self.max_new_tokens,
            end_token: task.prompter().end(),
            max_rows: self.rollout_rows,
            // Every step draws anew, and a resumed run draws the same.
            seed: self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(step as u64),
        }
    }
}

/// Trains `policy` on the samples' ground truth. The policy as given, without an adapter that it may have, is also the
/// reference of the KL penalty.
///
/// `inputs`, `observe` and the errors are as for [`train_sft`](crate::train_sft). `policy` must be on an autodiff device.
///
/// # Errors
/// When the config makes no sense, a file cannot be written, a checkpoint does not fit, or training diverges.
#[allow(clippy::too_many_arguments)]
pub fn train_rank_grpo(
    policy: Policy,
    task: &Task,
    samples: &[Sample],
    validation: &Validation<'_>,
    config: &RlConfig,
    options: &RunOptions,
    mut inputs: BTreeMap<String, String>,
    observe: &mut dyn FnMut(&Record),
) -> Result<Policy, TrainError> {
    let loss = config.check()?;
    let lists = format!("{} items, constrained: {}", task.n_ranks(), task.is_constrained());
    inputs.insert("the kind of lists".into(), lists);
    ConfigError::first("", &[("samples", !samples.is_empty(), "at least one sample")])?;
    // Bit for bit what it was before its adapter, whatever the adapter learns; the two share these weights (in bf16 but
    // for the copy of the projections).
    let reference = config.kl().map(|_| frozen(&policy.without_lora(), config.bf16));
    let policy = with_lora(policy, config.lora.as_ref(), config.seed)?;
    let start =
        Start { step: 0, policy, updates: Updates::new(&config.optimizer, config.steps * config.updates_per_batch) };
    let (mut run, start) = Run::open(options, "rank_grpo", config, inputs, start)?;
    // Not before: a checkpoint knows nothing of these.
    let policy =
        start.policy.with_gradient_checkpointing(config.gradient_checkpointing).with_bf16_products(config.bf16);
    let mut trainer = Trainer { config, task, loss, reference, policy: Some(policy), updates: start.updates };
    for step in start.step..config.steps {
        let chosen = places(samples.len(), config.prompts_per_step, step, config.seed);
        let batch: Vec<&Sample> = chosen.iter().map(|&place| &samples[place]).collect();
        let (mut record, grad_norm) = trainer.step(step, &batch).map_err(|source| TrainError::Loss { step, source })?;
        run.watch(step, grad_norm)?;
        agree(step, &record, config)?;
        let done = step + 1;
        record.insert("step".into(), done.into());
        record.insert("epoch".into(), ((done * config.prompts_per_step) as f64 / samples.len() as f64).into());
        record.extend(run.evaluate(done, config.steps, &|| frozen(trainer.policy(), config.bf16), validation));
        run.record(&record)?;
        observe(&record);
        run.checkpoint(done, config.steps, trainer.policy(), &trainer.updates)?;
    }
    Ok(trainer.policy.expect(HELD))
}

/// Ratios mean nothing where the sampler's log-probabilities are not the trainer's.
fn agree(step: usize, record: &Record, config: &RlConfig) -> Result<(), TrainError> {
    // Nats a token, in the mean. Rounding makes about 1e-6 in f32 and up to 0.02 in bf16; another prompt, mask or
    // temperature makes tenths.
    let largest = if config.bf16 { 0.05 } else { 0.01 };
    // JSON has no NaN: it is null there.
    let difference = record.get(LOGP_DIFFERENCE).map_or(0.0, |value| value.as_f64().unwrap_or(f64::NAN));
    if difference <= largest { Ok(()) } else { Err(TrainError::Disagree { step, difference }) }
}

struct Trainer<'a> {
    config: &'a RlConfig,
    task: &'a Task,
    loss: Loss,
    /// Where there is a KL penalty.
    reference: Option<Policy>,
    /// Taken out while it is stepped, so that its weights are changed in place.
    policy: Option<Policy>,
    updates: Updates,
}

const HELD: &str = "only taken out within a step";

impl Trainer<'_> {
    fn policy(&self) -> &Policy {
        self.policy.as_ref().expect(HELD)
    }

    /// One batch of rollouts and its updates: the log record and the last gradient norm.
    fn step(&mut self, step: usize, batch: &[&Sample]) -> Result<(Record, f64), InputError> {
        let config = self.config;
        let generation = config.generation(self.task, step);
        let rows = roll_out(&frozen(self.policy(), config.bf16), self.task, batch, &generation, config.reward);
        let advantages =
            advantages(&rows, config.group_size, config.scale).expect("rows come in whole groups of one width");
        let mut log = StepLog::new(&rows, config.group_size, self.task.n_ranks(), advantages.zero_variance);
        let parts = self.parts(&rows, &advantages.values)?;
        log.active(parts.iter().map(|part| part.rows.len()).sum::<usize>());
        for update in 0..config.updates_per_batch {
            let mut gradients = Accumulator::default();
            for part in &parts {
                let TokenLogProbs { log_probs, tape, .. } = part.log_probs(self.policy(), config.temperature);
                if update == 0 {
                    log.compare(&part.rows, &to_host(&log_probs)?);
                }
                let computed = self.loss.forward(log_probs, &part.inputs)?;
                log.part(&computed.metrics, f64::from(computed.loss.clone().into_scalar::<f32>()));
                gradients.add(tape.backward(computed.loss, self.policy()), self.policy());
            }
            if parts.is_empty() {
                log.update(0.0, 0.0);
                continue;
            }
            let policy = self.policy.take().expect(HELD);
            let place = step * config.updates_per_batch + update;
            let (policy, done) = self.updates.step(place, policy, gradients.take());
            self.policy = Some(policy);
            log.update(done.grad_norm, done.learning_rate);
        }
        Ok(log.finish())
    }

    /// The micro-batches. Rows without any advantage are left out where no KL penalty acts on them: their gradient is 0.
    fn parts<'r>(&self, rows: &'r [Row<'r>], advantages: &[Vec<f64>]) -> Result<Vec<Part<'r>>, InputError> {
        let config = self.config;
        let collation = Collation {
            n_ranks: self.task.n_ranks(),
            reward: config.reward,
            // Nothing about the length of a constrained list was the policy's choice.
            shaping: if self.task.is_constrained() { LengthShaping::OFF } else { config.shaping },
            mask_truncated: config.mask_truncated,
            forced: config.forced_tokens,
        };
        let inputs = |indices: &[usize]| {
            let chosen: Vec<&Row<'_>> = indices.iter().map(|&row| &rows[row]).collect();
            let theirs: Vec<&Vec<f64>> = indices.iter().map(|&row| &advantages[row]).collect();
            let inputs = collation.inputs(&chosen, &theirs).expect("tables are built to fit");
            (chosen, inputs)
        };
        let all: Vec<usize> = (0..rows.len()).collect();
        let (_, whole) = inputs(&all);
        let totals = BatchTotals::of([&whole]);
        let width = whole.shape[1];
        let acts = |row: &usize| {
            let tokens = row * width..(row + 1) * width;
            config.kl().is_some() || tokens.into_iter().any(|t| whole.mask[t] && whole.advantages[t] != 0.0)
        };
        let active: Vec<usize> = all.into_iter().filter(acts).collect();
        let mut parts = Vec::new();
        for indices in micro_batches(&active, config.micro_batch, config.group_size) {
            let (rows, mut inputs) = inputs(&indices);
            inputs.whole_batch = Some(totals);
            inputs.entropies = Some(table(&rows, |row| &row.completion.entropies));
            if config.updates_per_batch > 1 {
                inputs.old_log_probs = Some(table(&rows, |row| &row.completion.log_probs));
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

struct Part<'r> {
    rows: Vec<&'r Row<'r>>,
    inputs: LossInputs,
}

impl Part<'_> {
    /// Under the constraint that the rows were sampled under, if any.
    fn log_probs(&self, policy: &Policy, temperature: f32) -> TokenLogProbs {
        let sequences: Vec<Sequence<'_>> = self.rows.iter().map(|row| row.sequence()).collect();
        let allowed: Option<Vec<&Allowed>> = self.rows.iter().map(|row| row.allowed.as_ref()).collect();
        match allowed {
            Some(allowed) => policy.log_probs_within(&sequences, &allowed, temperature),
            None => policy.log_probs(&sequences, temperature),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampler_that_is_not_the_trainer_stops_the_run() {
        let record = |difference: f64| Record::from_iter([(LOGP_DIFFERENCE.to_string(), difference.into())]);
        let config = RlConfig::default();
        assert!(agree(3, &record(1e-5), &config).is_ok());
        assert!(agree(3, &record(0.02), &RlConfig { bf16: true, ..config.clone() }).is_ok());
        assert!(agree(3, &record(0.02), &config).is_err());
        assert!(agree(3, &record(f64::NAN), &config).is_err());
        let error = agree(3, &record(0.3), &config).unwrap_err().to_string();
        assert!(error.contains("step 3") && error.contains("0.3"), "{error}");
    }
}
