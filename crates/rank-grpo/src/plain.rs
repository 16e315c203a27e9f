//! The rows of losses without options, in vectors: PPO's clip with or without a KL penalty, and
//! with or without a correction for another sampler.

use crate::aggregate::RowWeights;
use crate::batch::{Batch, Plan};
use crate::groups::Groups;
use crate::lanes::{Lanes, Totals, exp};
use crate::terms::{MAX_LOG_RATIO, Range};
use crate::vectors::{Work, widest};
use crate::workspace::RowSpace;
use crate::{Clip, RatioLevel, Real};

impl<F: Real> Batch<'_, F> {
    /// The clip's range, where the loss has no other options. Then rows are computed here.
    pub(crate) fn plain(&self) -> Option<Range> {
        let config = self.config;
        let Clip::Ppo {
            epsilon,
            epsilon_high,
            delta,
        } = config.clip
        else {
            return None;
        };
        let has_options = config.off_policy_mask_threshold.is_some()
            || config.top_entropy_quantile < 1.0
            || config.entropy_coef != 0.0
            || config
                .kl
                .as_ref()
                .is_some_and(|kl| kl.use_bias_correction_kl);
        (!has_options).then(|| Range::new(epsilon, epsilon_high, delta))
    }

    /// The row that begins at token `first`, where it is a plain one: its gradient is written. `keep`
    /// marks its tokens that count.
    pub(crate) fn try_row(
        &self,
        first: usize,
        keep: &[bool],
        plan: &Plan,
        space: &mut RowSpace,
        gradient: &mut [F],
    ) -> Tried {
        gradient.fill(F::from_f64(0.0));
        space.choose(keep);
        if space.columns.is_empty() {
            return Tried::Empty;
        }
        let Some(range) = self.plain() else {
            return Tried::NotPlain;
        };
        self.corrections(first, space);
        let found = widest(PlainRow {
            batch: self,
            first,
            range,
            plan,
            space,
            gradient,
        });
        found.map_or(Tried::NotPlain, Tried::Plain)
    }
}

/// What became of a row that was tried as a plain one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tried {
    /// None of its tokens counts.
    Empty,
    /// It was one.
    Plain(Found),
    /// The loss has options, or a number of the row is so large that it counts as another one.
    NotPlain,
}

/// What a plain row adds to the sums of its batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub totals: Totals,
    pub entropy: f64,
}

/// A row that may be a plain one; none is found where a number is too large.
struct PlainRow<'a, F> {
    batch: &'a Batch<'a, F>,
    /// The row's first token.
    first: usize,
    range: Range,
    plan: &'a Plan,
    /// The columns that count and the corrections are in it.
    space: &'a mut RowSpace,
    gradient: &'a mut [F],
}

impl<F: Real> Work for PlainRow<'_, F> {
    type Output = Option<Found>;

    #[inline(always)]
    fn run(self) -> Option<Found> {
        let PlainRow {
            batch,
            first,
            range,
            plan,
            space,
            gradient,
        } = self;
        let (config, inputs) = (batch.config, batch.inputs);
        let RowSpace {
            columns,
            ratio: segments,
            correction,
            corrections,
            ranks,
            rank_weights: [for_policy, for_kl],
            group_ratios,
            lanes,
            ..
        } = space;
        let columns = &columns[..];
        gather(batch.log_probs, first, columns, &mut lanes.log_prob);
        gather(inputs.advantages, first, columns, &mut lanes.advantage);
        match inputs.old_log_probs {
            None => refill(&mut lanes.log_ratio, columns.len(), 0.0),
            Some(old) => {
                gather(old, first, columns, &mut lanes.log_ratio);
                for (old, new) in lanes.log_ratio.iter_mut().zip(&lanes.log_prob) {
                    *old = new - *old;
                }
            }
        }
        let level = config.importance_sampling_level;
        if level != RatioLevel::Token {
            segments.assign(level, columns, first, inputs.segments);
            segments.sum(lanes.log_ratio.iter().copied());
            if segments.means.iter().any(|log| *log > MAX_LOG_RATIO) {
                return None;
            }
            group_ratios.clear();
            group_ratios.extend(segments.means.iter().map(|log| exp(*log)));
            spread(segments, group_ratios, &mut lanes.ratio);
        }
        let ranks: &Groups = match (batch.needs_ranks, level) {
            (true, RatioLevel::Rank) => &*segments,
            (true, _) => {
                ranks.assign(RatioLevel::Rank, columns, first, inputs.segments);
                &*ranks
            }
            (false, _) => &*ranks,
        };
        let n_ranks = inputs.segments.n_ranks();
        let (aggregation, n) = (&config.aggregation, columns.len());
        let weights = aggregation.weights(plan.whole, n, ranks, n_ranks, for_policy);
        each(weights, 1.0, ranks, n, &mut lanes.weight);
        if config.correction.is_some() {
            let of_token = correction.of.iter().map(|group| corrections[*group].0);
            let weights = lanes.weight.iter_mut().zip(of_token);
            weights.for_each(|(weight, factor)| *weight *= factor);
        }
        let kl = config.kl.as_ref().zip(config.kl_aggregation());
        let kl = kl.zip(inputs.ref_log_probs);
        let mut estimator = None;
        if let Some(((kl, aggregation), ref_log_probs)) = kl {
            let weights = aggregation.weights(plan.whole, n, ranks, n_ranks, for_kl);
            each(weights, kl.beta, ranks, n, &mut lanes.kl_weight);
            gather(ref_log_probs, first, columns, &mut lanes.ref_log_prob);
            estimator = Some(kl.estimator);
        }
        let totals = lanes.run(range, estimator, level == RatioLevel::Token);
        if !totals.in_bounds {
            return None;
        }
        let entropy = inputs.entropies.map_or(0.0, |entropies| {
            let of_row = columns.iter();
            of_row
                .map(|column| entropies[first + column].to_f64())
                .sum()
        });
        write(lanes, segments, level, columns, gradient);
        Some(Found { totals, entropy })
    }
}

