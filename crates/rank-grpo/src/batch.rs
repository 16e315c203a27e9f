//! The evaluation of a checked loss on checked inputs, row by row.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::correction::CorrectionMeter;
use crate::inputs::keep_usable;
use crate::metrics::Meter;
use crate::plain::{Found, Tried};
use crate::side_by_side::{side_by_side, threads};
use crate::terms::{Ratio, Term, vespo_weights};
use crate::vectors::{Work, widest};
use crate::workspace::{RowSpace, count};
use crate::{
    Aggregation, BatchTotals, Clip, Correction, LossConfig, LossSlices, LossValue, Metrics,
    RatioLevel, Real, Workspace,
};

/// A batch on which all tables have the shape and none is missing.
pub(crate) struct Batch<'a, F> {
    pub(crate) config: &'a LossConfig,
    pub(crate) log_probs: &'a [F],
    pub(crate) inputs: &'a LossSlices<'a, F>,
    pub(crate) needs_ranks: bool,
}

/// Figures of a batch that are known before its first row.
pub(crate) struct Plan {
    pub(crate) whole: BatchTotals,
    /// The tokens that count.
    kept: usize,
    /// The share of the mask that was unusable.
    dropped: f64,
    /// The smallest entropy that the policy loss trains on.
    threshold: f64,
    /// The weight of an entropy in the bonus.
    bonus: f64,
}

/// Sums that are collected row by row.
pub(crate) struct Sums {
    loss: f64,
    bonus: f64,
    entropy: f64,
    meter: Meter,
    correction: CorrectionMeter,
    off_policy: usize,
}

impl Sums {
    fn new() -> Self {
        Sums {
            loss: 0.0,
            bonus: 0.0,
            entropy: 0.0,
            meter: Meter::default(),
            correction: CorrectionMeter::new(),
            off_policy: 0,
        }
    }

    /// Adds a plain row.
    fn add(&mut self, found: &Found) {
        self.loss += found.totals.loss;
        self.meter.add(&found.totals);
        self.entropy += found.entropy;
    }

    /// Adds the corrections of the tokens of a row.
    fn correct(&mut self, space: &RowSpace) {
        let of_token = space.correction.of.iter();
        let of_token = of_token.map(|group| space.corrections[*group]);
        of_token.for_each(|corrected| self.correction.add(corrected));
    }
}

impl<'a, F: Real> Batch<'a, F> {
    pub fn new(config: &'a LossConfig, log_probs: &'a [F], inputs: &'a LossSlices<'a, F>) -> Self {
        Batch {
            config,
            log_probs,
            inputs,
            needs_ranks: config.needs_ranks(),
        }
    }

    pub fn evaluate(&self, workspace: &mut Workspace, gradient: &mut [F]) -> LossValue {
        let [rows, tokens] = self.inputs.shape;
        let threads = threads(workspace.threads, self.inputs.shape);
        if workspace.rows.len() < threads {
            workspace.rows.resize_with(threads, RowSpace::default);
        }
        let plan = self.plan(threads, workspace);
        workspace.entropy_gradient.clear();
        if self.config.entropy_coef != 0.0 {
            workspace.entropy_gradient.resize(gradient.len(), 0.0);
        }
        workspace.tried.clear();
        if threads > 1 && self.plain().is_some() && self.config.correction.is_none() {
            self.try_rows(threads, &plan, workspace, gradient);
        }
        let mut sums = Sums::new();
        let Workspace {
            keep,
            rows: spaces,
            tried,
            entropy_gradient,
            ..
        } = workspace;
        let space = &mut spaces[0];
        for row in 0..rows {
            let first = row * tokens;
            let (keep, gradient) = (&keep[first..][..tokens], &mut gradient[first..][..tokens]);
            let found = match tried.get(row) {
                Some(found) => *found,
                None => self.try_row(first, keep, &plan, space, gradient),
            };
            match found {
                Tried::Empty => {}
                Tried::Plain(found) => {
                    sums.add(&found);
                    if self.config.correction.is_some() {
                        sums.correct(space);
                    }
                }
                Tried::NotPlain => {
                    space.choose(keep);
                    self.row(first, &plan, space, gradient, entropy_gradient, &mut sums);
                }
            }
        }
        LossValue {
            loss: sums.loss - plan.bonus * sums.bonus,
            metrics: self.metrics(&plan, &sums),
        }
    }

