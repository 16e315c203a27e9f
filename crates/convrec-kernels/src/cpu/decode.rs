//! Attention of one new token a row over a prompt that several rows share and over the row's own earlier tokens.

use rayon::prelude::*;

use super::heads::Heads;
use super::simd::{add, dot, exp, simd_fn, vectors};

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
        let heads = q.len() / width / rows.max(1);
        let mut out = vec![0.0; q.len()];
        out.par_chunks_mut(width).zip(q.par_chunks(width)).enumerate().for_each_init(Vec::new, |scores, (n, (out, q))| {
            let (b, h) = (n / heads, n % heads);
            self.attend_one(b, h * self.own_k.heads / heads, q, scores, out);
        });
        out
    }

    /// Of one row and one query head.
    fn attend_one(&self, b: usize, kv: usize, q: &[f32], scores: &mut Vec<f32>, out: &mut [f32]) {
        let p = b * self.prompt_k.batch / self.own_k.batch;
        let prompt = || 0..self.lengths[p];
        let own = || 0..self.filled;
        scores.clear();
        scores.extend(prompt().map(|t| dot(q, self.prompt_k.row(p, kv, t))));
        scores.extend(own().map(|t| dot(q, self.own_k.row(b, kv, t))));
        softmax(scores, 1.0 / (q.len() as f32).sqrt());
        let (of_prompt, of_own) = scores.split_at(self.lengths[p]);
        prompt().zip(of_prompt).for_each(|(t, weight)| add_scaled(self.prompt_v.row(p, kv, t), *weight, out));
        own().zip(of_own).for_each(|(t, weight)| add_scaled(self.own_v.row(b, kv, t), *weight, out));
    }
}

simd_fn! {
    /// `softmax(scale * scores)`, in place.
    fn softmax(simd: S, scores: &mut [f32], scale: f32) {
        let max = simd.splat_f32s(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let scale = simd.splat_f32s(scale);
        let (whole, rest) = S::as_mut_simd_f32s(scores);
        let power = |score| exp(simd, simd.mul_f32s(simd.sub_f32s(score, max), scale));
        whole.iter_mut().for_each(|score| *score = power(*score));
        let last = power(simd.partial_load_f32s(rest));
        simd.partial_store_f32s(rest, last);
        let mut sum = simd.splat_f32s(0.0);
        vectors(simd, scores).for_each(|score| sum = simd.add_f32s(sum, score));
        let inverse = simd.splat_f32s(1.0 / simd.reduce_sum_f32s(sum));
        let (whole, rest) = S::as_mut_simd_f32s(scores);
        whole.iter_mut().for_each(|score| *score = simd.mul_f32s(*score, inverse));
        let last = simd.mul_f32s(simd.partial_load_f32s(rest), inverse);
        simd.partial_store_f32s(rest, last);
    }
}

simd_fn! {
    /// `out += weight * values`.
    fn add_scaled(simd: S, values: &[f32], weight: f32, out: &mut [f32]) {
        let weight = simd.splat_f32s(weight);
        add(simd, out, vectors(simd, values).map(|value| simd.mul_f32s(value, weight)));
    }
}
