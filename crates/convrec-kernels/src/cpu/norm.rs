//! Root mean square normalisation of rows (Zhang and Sennrich, arXiv 1910.07467), and its
//! gradients.

use pulp::Simd;
use rayon::prelude::*;

use super::elementwise::{Elementwise, Product, apply, sum};
use super::matrix::Write;
use super::rows_per_chunk;

/// `x / sqrt(mean(x^2) + epsilon) * weight` for every row of x.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let width = weight.len();
    let chunk = rows_per_chunk(width) * width;
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .for_each(|(out, x)| {
            for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                apply(
                    Scaled(inverse_rms(x, epsilon)),
                    [x, weight],
                    [out],
                    Write::Replace,
                );
            }
        });
    out
}

/// The gradients of x and of the weight. With `r = 1 / rms`: d x = r (w d y) - x r^3 mean(x w d y),
/// and d w is the sum of `r x d y` over all rows.
pub(crate) fn rms_norm_backward(
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    dy: &[f32],
) -> [Vec<f32>; 2] {
    let width = weight.len();
    let chunk = rows_per_chunk(width) * width;
    let mut dx = vec![0.0; x.len()];
    let inputs = x.par_chunks(chunk).zip(dy.par_chunks(chunk));
    let parts: Vec<Vec<f32>> = dx
        .par_chunks_mut(chunk)
        .zip(inputs)
        .map(|(dx, (x, dy))| {
            let mut dw = vec![0.0; width];
            for (n, dx) in dx.chunks_exact_mut(width).enumerate() {
                let [x, dy] = [x, dy].map(|rows| &rows[n * width..][..width]);
                let r = inverse_rms(x, epsilon);
                let mean = sum(TripleProduct, [x, weight, dy]) / width as f32;
                apply(
                    InputGradient {
                        r,
                        shift: -r * r * r * mean,
                    },
                    [x, weight, dy],
                    [dx],
                    Write::Replace,
                );
                apply(Scaled(r), [x, dy], [&mut dw], Write::Add);
            }
            dw
        })
        .collect();
    let mut dw = vec![0.0; width];
    for part in parts {
        dw.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    [dx, dw]
}

fn inverse_rms(x: &[f32], epsilon: f32) -> f32 {
    1.0 / (sum(Product, [x, x]) / x.len() as f32 + epsilon).sqrt()
}

/// `factor a b`.
#[derive(Clone, Copy)]
struct Scaled(f32);

impl Elementwise<2, 1> for Scaled {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S, [a, b]: [S::f32s; 2]) -> [S::f32s; 1] {
        [simd.mul_f32s(simd.mul_f32s(a, simd.splat_f32s(self.0)), b)]
    }
}

#[derive(Clone, Copy)]
struct TripleProduct;

impl Elementwise<3, 1> for TripleProduct {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 1] {
        [simd.mul_f32s(simd.mul_f32s(a, b), c)]
    }
}

/// `r w d y + shift x`.
#[derive(Clone, Copy)]
struct InputGradient {
    r: f32,
    shift: f32,
}

impl Elementwise<3, 1> for InputGradient {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S, [x, w, dy]: [S::f32s; 3]) -> [S::f32s; 1] {
        let shifted = simd.mul_f32s(x, simd.splat_f32s(self.shift));
        [simd.mul_add_e_f32s(simd.mul_f32s(w, dy), simd.splat_f32s(self.r), shifted)]
    }
}
