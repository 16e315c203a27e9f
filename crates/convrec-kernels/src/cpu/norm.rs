//! Root mean square normalisation of rows, and its gradients.

use rayon::prelude::*;

use super::rows_per_chunk;
use super::simd::{dot, simd_fn, vectors};

/// `x / sqrt(mean(x^2) + epsilon) * weight` for every row of x.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let width = weight.len();
    let chunk = rows_per_chunk(width) * width;
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(out, x)| {
        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            scale(x, weight, inverse_rms(x, epsilon), out);
        }
    });
    out
}

/// The gradients of x and of the weight.
pub(crate) fn rms_norm_backward(x: &[f32], weight: &[f32], epsilon: f32, dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let chunk = rows_per_chunk(width) * width;
    let mut dx = vec![0.0; x.len()];
    let weights: Vec<Vec<f32>> = dx
        .par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .zip(dy.par_chunks(chunk))
        .map(|((dx, x), dy)| {
            let mut dw = vec![0.0; width];
            let rows = dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width));
            rows.for_each(|((dx, x), dy)| row_backward(x, weight, inverse_rms(x, epsilon), dy, dx, &mut dw));
            dw
        })
        .collect();
    let mut dw = vec![0.0; width];
    for part in weights {
        dw.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    (dx, dw)
}

fn inverse_rms(x: &[f32], epsilon: f32) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + epsilon).sqrt()
}

simd_fn! {
    fn scale(simd: S, x: &[f32], weight: &[f32], factor: f32, out: &mut [f32]) {
        let factor = simd.splat_f32s(factor);
        let values = vectors(simd, x).zip(vectors(simd, weight));
        super::simd::store(simd, out, values.map(|(x, w)| simd.mul_f32s(simd.mul_f32s(x, factor), w)));
    }
}

simd_fn! {
    /// With `r = 1 / rms`: d x = r (w d y) - x r^3 mean(x w d y), d w += r x d y.
    fn row_backward(simd: S, x: &[f32], weight: &[f32], r: f32, dy: &[f32], dx: &mut [f32], dw: &mut [f32]) {
        let mut sum = simd.splat_f32s(0.0);
        for ((x, w), dy) in vectors(simd, x).zip(vectors(simd, weight)).zip(vectors(simd, dy)) {
            sum = simd.mul_add_e_f32s(simd.mul_f32s(x, w), dy, sum);
        }
        let mean = simd.reduce_sum_f32s(sum) / x.len() as f32;
        let (shift, r) = (simd.splat_f32s(-r * r * r * mean), simd.splat_f32s(r));
        let values = vectors(simd, x).zip(vectors(simd, weight)).zip(vectors(simd, dy));
        super::simd::store(simd, dx, values.map(|((x, w), dy)| {
            simd.mul_add_e_f32s(simd.mul_f32s(w, dy), r, simd.mul_f32s(x, shift))
        }));
        let scaled = vectors(simd, x).zip(vectors(simd, dy)).map(|(x, dy)| simd.mul_f32s(simd.mul_f32s(x, dy), r));
        super::simd::add(simd, dw, scaled);
    }
}