/// Writes the gradient of a row: the mean over segments takes values forward and gradients back
/// alike.
#[inline(always)]
fn write<F: Real>(
    lanes: &Lanes,
    segments: &mut Groups,
    level: RatioLevel,
    columns: &[usize],
    gradient: &mut [F],
) {
    let Lanes {
        direct,
        by_log_ratio,
        ..
    } = lanes;
    if level == RatioLevel::Token {
        let sums = direct.iter().zip(by_log_ratio).map(|(a, b)| a + b);
        return scatter(sums, columns, gradient);
    }
    segments.sum(by_log_ratio.iter().copied());
    let shared = segments.of.iter().map(|group| segments.means[*group]);
    scatter(
        direct.iter().zip(shared).map(|(a, b)| a + b),
        columns,
        gradient,
    );
}

/// Whether the columns are the first ones of the row, as in a mask of padding behind.
fn is_prefix(columns: &[usize]) -> bool {
    columns.last().is_none_or(|last| last + 1 == columns.len())
}

#[inline(always)]
fn gather<F: Real>(table: &[F], first: usize, columns: &[usize], into: &mut Vec<f64>) {
    into.resize(columns.len(), 0.0); // all of it is written
    let row = &table[first..];
    if is_prefix(columns) {
        for (cell, x) in into.iter_mut().zip(row) {
            *cell = x.to_f64();
        }
    } else {
        for (cell, column) in into.iter_mut().zip(columns) {
            *cell = row[*column].to_f64();
        }
    }
}

#[inline(always)]
fn scatter<F: Real>(values: impl Iterator<Item = f64>, columns: &[usize], row: &mut [F]) {
    if is_prefix(columns) {
        for (cell, value) in row.iter_mut().zip(values) {
            *cell = F::from_f64(value);
        }
    } else {
        for (column, value) in columns.iter().zip(values) {
            row[*column] = F::from_f64(value);
        }
    }
}

/// The value of each token's segment.
#[inline(always)]
fn spread(segments: &Groups, values: &[f64], into: &mut Vec<f64>) {
    into.resize(segments.of.len(), 0.0); // all of it is written
    for (cell, group) in into.iter_mut().zip(&segments.of) {
        *cell = values[*group];
    }
}

/// The weight of each of n tokens, times a factor.
#[inline(always)]
fn each(weights: RowWeights<'_>, factor: f64, ranks: &Groups, n: usize, into: &mut Vec<f64>) {
    match weights {
        RowWeights::Same(weight) => refill(into, n, weight * factor),
        RowWeights::ByRank(weights) => {
            spread(ranks, weights, into);
            into.iter_mut().for_each(|weight| *weight *= factor);
        }
    }
}

