//! `y = x W^T` with weights `[out, in]`, and its gradients.

use pulp::Simd;
use rayon::prelude::*;

use super::matrix::{Matrix, PARALLEL_WORK, product, transpose};
use super::simd::{simd_fn, widest_lanes};

/// x `[M, inner]`, weight `[N, inner]` to `[M, N]`.
///
/// By itself gemm packs the weights column by column, which is slow. Few rows are dot products
/// instead. For more rows, the weights are transposed beforehand or the result afterwards,
/// whichever is smaller.
pub(crate) fn linear(x: &[f32], weight: &[f32], inner: usize) -> Vec<f32> {
    let (rows, out) = (x.len() / inner, weight.len() / inner);
    let (x_view, weight_view) = (Matrix::dense(x, inner), Matrix::dense(weight, inner));
    if NARROW.contains(&rows) && widest_lanes() == LANES {
        narrow(x, weight, inner)
    } else if dots_are_faster(rows, weight.len(), inner) {
        skinny(x, weight, inner)
    } else if rows <= SKINNY {
        product(x_view, weight_view.transposed())
    } else if rows < inner {
        transpose(&product(weight_view, x_view.transposed()), rows)
    } else {
        product(x_view, Matrix::dense(&transpose(weight, inner), out))
    }
}

/// Lanes of the vectors that [`outer`] is written for: AVX-512's, with 32 registers of them.
const LANES: usize = 16;

/// Rows of x that fill one to three vectors well enough.
pub(super) const NARROW: std::ops::RangeInclusive<usize> = 7..=48;

/// Rows of `x` from which on packing the weights pays off.
pub(super) const SKINNY: usize = 48;

/// Whether dot products are faster, by measurement. A dot product ends in a sum across a vector,
/// which only long rows make up for.
fn dots_are_faster(rows: usize, weights: usize, inner: usize) -> bool {
    match rows {
        1 => weights > PARALLEL_WORK,
        2..=4 => true,
        5..=SKINNY => inner >= 192,
        _ => false,
    }
}

/// d x = d y W: d y `[M, out]` to `[M, inner]`.
pub(crate) fn linear_input_gradient(dy: &[f32], weight: &[f32], inner: usize) -> Vec<f32> {
    product(
        Matrix::dense(dy, weight.len() / inner),
        Matrix::dense(weight, inner),
    )
}

/// d W = d y^T x, `[out, inner]`.
pub(crate) fn linear_weight_gradient(dy: &[f32], x: &[f32], out: usize, inner: usize) -> Vec<f32> {
    product(Matrix::dense(dy, out).transposed(), Matrix::dense(x, inner))
}

/// `x W^T` by dot products, so that every weight is read once, in order.
fn skinny(x: &[f32], weight: &[f32], inner: usize) -> Vec<f32> {
    /// Weight rows per task: few enough to share the work out, enough to be worth a task.
    const ROWS: usize = 64;
    let rows = x.len() / inner;
    let mut transposed = vec![0.0; weight.len() / inner * rows]; // [N, M]
    if weight.len() * rows <= PARALLEL_WORK {
        dots(x, Matrix::dense(weight, inner), &mut transposed);
        return transpose(&transposed, rows);
    }
    transposed
        .par_chunks_mut(ROWS * rows)
        .zip(weight.par_chunks(ROWS * inner))
        .for_each(|(out, weight)| dots(x, Matrix::dense(weight, inner), out));
    transpose(&transposed, rows)
}

/// `x W^T` for a few rows. A vector holds one element of 16 rows of x, so that no sum runs across
/// its lanes. The weights are read once, in order.
fn narrow(x: &[f32], weight: &[f32], inner: usize) -> Vec<f32> {
    /// Weight rows per task: a multiple of those in a block.
    const ROWS: usize = 96;
    let (rows, out) = (x.len() / inner, weight.len() / inner);
    let (x_t, width) = columns(x, inner);
    let mut y_t = vec![0.0; out * width]; // [out, width]
    let task = |(y_t, weight): (&mut [f32], &[f32])| narrow_block(&x_t, weight, inner, width, y_t);
    if weight.len() * rows <= PARALLEL_WORK {
        task((&mut y_t, weight));
    } else {
        y_t.par_chunks_mut(ROWS * width)
            .zip(weight.par_chunks(ROWS * inner))
            .for_each(task);
    }
    let mut y = transpose(&y_t, width);
    y.truncate(rows * out);
    y
}

/// x^T with rows that fill vectors, `[inner, width]`, and the width.
pub(super) fn columns(x: &[f32], inner: usize) -> (Vec<f32>, usize) {
    let width = (x.len() / inner).next_multiple_of(LANES);
    let mut x_t = vec![0.0; inner * width];
    for (m, row) in x.chunks_exact(inner).enumerate() {
        row.iter()
            .zip(x_t[m..].iter_mut().step_by(width))
            .for_each(|(x, place)| *place = *x);
    }
    (x_t, width)
}