    fn metrics(&self, plan: &Plan, sums: &Sums) -> Metrics {
        let config = self.config;
        let entropy = self.inputs.entropies.map(|_| sums.entropy);
        let silenced = || sums.off_policy as f64 / plan.kept.max(1) as f64;
        Metrics {
            correction: (config.correction.as_ref()).map(|_| sums.correction.metrics()),
            off_policy_masked: config.off_policy_mask_threshold.map(|_| silenced()),
            ..sums
                .meter
                .metrics(config.kl.is_some(), entropy, plan.kept, plan.dropped)
        }
    }

    /// Tries all rows as plain ones, on several threads. Their numbers are added up later, in the
    /// order of the rows.
    fn try_rows(&self, threads: usize, plan: &Plan, workspace: &mut Workspace, gradient: &mut [F]) {
        let [rows, tokens] = self.inputs.shape;
        workspace.tried.resize(rows, Tried::Empty);
        let of_thread = rows.div_ceil(threads);
        let tried = workspace.tried.chunks_mut(of_thread);
        let gradients = gradient.chunks_mut(of_thread * tokens);
        let parts = tried.zip(gradients).zip(&mut workspace.rows).enumerate();
        let keep = &workspace.keep;
        side_by_side(parts, |(part, ((tried, gradient), space))| {
            let first = part * of_thread * tokens;
            let rows = tried.iter_mut().zip(gradient.chunks_mut(tokens));
            for (row, (found, gradient)) in rows.enumerate() {
                let first = first + row * tokens;
                *found = self.try_row(first, &keep[first..][..tokens], plan, space, gradient);
            }
        });
    }

    /// Marks the tokens that count. Returns the number of those that are in the mask and have a
    /// rank where they need one.
    fn mark(&self, threads: usize, keep: &mut [bool]) -> usize {
        let of_thread = keep.len().div_ceil(threads).max(1);
        let present = AtomicUsize::new(0);
        let parts = keep.chunks_mut(of_thread).enumerate();
        side_by_side(parts, |(part, keep)| {
            // Parts of this size stay in the processor's nearest memory.
            for (block, keep) in keep.chunks_mut(BLOCK).enumerate() {
                let first = part * of_thread + block * BLOCK;
                let batch = self;
                present.fetch_add(widest(Marking { batch, first, keep }), Ordering::Relaxed);
            }
        });
        present.into_inner()
    }

    fn plan(&self, threads: usize, workspace: &mut Workspace) -> Plan {
        let [rows, tokens] = self.inputs.shape;
        let quantile = self.config.top_entropy_quantile;
        let ranked = self.inputs.entropies.filter(|_| quantile < 1.0);
        let Workspace { keep, sorted, .. } = workspace;
        keep.resize(rows * tokens, false); // all of it is marked anew
        sorted.clear();
        let present = self.mark(threads, keep);
        let kept = count(keep);
        if let Some(entropies) = ranked {
            let counted = keep.iter().zip(entropies).filter(|(keep, _)| **keep);
            sorted.extend(counted.map(|(_, entropy)| entropy.to_f64()));
        }
        workspace.sorted.sort_unstable_by(f64::total_cmp);
        let threshold = ranked.map_or(f64::NEG_INFINITY, |_| {
            self::quantile(&workspace.sorted, 1.0 - quantile)
        });
        let below = workspace.sorted.partition_point(|h| *h < threshold);
        let whole = self.inputs.whole_batch.unwrap_or(BatchTotals {
            rows: self.inputs.shape[0],
            tokens: kept,
        });
        // A mean over the tokens above the threshold, for this part's share of the whole batch.
        let share = kept as f64 / whole.tokens.max(1) as f64;
        Plan {
            whole,
            kept,
            dropped: (present - kept) as f64 / present.max(1) as f64,
            threshold,
            bonus: self.config.entropy_coef * share / (kept - below).max(1) as f64,
        }
    }

