//! The log record of one step, in TRL's names where TRL has one.

use convrec_metrics::lists;
use convrec_metrics::rewards::{dcg, ndcg};
use rank_grpo::Metrics;
use serde_json::json;

use super::collect::Collected;
use crate::reward::{Popularity, WeightedRewards};
use crate::rollout::Row;
use crate::task::Task;
use convrec_watch::Record;

/// The mean difference between the sampler's and the trainer's log-probabilities.
pub(super) const LOGP_DIFFERENCE: &str = "sampling/sampling_logp_difference/mean";

pub(super) struct StepLog {
    record: Record,
    loss: f64,
    updates: usize,
    /// Sums over micro-batches, weighted by their tokens.
    sums: Vec<(&'static str, f64)>,
    tokens: f64,
    difference: (f64, f64, usize),
    /// The smallest and the largest weight of the correction for the sampler.
    weights: Option<(f64, f64)>,
    grad_norm: f64,
}

impl StepLog {
    pub(super) fn new(
        task: &Task,
        collected: &Collected<'_>,
        group_size: usize,
        rewards: &WeightedRewards<'_>,
        popularity: &Popularity,
    ) -> Self {
        let mut record = Record::new();
        record.insert("prompts".into(), json!(collected.prompts));
        record.insert("frac_reward_zero_std".into(), json!(1.0 - collected.signal));
        record.extend(of_rows(
            task,
            &collected.sampled(),
            group_size,
            rewards,
            popularity,
        ));
        let (difference, weights) = ((0.0, 0.0, 0), None);
        Self {
            record,
            loss: 0.0,
            updates: 0,
            sums: vec![],
            tokens: 0.0,
            difference,
            weights,
            grad_norm: 0.0,
        }
    }

    /// How many rows were trained on.
    pub(super) fn active(&mut self, rows: usize) {
        self.record.insert("active_rows".into(), json!(rows));
    }

    /// The weight of the KL penalty of this step.
    pub(super) fn beta(&mut self, beta: f64) {
        self.record.insert("beta".into(), json!(beta));
    }

    /// The mean KL so far.
    pub(super) fn kl(&self) -> Option<f64> {
        self.sums
            .iter()
            .find(|(name, _)| *name == "kl")
            .map(|(_, sum)| sum / self.tokens.max(1.0))
    }