/// Some weight rows with x^T `[inner, width]`: y^T `[rows, width]`.
pub(super) fn narrow_block(
    x_t: &[f32],
    weight: &[f32],
    inner: usize,
    width: usize,
    y_t: &mut [f32],
) {
    match width / LANES {
        1 => outer_1(x_t, weight, inner, y_t),
        2 => outer_2(x_t, weight, inner, y_t),
        _ => outer_3(x_t, weight, inner, y_t),
    }
}

/// Declares the product of some weight rows with x^T `[inner, C vectors]`: y^T `[rows, C vectors]`,
/// in blocks of R rows.
macro_rules! outer {
    ($name:ident, $C:literal, $R:literal) => {
        simd_fn! {
            fn $name(simd: S, x_t: &[f32], weight: &[f32], inner: usize, y_t: &mut [f32]) {
                let (x_t, y_t) = (S::as_simd_f32s(x_t).0, S::as_mut_simd_f32s(y_t).0);
                let rows = weight.len() / inner;
                for first in (0..rows).step_by($R) {
                    // Rows beyond the last are computed again rather than treated apart.
                    let mut weights = [&weight[..0]; $R];
                    for (r, row) in weights.iter_mut().enumerate() {
                        *row = &weight[(first + r).min(rows - 1) * inner..][..inner];
                    }
                    let mut sums = [[simd.splat_f32s(0.0); $C]; $R];
                    for (i, x) in x_t.chunks_exact($C).enumerate() {
                        for (sums, row) in sums.iter_mut().zip(&weights) {
                            let w = simd.splat_f32s(row[i]);
                            for (sum, x) in sums.iter_mut().zip(x) {
                                *sum = simd.mul_add_e_f32s(w, *x, *sum);
                            }
                        }
                    }
                    for (y, sums) in y_t[first * $C..].chunks_exact_mut($C).zip(&sums) {
                        y.copy_from_slice(sums);
                    }
                }
            }
        }
    };
}

outer!(outer_1, 1, 12);
outer!(outer_2, 2, 12);
outer!(outer_3, 3, 8);

simd_fn! {
    /// All dot products of the rows of `weight` with those of x, `[M, inner]`: out `[N, M]`.
    pub(crate) fn dots(simd: S, x: &[f32], weight: Matrix<'_>, out: &mut [f32]) {
        let rows = out.len() / weight.rows();
        let inner = x.len() / rows;
        for (n, out) in out.chunks_mut(4 * rows).enumerate() {
            let last = weight.rows() - 1;
            // Rows beyond the last are computed again rather than treated apart.
            let w = [0, 1, 2, 3].map(|m| weight.row((4 * n + m).min(last)));
            for first in (0..rows).step_by(4) {
                let x = [0, 1, 2, 3].map(|m| &x[(first + m).min(rows - 1) * inner..][..inner]);
                let mut sums = [[0.0; 4]; 4];
                if rows - first == 1 {
                    block(simd, [x[0]], w, &mut sums);
                } else {
                    block(simd, x, w, &mut sums);
                }
                for (out, sums) in out.chunks_exact_mut(rows).zip(sums) {
                    out[first..rows.min(first + 4)].iter_mut().zip(sums).for_each(|(out, sum)| *out = sum);
                }
            }
        }
    }
}

simd_fn! {
    /// The dot products of x with four vectors of its length.
    pub(crate) fn four_dots(simd: S, x: &[f32], weights: [&[f32]; 4], out: &mut [f32; 4]) {
        let mut sums = [[0.0; 4]; 4];
        block(simd, [x], weights, &mut sums);
        *out = sums.map(|of_weight| of_weight[0]);
    }
}

/// `sums[j][i] = w[j] x[i]`, each pair of vectors loaded once for all products that it is part of.
#[inline(always)]
fn block<S: Simd, const R: usize>(
    simd: S,
    x: [&[f32]; R],
    w: [&[f32]; 4],
    sums: &mut [[f32; 4]; 4],
) {
    let (x, w) = (x.map(|x| S::as_simd_f32s(x)), w.map(|w| S::as_simd_f32s(w)));
    let mut products = [[simd.splat_f32s(0.0); R]; 4];
    for n in 0..x[0].0.len() {
        for (products, w) in products.iter_mut().zip(&w) {
            for (product, x) in products.iter_mut().zip(&x) {
                *product = simd.mul_add_e_f32s(w.0[n], x.0[n], *product);
            }
        }
    }
    for ((products, w), sums) in products.iter_mut().zip(&w).zip(sums) {
        for ((product, x), sum) in products.iter_mut().zip(&x).zip(sums) {
            let (w, x) = (simd.partial_load_f32s(w.1), simd.partial_load_f32s(x.1));
            *sum = simd.reduce_sum_f32s(simd.mul_add_e_f32s(w, x, *product));
        }
    }
}
