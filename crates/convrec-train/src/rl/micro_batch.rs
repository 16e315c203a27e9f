//! Turns a step's completions into the loss inputs of its updates.

use burn::optim::GradientsParams;
use convrec_policy::{Policy, TokenLogProbs};
use rank_grpo::{
    BatchTotals, InputError, LengthShaping, Loss, LossInputs, Metrics, PolicyOutput, to_host,
};
use serde::{Deserialize, Serialize};

use super::collect::Collected;
use super::config::RlConfig;
use crate::batches::{micro_batches, shuffled};
use crate::replicas::Workers;
use crate::rollout::{Collation, Row, TokenTargets, log_probs, padded};
use crate::task::Task;

/// Completions that are computed side by side: a part of an update.
pub(super) struct MicroBatch<'r> {
    pub(super) rows: Vec<&'r Row<'r>>,
    inputs: LossInputs,
}

/// The results of a micro-batch beside its gradients.
#[derive(Serialize, Deserialize)]
pub(super) struct Computed {
    pub(super) metrics: Metrics,
    pub(super) loss: f64,
    /// The log-probabilities `[B, T]` before the first update, to compare with the sampler's.
    pub(super) log_probs: Option<Vec<f64>>,
}

/// Deals the completions of `step` to its updates, each a list of micro-batches. All updates
/// together are one pass over the completions. The numbers of the reference are there for the
/// micro-batches of this process alone.
pub(super) fn deal<'r>(
    config: &RlConfig,
    task: &Task,
    workers: &Workers<'_>,
    collected: &'r Collected<'r>,
    reference: Option<&Policy>,
    step: usize,
) -> Result<Vec<Vec<MicroBatch<'r>>>, InputError> {
    let collation = Collation {
        n_ranks: task.n_ranks(),
        reward: config.reward,
        // The policy does not choose the length of a constrained list.
        shaping: if task.is_constrained() {
            LengthShaping::OFF
        } else {
            config.shaping
        },
        mask_truncated_completions: config.mask_truncated_completions,
        forced: config.forced_tokens,
    };
    let rows = collected.rows.iter().zip(&collected.advantages);
    let targets: Vec<TokenTargets> = rows
        .map(|(row, advantages)| collation.targets(row, advantages))
        .collect::<Result<_, _>>()
        .expect("an advantage for each rank");
    updates(config, collected.rows.len(), step)
        .iter()
        .map(|places| {
            let rows = Rows {
                collected,
                targets: &targets,
                places,
            };
            micro_batches_of(config, task, workers, &rows, reference)
        })
        .collect()
}

/// The places of the rows of each update, in whole groups.
fn updates(config: &RlConfig, n_rows: usize, step: usize) -> Vec<Vec<usize>> {
    let (size, n_updates) = (config.num_generations, config.mini_batches);
    if n_updates == 1 {
        return vec![(0..n_rows).collect()];
    }
    let mut dealt: Vec<Vec<usize>> = vec![vec![]; n_updates];
    let order = shuffled(n_rows / size, config.seed ^ ORDER_IN_STEP, step as u64);
    for (n, group) in order.into_iter().enumerate() {
        dealt[n % n_updates].push(group);
    }
    let rows = |mut groups: Vec<usize>| {
        // In the order of the batch, so that rows of one prompt stay adjacent and share it.
        groups.sort_unstable();
        let rows = groups
            .into_iter()
            .flat_map(|group| group * size..(group + 1) * size);
        rows.collect()
    };
    dealt.into_iter().map(rows).collect()
}

/// Mixed into the seed, so that the order of prompts within a step is not that of the data.
const ORDER_IN_STEP: u64 = 0x5AE5;

/// The rows of one update: those at `places` of a step's rows.
struct Rows<'r, 't> {
    collected: &'r Collected<'r>,
    targets: &'t [TokenTargets],
    places: &'t [usize],
}

/// The micro-batches of one update.
fn micro_batches_of<'r>(
    config: &RlConfig,
    task: &Task,
    workers: &Workers<'_>,
    rows: &Rows<'r, '_>,
    reference: Option<&Policy>,
) -> Result<Vec<MicroBatch<'r>>, InputError> {
    let Rows {
        collected,
        targets,
        places,
    } = *rows;
    // The loss of a micro-batch is divided by the size of its whole update, so that gradients can
    // be added up for any split of the rows.
    let whole = BatchTotals {
        rows: places.len(),
        tokens: places.iter().map(|&place| targets[place].counted()).sum(),
    };
    // The gradient of a row without any advantage is 0, unless a KL penalty or an entropy bonus
    // acts on it. Such rows cost a forward and a backward pass, so they are left out.
    let all_act = config.kl().is_some() || config.loss.entropy_coef != 0.0;
    let active: Vec<usize> = places
        .iter()
        .copied()
        .filter(|&place| all_act || targets[place].has_advantage())
        .collect();
    // Absent old log-probabilities are the current ones, which makes every ratio exactly 1. That
    // holds where the policy has not moved since the rollouts.
    let is_off_policy = config.is_off_policy();
    let build = |(part, places): (usize, Vec<usize>)| {
        let rows: Vec<&Row<'_>> = places.iter().map(|&place| &collected.rows[place]).collect();
        let targets: Vec<&TokenTargets> = places.iter().map(|&place| &targets[place]).collect();
        let table = |values: fn(&'r Row<'r>) -> &'r [f32]| {
            padded(
                rows.iter()
                    .map(|&row| values(row).iter().map(|x| f64::from(*x))),
                0.0,
            )
        };
        let mut inputs = TokenTargets::inputs(&targets, task.n_ranks());
        inputs.whole_batch = Some(whole);
        inputs.entropies = Some(table(Row::entropies));
        if is_off_policy {
            inputs.old_log_probs = Some(table(Row::log_probs));
        }
        if config.loss.correction.is_some() {
            inputs.sampler_log_probs = Some(table(|row| &row.completion.log_probs));
        }
        if let Some(reference) = reference.filter(|_| workers.has(part)) {
            let output = log_probs(reference, &rows, config.temperature);
            inputs.ref_log_probs = Some(to_host(&output.log_probs)?);
        }
        Ok(MicroBatch { rows, inputs })
    };
    micro_batches(&active, config.micro_batch, config.num_generations)
        .into_iter()
        .enumerate()
        .map(build)
        .collect()
}

impl MicroBatch<'_> {
    /// The gradients of this share of an update. `compare` keeps the log-probabilities.
    pub(super) fn gradients(
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
        } = log_probs(policy, &self.rows, temperature);
        let before = compare.then(|| to_host(&log_probs)).transpose()?;
        let output = PolicyOutput {
            log_probs,
            entropies: Some(entropies),
        };
        let output = loss.forward(output, &self.inputs)?;
        let computed = Computed {
            metrics: output.metrics,
            loss: f64::from(output.loss.clone().into_scalar::<f32>()),
            log_probs: before,
        };
        Ok((tape.backward(output.loss, policy), computed))
    }
}
