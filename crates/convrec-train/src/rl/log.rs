//! The log record of one step. Keys are TRL's where TRL has one.

use convrec_metrics::lists;
use convrec_metrics::rewards::{dcg, ndcg};
use convrec_watch::Record;
use rank_grpo::Metrics;
use serde_json::json;

use super::collect::Collected;
use super::job::Job;
use crate::reward::Measured;
use crate::rollout::Row;

/// Collects the figures of a step.
pub(super) struct StepLog {
    record: Record,
    /// The sum over the updates.
    loss: f64,
    updates: usize,
    /// `None` until a micro-batch was computed.
    sums: Option<TokenSums>,
    difference: Difference,
    grad_norm: f64,
}

/// Sums over micro-batches, each weighted by its tokens.
#[derive(Default)]
struct TokenSums {
    tokens: f64,
    /// `None` where no KL is measured, as 0 would mean a policy that has not moved.
    kl: Option<f64>,
    clip_ratio_low: f64,
    clip_ratio_high: f64,
    clip_ratio_region: f64,
    ratio_mean: f64,
    dropped: f64,
    correction: Option<CorrectionSums>,
}

/// The weights of the correction for the sampler.
struct CorrectionSums {
    mean: f64,
    cut: f64,
    min: f64,
    max: f64,
}

impl TokenSums {
    fn add(&mut self, metrics: &Metrics) {
        let tokens = metrics.tokens as f64;
        self.tokens += tokens;
        if let Some(kl) = metrics.kl {
            *self.kl.get_or_insert(0.0) += kl * tokens;
        }
        self.clip_ratio_low += metrics.clip_ratio_low * tokens;
        self.clip_ratio_high += metrics.clip_ratio_high * tokens;
        self.clip_ratio_region += metrics.clip_ratio_region * tokens;
        self.ratio_mean += metrics.ratio_mean * tokens;
        self.dropped += metrics.dropped * tokens;
        if let Some(correction) = &metrics.correction {
            let sums = self.correction.get_or_insert(CorrectionSums {
                mean: 0.0,
                cut: 0.0,
                min: f64::INFINITY,
                max: 0.0,
            });
            sums.mean += correction.mean * tokens;
            sums.cut += correction.cut * tokens;
            sums.min = sums.min.min(correction.min);
            sums.max = sums.max.max(correction.max);
        }
    }

    /// The mean over all tokens.
    fn mean(&self, sum: f64) -> f64 {
        sum / self.tokens.max(1.0)
    }

    fn write(&self, record: &mut Record) {
        let mut set = |name: &str, value: f64| record.insert(name.into(), json!(value));
        if let Some(kl) = self.kl {
            set("kl", self.mean(kl));
        }
        set("clip_ratio/low_mean", self.mean(self.clip_ratio_low));
        set("clip_ratio/high_mean", self.mean(self.clip_ratio_high));
        set("clip_ratio/region_mean", self.mean(self.clip_ratio_region));
        set("ratio_mean", self.mean(self.ratio_mean));
        set("dropped_tokens", self.mean(self.dropped));
        if let Some(correction) = &self.correction {
            let name = |what: &str| format!("sampling/importance_sampling_ratio/{what}");
            set(&name("mean"), self.mean(correction.mean));
            set(&name("cut"), self.mean(correction.cut));
            set(&name("min"), correction.min);
            set(&name("max"), correction.max);
        }
    }
}

/// The absolute differences between the sampler's and the trainer's log-probabilities.
#[derive(Default)]
struct Difference {
    sum: f64,
    largest: f64,
    tokens: usize,
}

impl Difference {
    fn add(&mut self, difference: f64) {
        self.sum += difference;
        self.largest = self.largest.max(difference);
        self.tokens += 1;
    }

    fn mean(&self) -> f64 {
        self.sum / self.tokens.max(1) as f64
    }
}

