//! `y = x W^T` with weights `[out, in]`, and its gradients.

use rayon::prelude::*;

use super::matrix::{Matrix, product, transpose};
use super::simd::simd_fn;

/// Rows of `x` up to which dot products beat the `gemm` crate, which would first repack all weights.
const SKINNY: usize = 16;

/// x `[M, inner]`, weight `[N, inner]` to `[M, N]`.
pub(crate) fn linear(x: &[f32], weight: &[f32], inner: usize) -> Vec<f32> {
    let (rows, out) = (x.len() / inner, weight.len() / inner);
    if rows <= SKINNY {
        return skinny(x, weight, inner);
    }
    // The product with transposed weights is a good deal faster than letting gemm pack them column by column.
    product(Matrix::dense(x, inner), Matrix::dense(&transpose(weight, inner), out))
}

/// d x = d y W: d y `[M, out]` to `[M, inner]`.
pub(crate) fn linear_input_gradient(dy: &[f32], weight: &[f32], inner: usize) -> Vec<f32> {
    product(Matrix::dense(dy, weight.len() / inner), Matrix::dense(weight, inner))
}

/// d W = d y^T x, `[out, inner]`.
pub(crate) fn linear_weight_gradient(dy: &[f32], x: &[f32], out: usize, inner: usize) -> Vec<f32> {
    product(Matrix::dense(dy, out).transposed(), Matrix::dense(x, inner))
}

/// `x W^T` by dot products, so that every weight is read once, in order.
fn skinny(x: &[f32], weight: &[f32], inner: usize) -> Vec<f32> {
    /// Weight rows per task: small enough to share work out, large enough to be worth a task.
    const ROWS: usize = 64;
    let rows = x.len() / inner;
    let mut transposed = vec![0.0; weight.len() / inner * rows]; // [N, M]
    transposed
        .par_chunks_mut(ROWS * rows)
        .zip(weight.par_chunks(ROWS * inner))
        .for_each(|(out, weight)| dots(x, weight, inner, out));
    if rows == 1 { transposed } else { transpose(&transposed, rows) }
}

simd_fn! {
    /// All dot products of the rows of `weight` with the rows of `x`: out `[N, M]`.
    fn dots(simd: S, x: &[f32], weight: &[f32], inner: usize, out: &mut [f32]) {
        let rows = x.len() / inner;
        let mut weight = weight.chunks_exact(inner);
        let mut out = out.chunks_mut(4 * rows);
        while let (Some(w0), Some(out)) = (weight.next(), out.next()) {
            let mut next = || weight.next().unwrap_or(w0);
            dots_of_four(simd, x, [w0, next(), next(), next()], out);
        }
    }
}

/// Four weight rows with all rows of `x`; out `[up to 4, M]`.
#[inline(always)]
fn dots_of_four<S: pulp::Simd>(simd: S, x: &[f32], weight: [&[f32]; 4], out: &mut [f32]) {
    let inner = weight[0].len();
    let rows = x.len() / inner;
    for first in (0..rows).step_by(4) {
        // Rows beyond the last are computed again rather than treated apart.
        let x: [&[f32]; 4] = std::array::from_fn(|n| &x[(first + n).min(rows - 1) * inner..][..inner]);
        let sums = if rows - first == 1 {
            block(simd, [x[0]], weight).map(|sum| [sum[0]; 4])
        } else {
            block(simd, x, weight)
        };
        for (out, sums) in out.chunks_exact_mut(rows).zip(sums) {
            out[first..rows.min(first + 4)].iter_mut().zip(sums).for_each(|(out, sum)| *out = sum);
        }
    }
}

#[inline(always)]
fn block<S: pulp::Simd, const R: usize>(simd: S, x: [&[f32]; R], weight: [&[f32]; 4]) -> [[f32; R]; 4] {
    let mut sums = [[simd.splat_f32s(0.0); R]; 4];
    let mut add = |x: [S::f32s; R], weight: [S::f32s; 4]| {
        for (sums, w) in sums.iter_mut().zip(weight) {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = simd.mul_add_e_f32s(w, x, *sum);
            }
        }
    };
    let (xs, ws) = (x.map(|x| S::as_simd_f32s(x)), weight.map(|w| S::as_simd_f32s(w)));
    for n in 0..xs[0].0.len() {
        add(xs.map(|x| x.0[n]), ws.map(|w| w.0[n]));
    }
    if !xs[0].1.is_empty() {
        add(xs.map(|x| simd.partial_load_f32s(x.1)), ws.map(|w| simd.partial_load_f32s(w.1)));
    }
    sums.map(|sums| sums.map(|sum| simd.reduce_sum_f32s(sum)))
}
