//! Attention of one new token a row over a prompt that several rows share and over the row's own earlier tokens.

use pulp::Simd;
use rayon::prelude::*;

use super::elementwise::{Elementwise, apply, sum};
use super::heads::Heads;
use super::linear::dots;
use super::matrix::{Matrix, Write};
use super::simd::{exp, simd_fn};

/// P prompts with G rows each, B = P G; rows of a prompt are adjacent.
#[derive(Clone, Copy)]
pub(crate) struct Cached<'a> {
    /// `[P, Hk, Tp, d]`
    pub(crate) prompt_k: Heads<'a>,
    pub(crate) prompt_v: Heads<'a>,
    /// Of each prompt, at most Tp.
    pub(crate) lengths: &'a [usize],
    /// `[B, Hk, capacity, d]`
    pub(crate) own_k: Heads<'a>,
    pub(crate) own_v: Heads<'a>,
    /// How many of the own tokens are there.
    pub(crate) filled: usize,
}

impl Cached<'_> {
    /// q `[B, H, d]` to `[B, H, d]`.
    pub(crate) fn attend(&self, q: &[f32]) -> Vec<f32> {
        let (rows, width) = (self.own_k.batch, self.own_k.width);
        let heads = q.len() / width / rows;
        let mut out = vec![0.0; q.len()];
        out.par_chunks_mut(width).zip(q.par_chunks(width)).enumerate().for_each(|(n, (out, q))| {
            let (row, head) = (n / heads, n % heads);
            self.attend_one(row, head * self.own_k.heads / heads, q, out);
        });
        out
    }

    /// One query: q `[d]`, out `[d]`.
    fn attend_one(&self, row: usize, head: usize, q: &[f32], out: &mut [f32]) {
        let prompt = row * self.prompt_k.batch / self.own_k.batch;
        let length = self.lengths[prompt];
        let mut scores = vec![0.0; length + self.filled];
        let (prompt_scores, own_scores) = scores.split_at_mut(length);
        dots(q, self.prompt_k.first_rows(prompt, head, length), prompt_scores);
        dots(q, self.own_k.first_rows(row, head, self.filled), own_scores);
        let mut powers = vec![0.0; scores.len()];
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        apply(Power { max, scale: 1.0 / (q.len() as f32).sqrt() }, [&scores], [&mut powers], Write::Replace);
        let (prompt_powers, own_powers) = powers.split_at(length);
        mix(self.prompt_v.first_rows(prompt, head, length), prompt_powers, out);
        mix(self.own_v.first_rows(row, head, self.filled), own_powers, out);
        let inverse = 1.0 / sum(Itself, [&powers]);
        out.iter_mut().for_each(|out| *out *= inverse);
    }
}

/// `e^(scale (x - max))`.
#[derive(Clone, Copy)]
struct Power {
    max: f32,
    scale: f32,
}

impl Elementwise<1, 1> for Power {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S, [x]: [S::f32s; 1]) -> [S::f32s; 1] {
        let below = simd.sub_f32s(x, simd.splat_f32s(self.max));
        [exp(simd, simd.mul_f32s(below, simd.splat_f32s(self.scale)))]
    }
}

#[derive(Clone, Copy)]
struct Itself;

impl Elementwise<1, 1> for Itself {
    #[inline(always)]
    fn compute<S: Simd>(self, _: S, x: [S::f32s; 1]) -> [S::f32s; 1] {
        x
    }
}

simd_fn! {
    /// Adds the weighted sum of the rows of `values` to `out`.
    fn mix(simd: S, values: Matrix<'_>, weights: &[f32], out: &mut [f32]) {
        /// Vectors of the output that stay in registers over all rows.
        const BLOCK: usize = 4;
        let (whole, rest) = S::as_mut_simd_f32s(out);
        for (n, out) in whole.chunks_mut(BLOCK).enumerate() {
            let mut sums = [simd.splat_f32s(0.0); BLOCK];
            for (row, weight) in weights.iter().enumerate() {
                let (values, weight) = (S::as_simd_f32s(values.row(row)).0, simd.splat_f32s(*weight));
                for (sum, value) in sums.iter_mut().zip(&values[n * BLOCK..]) {
                    *sum = simd.mul_add_e_f32s(*value, weight, *sum);
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = simd.add_f32s(*out, sum);
            }
        }
        if rest.is_empty() {
            return;
        }
        let mut sum = simd.partial_load_f32s(rest);
        for (row, weight) in weights.iter().enumerate() {
            let value = simd.partial_load_f32s(S::as_simd_f32s(values.row(row)).1);
            sum = simd.mul_add_e_f32s(value, simd.splat_f32s(*weight), sum);
        }
        simd.partial_store_f32s(rest, sum);
    }
}