impl StepLog {
    pub(super) fn new(job: &Job<'_>, collected: &Collected<'_>) -> Self {
        let mut record = of_rows(job, &collected.sampled());
        record.insert("prompts".into(), json!(collected.prompts));
        record.insert(
            "frac_reward_zero_std".into(),
            json!(collected.frac_reward_zero_std()),
        );
        Self {
            record,
            loss: 0.0,
            updates: 0,
            sums: None,
            difference: Difference::default(),
            grad_norm: 0.0,
        }
    }

    /// The number of rows that were trained on.
    pub(super) fn active_rows(&mut self, rows: usize) {
        self.record.insert("active_rows".into(), json!(rows));
    }

    /// The mean of a reward with a target, and the multiplier that it had in this step.
    pub(super) fn target(&mut self, measured: &Measured<'_>) {
        let field = |what: &str| format!("targets/{}/{what}", measured.name);
        self.record.insert(field("mean"), json!(measured.mean));
        let multiplier = measured.constraint.multiplier;
        self.record.insert(field("multiplier"), json!(multiplier));
    }

    /// The weight of the KL penalty in this step.
    pub(super) fn beta(&mut self, beta: f64) {
        self.record.insert("beta".into(), json!(beta));
    }

    /// The mean KL so far.
    pub(super) fn kl(&self) -> Option<f64> {
        let sums = self.sums.as_ref()?;
        Some(sums.mean(sums.kl?))
    }

    /// The gradient norm of the last update.
    pub(super) fn grad_norm(&self) -> f64 {
        self.grad_norm
    }

    /// The mean difference between the sampler's and the trainer's log-probabilities.
    pub(super) fn logp_difference(&self) -> f64 {
        self.difference.mean()
    }

    /// Compares the sampler's log-probabilities with the trainer's, `[B, T]`, before any update.
    pub(super) fn compare(&mut self, rows: &[&Row<'_>], trainer: &[f64]) {
        let width = trainer.len() / rows.len().max(1);
        for (row, trainer) in rows.iter().zip(trainer.chunks(width.max(1))) {
            let tokens = row.completion.log_probs.iter().zip(trainer);
            for (t, (sampler, trainer)) in tokens.enumerate() {
                // A forced token has 0 on both sides for all weights.
                if !row.is_forced(t) {
                    self.difference.add((f64::from(*sampler) - trainer).abs());
                }
            }
        }
    }

    pub(super) fn micro_batch(&mut self, metrics: &Metrics, loss: f64) {
        self.loss += loss;
        self.sums.get_or_insert_default().add(metrics);
    }

    pub(super) fn update(&mut self, grad_norm: f64, learning_rate: f64) {
        self.updates += 1;
        self.grad_norm = grad_norm;
        self.record.insert("grad_norm".into(), json!(grad_norm));
        self.record
            .insert("learning_rate".into(), json!(learning_rate));
    }

    /// Counts an update without any row to learn from.
    pub(super) fn skipped_update(&mut self, learning_rate: f64) {
        self.updates += 1;
        self.record
            .insert("learning_rate".into(), json!(learning_rate));
        self.record.entry("grad_norm").or_insert(json!(0.0));
    }

    /// The record. The loss is the mean over updates, other values are means over tokens.
    pub(super) fn finish(mut self) -> Record {
        self.record
            .insert("loss".into(), json!(self.loss / self.updates.max(1) as f64));
        if let Some(sums) = &self.sums {
            sums.write(&mut self.record);
        }
        let name = |what: &str| format!("sampling/sampling_logp_difference/{what}");
        self.record
            .insert(name("mean"), json!(self.difference.mean()));
        self.record
            .insert(name("max"), json!(self.difference.largest));
        self.record
    }
}

/// Figures of all sampled completions, including those that are not trained on. Dynamic sampling
/// chooses by reward, so the completions that it keeps are no fair sample.
fn of_rows(job: &Job<'_>, rows: &[&Row<'_>]) -> Record {
    let group_size = job.config.num_generations;
    let n_ranks = job.task.n_ranks();
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
    for (term, name) in job.rewards.names().enumerate() {
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
        mean(
            &listed()
                .map(|id| job.popularity.share(*id))
                .collect::<Vec<_>>(),
        ),
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

/// The entropies of the tokens that were chosen: forced ones have none.
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