    /// The sampler's log-probabilities against the trainer's, `[B, T]`, before any update.
    pub(super) fn compare(&mut self, rows: &[&Row<'_>], trainer: &[f64]) {
        let width = trainer.len() / rows.len().max(1);
        for (row, trainer) in rows.iter().zip(trainer.chunks(width.max(1))) {
            for (t, (sampler, trainer)) in row.completion.log_probs.iter().zip(trainer).enumerate()
            {
                if row.is_forced(t) {
                    continue; // 0 on both sides, whatever the weights
                }
                let difference = (f64::from(*sampler) - trainer).abs();
                self.difference.0 += difference;
                self.difference.1 = self.difference.1.max(difference);
                self.difference.2 += 1;
            }
        }
    }

    pub(super) fn part(&mut self, metrics: &Metrics, loss: f64) {
        self.loss += loss;
        let tokens = metrics.tokens as f64;
        self.tokens += tokens;
        let always = [
            ("clip_ratio/low_mean", metrics.clip_low),
            ("clip_ratio/high_mean", metrics.clip_high),
            ("clip_ratio/region_mean", metrics.clip_region),
            ("ratio_mean", metrics.ratio_mean),
            ("dropped_tokens", metrics.dropped),
        ];
        let corrected = metrics.correction.map(|correction| {
            [
                ("sampling/importance_sampling_ratio/mean", correction.mean),
                ("sampling/importance_sampling_ratio/cut", correction.cut),
            ]
        });
        if let Some(correction) = &metrics.correction {
            let (min, max) = self.weights.unwrap_or((f64::INFINITY, 0.0));
            self.weights = Some((min.min(correction.min), max.max(correction.max)));
        }
        // Not where no KL is measured: 0 would be a policy that has not moved.
        let kl = metrics.kl.map(|kl| ("kl", kl));
        let values: Vec<(&str, f64)> = kl
            .into_iter()
            .chain(always)
            .chain(corrected.into_iter().flatten())
            .collect();
        if self.sums.is_empty() {
            self.sums = values.iter().map(|(name, _)| (*name, 0.0)).collect();
        }
        for ((_, sum), (_, value)) in self.sums.iter_mut().zip(&values) {
            *sum += value * tokens;
        }
    }

    pub(super) fn update(&mut self, grad_norm: f64, learning_rate: f64) {
        self.updates += 1;
        self.grad_norm = grad_norm;
        self.record.insert("grad_norm".into(), json!(grad_norm));
        self.record
            .insert("learning_rate".into(), json!(learning_rate));
    }

    /// An update with nothing to learn from.
    pub(super) fn skip(&mut self, learning_rate: f64) {
        self.updates += 1;
        self.record
            .insert("learning_rate".into(), json!(learning_rate));
        self.record.entry("grad_norm").or_insert(json!(0.0));
    }

    /// The record and the last gradient norm. Means are over updates and tokens.
    pub(super) fn finish(mut self) -> (Record, f64) {
        self.record
            .insert("loss".into(), json!(self.loss / self.updates.max(1) as f64));
        for (name, sum) in &self.sums {
            self.record
                .insert((*name).into(), json!(sum / self.tokens.max(1.0)));
        }
        if let Some((min, max)) = self.weights {
            self.record
                .insert("sampling/importance_sampling_ratio/min".into(), json!(min));
            self.record
                .insert("sampling/importance_sampling_ratio/max".into(), json!(max));
        }
        let (sum, largest, n) = self.difference;
        self.record
            .insert(LOGP_DIFFERENCE.into(), json!(sum / n.max(1) as f64));
        self.record.insert(
            "sampling/sampling_logp_difference/max".into(),
            json!(largest),
        );
        (self.record, self.grad_norm)
    }
}

/// What the completions look like that were sampled, be they trained on or not: what dynamic
/// sampling keeps is chosen by its rewards.
fn of_rows(
    task: &Task,
    rows: &[&Row<'_>],
    group_size: usize,
    rewards: &WeightedRewards<'_>,
    popularity: &Popularity,
) -> Record {
    let n_ranks = task.n_ranks();
    let mut record = Record::new();
    let mut set = |name: &str, value: f64| record.insert(name.into(), json!(value));
    let totals: Vec<f64> = rows
        .iter()
        .map(|row| row.rewards.total.iter().sum())
        .collect();
    let lengths: Vec<f64> = rows
        .iter()
        .map(|row| row.completion.tokens.len() as f64)
        .collect();
    set("reward", mean(&totals));
    set(
        "reward_std",
        mean(&totals.chunks(group_size).map(std).collect::<Vec<_>>()),
    );
    for (term, name) in rewards.names().enumerate() {
        set(
            &format!("rewards/{name}/mean"),
            mean_of(rows, |row| row.rewards.each[term].iter().sum()),
        );
    }
    let listed = || {
        rows.iter()
            .flat_map(|row| row.answer.items.iter().flatten())
    };
    set(
        "popularity",
        mean(&listed().map(|id| popularity.share(*id)).collect::<Vec<_>>()),
    );
    set("completions/mean_length", mean(&lengths));
    set(
        "completions/mean_passes",
        mean_of(rows, |row| row.completion.passes as f64),
    );
    set(
        "completions/min_length",
        lengths.iter().copied().fold(f64::INFINITY, f64::min),
    );
    set(
        "completions/max_length",
        lengths.iter().copied().fold(0.0, f64::max),
    );
    set(
        "completions/clipped_ratio",
        share(rows, |row| !row.completion.ended),
    );
    set(
        "entropy",
        mean_f32(rows.iter().flat_map(|row| chosen_entropies(row))),
    );
    set("dcg", mean_of(rows, |row| dcg(&row.relevant, n_ranks)));
    set(
        "ndcg",
        mean_of(rows, |row| {
            ndcg(&row.relevant, row.sample.ground_truth.len(), n_ranks)
        }),
    );
    set("items", mean_of(rows, |row| row.answer.names.len() as f64));
    set(
        "complete_lists",
        share(rows, |row| {
            row.completion.ended && row.answer.names.len() == n_ranks
        }),
    );
    let named: Vec<_> = rows.iter().map(|row| row.answer.items.clone()).collect();
    set(
        "in_catalog",
        lists::catalog_share(&named, Option::is_some).unwrap_or(0.0),
    );
    let names: Vec<_> = rows.iter().map(|row| row.answer.names.clone()).collect();
    set("duplicates", lists::duplicate_share(&names).unwrap_or(0.0));
    let per_rank: Vec<f64> = (0..n_ranks)
        .map(|rank| share(rows, |row| row.relevant[rank]))
        .collect();
    record.insert("rank_relevance".into(), json!(per_rank));
    record
}

/// Of the tokens that were chosen: forced ones have no entropy.
fn chosen_entropies<'a>(row: &'a Row<'_>) -> impl Iterator<Item = &'a f32> {
    row.entropies()
        .iter()
        .enumerate()
        .filter(|(t, _)| !row.is_forced(*t))
        .map(|(_, entropy)| entropy)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn mean_f32<'a>(values: impl Iterator<Item = &'a f32>) -> f64 {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), x| (sum + f64::from(*x), n + 1));
    sum / n.max(1) as f64
}

fn mean_of(rows: &[&Row<'_>], value: impl Fn(&Row<'_>) -> f64) -> f64 {
    rows.iter().map(|row| value(row)).sum::<f64>() / rows.len().max(1) as f64
}

fn share(rows: &[&Row<'_>], holds: impl Fn(&Row<'_>) -> bool) -> f64 {
    mean_of(rows, |row| f64::from(u8::from(holds(row))))
}

fn std(values: &[f64]) -> f64 {
    let centre = mean(values);
    let squares: f64 = values.iter().map(|x| (x - centre).powi(2)).sum();
    (squares / (values.len().max(2) - 1) as f64).sqrt()
}