    /// The row that begins at token `first`, with any option.
    fn row(
        &self,
        first: usize,
        plan: &Plan,
        space: &mut RowSpace,
        gradient: &mut [F],
        entropy_gradient: &mut [f64],
        sums: &mut Sums,
    ) {
        let (config, inputs) = (self.config, self.inputs);
        self.corrections(first, space);
        self.ratios(first, space);
        let RowSpace {
            columns,
            ratio: segments,
            ratios,
            phi,
            correction,
            corrections,
            ranks,
            rank_weights: [for_policy, for_kl],
            direct,
            by_log_ratio,
            ..
        } = space;
        let columns = &columns[..];
        if self.needs_ranks {
            ranks.assign(RatioLevel::Rank, columns, first, inputs.segments);
        }
        let n_ranks = inputs.segments.n_ranks();
        let weights = |aggregation: &Aggregation, by_rank| {
            aggregation.weights(plan.whole, columns.len(), ranks, n_ranks, by_rank)
        };
        let policy_weights = weights(&config.aggregation, for_policy);
        let kl = config.kl.as_ref().zip(config.kl_aggregation());
        let kl = kl.zip(inputs.ref_log_probs);
        let kl = kl.map(|((kl, aggregation), ref_log_probs)| {
            (kl, weights(aggregation, for_kl), ref_log_probs)
        });
        let off_policy = self.is_off_policy(first, columns);
        direct.clear();
        by_log_ratio.clear();
        for (n, &column) in columns.iter().enumerate() {
            let t = first + column;
            let (log_prob, advantage) = (self.log_probs[t].to_f64(), inputs.advantages[t].to_f64());
            let (group, mut weight) = (segments.of[n], policy_weights.of(n, ranks));
            let entropy = inputs.entropies.map_or(f64::INFINITY, |h| h[t].to_f64());
            if entropy < plan.threshold {
                weight = 0.0; // left out of the sum, not of the count (as in TRL)
            } else if plan.bonus != 0.0 {
                sums.bonus += entropy;
                entropy_gradient[t] = -plan.bonus;
            }
            if config.correction.is_some() {
                let corrected = corrections[correction.of[n]];
                sums.correction.add(corrected);
                if config.corrects_terms() {
                    weight *= corrected.0;
                }
            }
            if off_policy && advantage < 0.0 {
                weight = 0.0;
                sums.off_policy += 1;
            }
            let ratio = ratios[group];
            let phi = phi
                .get(group)
                .map_or(0.0, |phi| phi[usize::from(advantage < 0.0)]);
            let mut term: Term = config.clip.term(ratio, advantage, log_prob, phi) * weight;
            if let Some((kl, weights, ref_log_probs)) = &kl {
                let penalty = kl.term(log_prob, ref_log_probs[t].to_f64(), ratio);
                term = term + penalty * (kl.beta * weights.of(n, ranks));
                sums.meter.kl += penalty.value;
            }
            sums.loss += term.value;
            direct.push(term.by_log_prob);
            by_log_ratio.push(term.by_log_ratio);
            let clipped = config.clip.clipped(ratio.value, advantage);
            sums.meter.ratio(ratio.value, clipped);
            if inputs.entropies.is_some() {
                sums.entropy += entropy;
            }
        }
        // The mean over segments is a symmetric matrix: it takes values forward and gradients back
        // alike.
        segments.sum(by_log_ratio.iter().copied());
        for ((&column, direct), &group) in columns.iter().zip(direct).zip(&segments.of) {
            gradient[column] = F::from_f64(*direct + segments.means[group]);
        }
    }

    /// The log-probability of a token under the policy that sampled the batch.
    fn old(&self, t: usize) -> f64 {
        self.inputs.old_log_probs.unwrap_or(self.log_probs)[t].to_f64()
    }

