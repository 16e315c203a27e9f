//! Softmax down the columns of a block of scores. A row of the block holds one candidate (a
//! vocabulary entry, a key) for `width` queries side by side. A vector then serves many queries,
//! and no sum runs across its lanes. The width is a multiple of 16, that is of every vector width;
//! the last columns may be unused.

use super::simd::{exp, simd_fn};

/// A summary of `z = scale * scores` in one column: the maximum m, and the sums of `e^(z - m)` and
/// of `e^(z - m) (z - m)`.
#[derive(Clone, Copy)]
pub(crate) struct Summary {
    pub(crate) max: f32,
    pub(crate) sum: f32,
    pub(crate) weighted: f32,
}

impl Summary {
    pub(crate) const EMPTY: Self = Self {
        max: f32::NEG_INFINITY,
        sum: 0.0,
        weighted: 0.0,
    };

    /// The summary of two disjoint sets of candidates.
    pub(crate) fn merge(self, other: Self) -> Self {
        let (high, low) = if self.max >= other.max {
            (self, other)
        } else {
            (other, self)
        };
        if low.sum == 0.0 {
            return high;
        }
        let gap = low.max - high.max;
        let factor = gap.exp();
        Self {
            max: high.max,
            sum: high.sum + factor * low.sum,
            weighted: high.weighted + factor * (low.weighted + gap * low.sum),
        }
    }

    /// ln of the sum of `e^z`.
    pub(crate) fn log_sum_exp(self) -> f32 {
        self.max + self.sum.ln()
    }

    /// The entropy of the distribution `softmax(z)`, in nats.
    pub(crate) fn entropy(self) -> f32 {
        self.sum.ln() - self.weighted / self.sum
    }
}

/// One number for every used column, filled up with zeros to a whole number of vectors.
pub(crate) fn per_column(values: impl ExactSizeIterator<Item = f32>) -> Vec<f32> {
    let length = values.len().next_multiple_of(16);
    let mut values: Vec<f32> = values.collect();
    values.resize(length, 0.0);
    values
}

simd_fn! {
    /// Summaries of the first `out.len()` columns of scores `[n, width]`; scale is positive.
    pub(crate) fn summarize(simd: S, scores: &[f32], width: usize, scale: f32, out: &mut [Summary]) {
        let scale = simd.splat_f32s(scale);
        let (scores, _) = S::as_simd_f32s(scores);
        let width = width / S::F32_LANES;
        for (first, out) in out.chunks_mut(S::F32_LANES).enumerate() {
            let mut max = simd.splat_f32s(f32::NEG_INFINITY);
            for score in scores[first..].iter().step_by(width) {
                max = simd.max_f32s(max, *score);
            }
            let (mut sum, mut weighted) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
            for score in scores[first..].iter().step_by(width) {
                let z = simd.mul_f32s(simd.sub_f32s(*score, max), scale);
                let e = exp(simd, z);
                sum = simd.add_f32s(sum, e);
                weighted = simd.mul_add_e_f32s(e, z, weighted);
            }
            let max = simd.mul_f32s(max, scale);
            for (lane, out) in out.iter_mut().enumerate() {
                let of_lane = |vector| lane_of::<S>(vector, lane);
                *out = Summary { max: of_lane(&max), sum: of_lane(&sum), weighted: of_lane(&weighted) };
            }
        }
    }
}

#[inline(always)]
fn lane_of<S: pulp::Simd>(vector: &S::f32s, lane: usize) -> f32 {
    pulp::bytemuck::cast_slice::<S::f32s, f32>(std::slice::from_ref(vector))[lane]
}

simd_fn! {
    /// `scores = factor * e^(scale * scores - shift)` in `[n, width]`, with a shift and a factor
    /// [`per_column`].
    pub(crate) fn exponentials(simd: S, scores: &mut [f32], width: usize, scale: f32, shift: &[f32], factor: &[f32]) {
        let scale = simd.splat_f32s(scale);
        let ((scores, _), (shift, _), (factor, _)) =
            (S::as_mut_simd_f32s(scores), S::as_simd_f32s(shift), S::as_simd_f32s(factor));
        for row in scores.chunks_exact_mut(width / S::F32_LANES) {
            for ((score, shift), factor) in row.iter_mut().zip(shift).zip(factor) {
                let z = simd.sub_f32s(simd.mul_f32s(*score, scale), *shift);
                *score = simd.mul_f32s(exp(simd, z), *factor);
            }
        }
    }
}

simd_fn! {
    /// Turns scores `[n, width]` into `softmax(scale * scores)` and writes the log-sum-exp of every
    /// used column.
    pub(crate) fn softmax(simd: S, scores: &mut [f32], width: usize, scale: f32, log_sum_exps: &mut [f32]) {
        let factor = simd.splat_f32s(scale);
        let (scores, _) = S::as_mut_simd_f32s(scores);
        let width = width / S::F32_LANES;
        for (first, out) in log_sum_exps.chunks_mut(S::F32_LANES).enumerate() {
            let mut max = simd.splat_f32s(f32::NEG_INFINITY);
            for score in scores[first..].iter().step_by(width) {
                max = simd.max_f32s(max, *score);
            }
            let mut sum = simd.splat_f32s(0.0);
            for score in scores[first..].iter_mut().step_by(width) {
                *score = exp(simd, simd.mul_f32s(simd.sub_f32s(*score, max), factor));
                sum = simd.add_f32s(sum, *score);
            }
            let inverse = simd.div_f32s(simd.splat_f32s(1.0), sum);
            for score in scores[first..].iter_mut().step_by(width) {
                *score = simd.mul_f32s(*score, inverse);
            }
            for (lane, out) in out.iter_mut().enumerate() {
                *out = lane_of::<S>(&max, lane) * scale + lane_of::<S>(&sum, lane).ln();
            }
        }
    }
}

simd_fn! {
    /// The gradients of scores from those of `p = softmax(scale * scores)`, both `[n, width]`, in
    /// place: `scale p (gradient - delta)` with `delta = sum(p gradient)`, [`per_column`].
    pub(crate) fn softmax_backward(simd: S, p: &[f32], gradient: &mut [f32], width: usize, scale: f32, deltas: &[f32]) {
        let scale = simd.splat_f32s(scale);
        let width = width / S::F32_LANES;
        let ((p, _), (gradient, _), (deltas, _)) =
            (S::as_simd_f32s(p), S::as_mut_simd_f32s(gradient), S::as_simd_f32s(deltas));
        for (p, gradient) in p.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
            for ((p, gradient), delta) in p.iter().zip(gradient).zip(deltas) {
                *gradient = simd.mul_f32s(simd.mul_f32s(*p, scale), simd.sub_f32s(*gradient, *delta));
            }
        }
    }
}
