//! Softmax down the columns of a block of scores. A row of the block holds one candidate (a vocabulary entry, a key)
//! for [`COLUMNS`] queries, so that a vector serves many queries and no sum runs across its lanes.

use super::simd::{exp, simd_fn};

/// Queries side by side in a block; a multiple of every vector width.
pub(crate) const COLUMNS: usize = 128;

/// Of `z = scale * scores` in one column: the maximum m, and the sums of `e^(z - m)` and of `e^(z - m) (z - m)`.
#[derive(Clone, Copy)]
pub(crate) struct Summary {
    pub(crate) max: f32,
    pub(crate) sum: f32,
    pub(crate) weighted: f32,
}

impl Summary {
    pub(crate) const EMPTY: Self = Self { max: f32::NEG_INFINITY, sum: 0.0, weighted: 0.0 };

    /// The summary of two disjoint sets of candidates.
    pub(crate) fn merge(self, other: Self) -> Self {
        let (high, low) = if self.max >= other.max { (self, other) } else { (other, self) };
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

    /// Of the distribution `softmax(z)`, in nats.
    pub(crate) fn entropy(self) -> f32 {
        self.sum.ln() - self.weighted / self.sum
    }
}

simd_fn! {
    /// Summaries of the columns of scores `[n, COLUMNS]`; scale is positive.
    pub(crate) fn summarize(simd: S, scores: &[f32], scale: f32, out: &mut [Summary; COLUMNS]) {
        let scale = simd.splat_f32s(scale);
        let (scores, _) = S::as_simd_f32s(scores);
        let width = COLUMNS / S::F32_LANES;
        for first in 0..width {
            let column = || scores[first..].iter().step_by(width);
            let mut max = simd.splat_f32s(f32::NEG_INFINITY);
            column().for_each(|score| max = simd.max_f32s(max, *score));
            let (mut sum, mut weighted) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
            column().for_each(|score| {
                let z = simd.mul_f32s(simd.sub_f32s(*score, max), scale);
                let e = exp(simd, z);
                sum = simd.add_f32s(sum, e);
                weighted = simd.mul_add_e_f32s(e, z, weighted);
            });
            let lanes = [simd.mul_f32s(max, scale), sum, weighted];
            for lane in 0..S::F32_LANES {
                let [max, sum, weighted] = lanes.each_ref().map(|v| lane_of::<S>(v, lane));
                out[first * S::F32_LANES + lane] = Summary { max, sum, weighted };
            }
        }
    }
}

#[inline(always)]
fn lane_of<S: pulp::Simd>(vector: &S::f32s, lane: usize) -> f32 {
    pulp::bytemuck::cast_slice::<S::f32s, f32>(std::slice::from_ref(vector))[lane]
}

simd_fn! {
    /// `scores = factor * e^(scale * scores - shift)`, with a shift and a factor for every column.
    pub(crate) fn exponentials(simd: S, scores: &mut [f32], scale: f32, shift: &[f32; COLUMNS], factor: &[f32; COLUMNS]) {
        let scale = simd.splat_f32s(scale);
        let (scores, _) = S::as_mut_simd_f32s(scores);
        let ((shift, _), (factor, _)) = (S::as_simd_f32s(shift), S::as_simd_f32s(factor));
        for row in scores.chunks_exact_mut(shift.len()) {
            for ((score, shift), factor) in row.iter_mut().zip(shift).zip(factor) {
                let z = simd.sub_f32s(simd.mul_f32s(*score, scale), *shift);
                *score = simd.mul_f32s(exp(simd, z), *factor);
            }
        }
    }
}
