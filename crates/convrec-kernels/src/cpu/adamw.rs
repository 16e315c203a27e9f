//! One update of AdamW, in place.

use pulp::Simd;
use rayon::prelude::*;

use super::CHUNK;
use super::simd::simd_fn;
use crate::AdamW;

/// Updates the weight and its moments in place. All slices have one length.
pub(crate) fn adamw(
    weight: &mut [f32],
    gradient: &[f32],
    moments: [&mut [f32]; 2],
    config: &AdamW,
) {
    let [first, second] = moments;
    let chunks = weight.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
    chunks
        .zip(
            first
                .par_chunks_mut(CHUNK)
                .zip(second.par_chunks_mut(CHUNK)),
        )
        .for_each(|((weight, gradient), (first, second))| {
            update(weight, gradient, first, second, config)
        });
}

simd_fn! {
    fn update(simd: S, weight: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], config: &AdamW) {
        let constants = config.constants().map(|x| simd.splat_f32s(x));
        let (weight, weight_rest) = S::as_mut_simd_f32s(weight);
        let (gradient, gradient_rest) = S::as_simd_f32s(gradient);
        let (first, first_rest) = S::as_mut_simd_f32s(first);
        let (second, second_rest) = S::as_mut_simd_f32s(second);
        for (((weight, gradient), first), second) in weight.iter_mut().zip(gradient).zip(first).zip(second) {
            [*weight, *first, *second] = updated(simd, *weight, *gradient, *first, *second, constants);
        }
        let [w, m, v] = updated(
            simd,
            simd.partial_load_f32s(weight_rest),
            simd.partial_load_f32s(gradient_rest),
            simd.partial_load_f32s(first_rest),
            simd.partial_load_f32s(second_rest),
            constants,
        );
        simd.partial_store_f32s(weight_rest, w);
        simd.partial_store_f32s(first_rest, m);
        simd.partial_store_f32s(second_rest, v);
    }
}

/// The weight and its moments afterwards; `constants` as in [`AdamW::constants`].
#[inline(always)]
fn updated<S: Simd>(
    simd: S,
    weight: S::f32s,
    gradient: S::f32s,
    first: S::f32s,
    second: S::f32s,
    [
        beta_1,
        new_1,
        beta_2,
        new_2,
        inverse_1,
        inverse_2,
        epsilon,
        rate,
        keep,
    ]: [S::f32s; 9],
) -> [S::f32s; 3] {
    let first = simd.mul_add_e_f32s(first, beta_1, simd.mul_f32s(gradient, new_1));
    let second = simd.mul_add_e_f32s(
        second,
        beta_2,
        simd.mul_f32s(simd.mul_f32s(gradient, gradient), new_2),
    );
    let root = simd.sqrt_f32s(simd.mul_f32s(second, inverse_2));
    let step = simd.div_f32s(
        simd.mul_f32s(first, inverse_1),
        simd.add_f32s(root, epsilon),
    );
    let weight = simd.sub_f32s(simd.mul_f32s(weight, keep), simd.mul_f32s(step, rate));
    [weight, first, second]
}