    /// The importance ratios of a row's segments.
    fn ratios(&self, first: usize, space: &mut RowSpace) {
        let RowSpace {
            columns,
            ratio: segments,
            ratios,
            phi,
            ..
        } = space;
        let level = self.config.importance_sampling_level;
        segments.assign(level, columns, first, self.inputs.segments);
        let log_ratio = |t: usize| self.log_probs[t].to_f64() - self.old(t);
        segments.sum(columns.iter().map(|column| log_ratio(first + column)));
        ratios.clear();
        ratios.extend(segments.means.iter().map(|log| Ratio::from_log(*log)));
        phi.clear();
        if let Clip::Vespo { .. } = self.config.clip {
            segments.sum(columns.iter().map(|column| {
                let t = first + column;
                log_ratio(t).clamp(-20.0, 20.0) + self.log_correction(t)
            }));
            phi.extend(
                segments
                    .sums
                    .iter()
                    .map(|log| vespo_weights(&self.config.clip, *log)),
            );
        }
    }

    /// The logarithm of a token's own correction, as VESPO takes it.
    fn log_correction(&self, t: usize) -> f64 {
        let (Some(correction), Some(sampler)) =
            (&self.config.correction, self.inputs.sampler_log_probs)
        else {
            return 0.0;
        };
        let log = self.old(t) - sampler[t].to_f64();
        correction
            .weight(log, log)
            .0
            .ln()
            .clamp(1e-8_f64.ln(), 20.0)
    }

    /// The weights of the correction of a row's segments.
    pub(crate) fn corrections(&self, first: usize, space: &mut RowSpace) {
        let (Some(correction), Some(sampler)) =
            (&self.config.correction, self.inputs.sampler_log_probs)
        else {
            return;
        };
        let RowSpace {
            columns,
            correction: segments,
            corrections,
            ..
        } = space;
        let Correction { level, .. } = correction;
        segments.assign(*level, columns, first, self.inputs.segments);
        segments.sum(columns.iter().map(|column| {
            let t = first + column;
            self.old(t) - sampler[t].to_f64()
        }));
        let logs = segments.sums.iter().zip(&segments.means);
        let weights = logs.map(|(sum, mean)| correction.weight(*sum, *mean));
        corrections.clear();
        corrections.extend(weights);
    }

    /// Whether the sampler is too far from the policy on a row for its negative advantages.
    fn is_off_policy(&self, first: usize, columns: &[usize]) -> bool {
        let Some(threshold) = self.config.off_policy_mask_threshold else {
            return false;
        };
        let sampler = self.inputs.sampler_log_probs.or(self.inputs.old_log_probs);
        let Some(sampler) = sampler else { return false };
        let difference = |t: usize| sampler[t].to_f64() - self.log_probs[t].to_f64();
        let sum: f64 = columns
            .iter()
            .map(|column| difference(first + column))
            .sum();
        sum / columns.len().max(1) as f64 > threshold
    }
}

/// The tokens that are marked at a time.
const BLOCK: usize = 4096;

/// Marks the tokens of a block that count: they are in the mask, have a rank where they need one,
/// and all of their numbers are usable. Returns their number before the last of these conditions.
struct Marking<'a, F> {
    batch: &'a Batch<'a, F>,
    /// The block's first token.
    first: usize,
    keep: &'a mut [bool],
}

impl<F: Real> Work for Marking<'_, F> {
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        let Marking { batch, first, keep } = self;
        keep.copy_from_slice(&batch.inputs.mask[first..first + keep.len()]);
        if batch.needs_ranks {
            batch.inputs.segments.keep(first, keep);
        }
        let present = count(keep);
        keep_usable(batch.log_probs, first, keep);
        batch.inputs.keep(first, keep);
        present
    }
}

/// The quantile of a sorted list by linear interpolation; of an empty one, minus infinity.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * sorted.len().saturating_sub(1) as f64;
    let at = |i: f64| sorted.get(i as usize).copied().unwrap_or(f64::NEG_INFINITY);
    let (low, high) = (at(place.floor()), at(place.ceil()));
    if low == high {
        low
    } else {
        low + (high - low) * place.fract()
    }
}