#[inline(always)]
fn refill(table: &mut Vec<f64>, length: usize, value: f64) {
    table.resize(length, 0.0);
    table.iter_mut().for_each(|cell| *cell = value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{
        Aggregation, Clip, Kl, KlEstimator, LossConfig, LossInputs, RankCount, RatioLevel, Segments,
    };

    /// The log-probability, log ratio, advantage, rank and mask of a token.
    type Token = (f64, f64, f64, i64, u8);

    const SHAPE: [usize; 2] = [3, 19];
    const N: usize = SHAPE[0] * SHAPE[1];

    fn levels() -> impl Strategy<Value = RatioLevel> {
        let levels = [RatioLevel::Token, RatioLevel::Rank, RatioLevel::Sequence];
        prop::sample::select(levels.to_vec())
    }

    fn aggregations() -> impl Strategy<Value = Aggregation> {
        let all = vec![
            Aggregation::RowMean,
            Aggregation::TokenMean,
            Aggregation::ConstantLength(7),
            Aggregation::RankMean(RankCount::All),
            Aggregation::RankMean(RankCount::Present),
            Aggregation::RowSum,
        ];
        prop::sample::select(all)
    }

    fn kl() -> impl Strategy<Value = Option<Kl>> {
        let estimator = prop::sample::select(vec![KlEstimator::K1, KlEstimator::K3]);
        let kl = (estimator, prop::option::of(aggregations()));
        prop::option::of(kl.prop_map(|(estimator, aggregation)| Kl {
            beta: 0.1,
            estimator,
            use_bias_correction_kl: false,
            aggregation,
        }))
    }

    proptest! {
        /// A mask that is never used takes a loss through the general code.
        #[test]
        fn plain_rows_are_those_of_the_general_code(
            (level, aggregation, kl) in (levels(), aggregations(), kl()),
            delta in prop::option::of(1.0_f64..3.0),
            tokens in prop::collection::vec(
                (-3.0_f64..0.0, -0.5_f64..0.5, -2.0_f64..2.0, -1_i64..4, 0_u8..9), N),
            (padded, far, on_policy) in (any::<bool>(), any::<bool>(), any::<bool>()),
        ) {
            let clip = Clip::Ppo { epsilon: 0.1, epsilon_high: 0.2, delta };
            let config = LossConfig {
                importance_sampling_level: level,
                clip,
                aggregation,
                kl,
                ..LossConfig::grpo()
            };
            let column = |of: &dyn Fn(&Token) -> f64| -> Vec<f64> {
                tokens.iter().map(of).collect()
            };
            let mut log_probs = column(&|token| token.0);
            let old = column(&|token| token.0 - token.1);
            if far {
                log_probs[5] += 70.0; // beyond the largest log ratio, at a token at least
            }
            log_probs[7] = f64::NAN;
            let ids: Vec<i64> = tokens.iter().map(|token| token.3).collect();
            let mask = (0..N).map(|t| if padded { t % SHAPE[1] < 11 } else { tokens[t].4 > 0 });
            let inputs = LossInputs {
                old_log_probs: (!on_policy).then_some(old),
                ref_log_probs: Some(column(&|token| token.0 + token.1 * 3.0)),
                entropies: Some(column(&|token| -token.0)),
                ..LossInputs::new(
                    SHAPE, mask.collect(), Segments::ranks(&ids, 3), column(&|token| token.2))
            };
            let plain = config.clone().check().unwrap().evaluate(&log_probs, &inputs).unwrap();
            let unused = Some(1e6);
            let general = LossConfig { off_policy_mask_threshold: unused, ..config };
            let general = general.check().unwrap().evaluate(&log_probs, &inputs).unwrap();
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * (1.0 + b.abs());
            prop_assert!(near(plain.loss, general.loss), "{} {}", plain.loss, general.loss);
            for (a, b) in plain.gradient.iter().zip(&general.gradient) {
                prop_assert!(near(*a, *b), "{a} {b}");
            }
            let (a, b) = (plain.metrics, general.metrics);
            for (a, b) in [
                (a.kl.unwrap_or(0.0), b.kl.unwrap_or(0.0)),
                (a.entropy.unwrap(), b.entropy.unwrap()),
                (a.ratio_mean, b.ratio_mean),
                (a.ratio_min, b.ratio_min),
                (a.ratio_max, b.ratio_max),
                (a.clip_ratio_low, b.clip_ratio_low),
                (a.clip_ratio_high, b.clip_ratio_high),
                (a.dropped, b.dropped),
            ] {
                prop_assert!(near(a, b), "{a} {b}");
            }
            prop_assert_eq!(a.tokens, b.tokens);
        }
    }
}
