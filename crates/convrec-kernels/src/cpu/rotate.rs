//! Rotary position encoding by half-rotation.

use rayon::prelude::*;

use super::heads::Heads;
use super::rows_per_chunk;
use super::simd::{simd_fn, store, vectors};

/// Turns the pair (i, i + d/2) of every row by its position's angle, or back; cos and sin are `[B or 1, T, d/2]`. The
/// result is in the memory order `[B, T, heads, d]`.
pub(crate) fn rotate(x: Heads<'_>, cos: &[f32], sin: &[f32], back: bool) -> Vec<f32> {
    let half = x.width / 2;
    let token = x.heads * x.width;
    let mut out = vec![0.0; x.batch * x.length * token];
    let tokens = rows_per_chunk(token);
    out.par_chunks_mut((tokens * token).max(1)).enumerate().for_each(|(n, out)| {
        for (m, out) in out.chunks_exact_mut(token).enumerate() {
            let position = n * tokens + m;
            let (b, t) = (position / x.length, position % x.length);
            // One table of angles may serve all rows of the batch.
            let angles = position * half % cos.len();
            let (cos, sin) = (&cos[angles..][..half], &sin[angles..][..half]);
            for (h, out) in out.chunks_exact_mut(x.width).enumerate() {
                turn(x.row(b, h, t), cos, sin, if back { -1.0 } else { 1.0 }, out);
            }
        }
    });
    out
}

simd_fn! {
    fn turn(simd: S, x: &[f32], cos: &[f32], sin: &[f32], direction: f32, out: &mut [f32]) {
        let half = cos.len();
        let (first, second) = x.split_at(half);
        let (out_first, out_second) = out.split_at_mut(half);
        let direction = simd.splat_f32s(direction);
        let angles = || vectors(simd, cos).zip(vectors(simd, sin).map(|sin| simd.mul_f32s(sin, direction)));
        let pairs = || vectors(simd, first).zip(vectors(simd, second)).zip(angles());
        store(simd, out_first, pairs().map(|((a, b), (cos, sin))| {
            simd.sub_f32s(simd.mul_f32s(a, cos), simd.mul_f32s(b, sin))
        }));
        store(simd, out_second, pairs().map(|((a, b), (cos, sin))| {
            simd.mul_add_e_f32s(b, cos, simd.mul_f32s(a, sin))
        }));
    }
}
