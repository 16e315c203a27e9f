//! `gelu(x + bias)` with `gelu(x) = x P(X <= x)` for a normal X.

use pulp::Simd;
use rayon::prelude::*;

use super::elementwise::{Elementwise, apply};
use super::matrix::Write;
use super::rows_per_chunk;
use super::simd::exp;

/// `gelu(x + bias)` for every row of x.
pub(crate) fn bias_gelu(x: &[f32], bias: &[f32]) -> Vec<f32> {
    let width = bias.len();
    let chunk = rows_per_chunk(width) * width;
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .for_each(|(out, x)| {
            for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                apply(BiasGelu, [x, bias], [out], Write::Replace);
            }
        });
    out
}

/// `max(z, 0) - |z| Q(|z|)` for `z = x + bias`. The tail `Q(z) = P(X > z)` is
/// `t (a_1 + a_2 t + ..) e^(-z^2 / 2) / 2` with `t = 1 / (1 + p z)`: Abramowitz and Stegun,
/// Handbook of Mathematical Functions, 7.1.26, good to 1e-7.
#[derive(Clone, Copy)]
struct BiasGelu;

impl Elementwise<2, 1> for BiasGelu {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S, [x, bias]: [S::f32s; 2]) -> [S::f32s; 1] {
        // Their p for erf, which takes z / sqrt(2).
        const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
        // The coefficients from a_5 down, halved.
        const HALVES: [f32; 5] = [
            0.530_702_7,
            -0.726_576,
            0.710_706_9,
            -0.142_248_37,
            0.127_414_8,
        ];
        let one = simd.splat_f32s(1.0);
        let z = simd.add_f32s(x, bias);
        let size = simd.abs_f32s(z);
        let t = simd.div_f32s(one, simd.mul_add_e_f32s(size, simd.splat_f32s(P), one));
        let mut polynomial = simd.splat_f32s(HALVES[0]);
        for a in &HALVES[1..] {
            polynomial = simd.mul_add_e_f32s(polynomial, t, simd.splat_f32s(*a));
        }
        let power = exp(
            simd,
            simd.mul_f32s(simd.mul_f32s(z, z), simd.splat_f32s(-0.5)),
        );
        let tail = simd.mul_f32s(simd.mul_f32s(polynomial, t), power);
        // With `z` as the second operand a NaN stays a NaN on x86.
        let positive = simd.max_f32s(simd.splat_f32s(0.0), z);
        [simd.sub_f32s(positive, simd.mul_f32s(size, tail))]
    }
}
