//! Rotary position encoding (Su et al., arXiv 2104.09864) by half-rotation.

use pulp::Simd;
use rayon::prelude::*;

use super::elementwise::{Elementwise, apply};
use super::heads::Heads;
use super::matrix::Write;
use super::rows_per_chunk;

/// The direction of the turn; back is the gradient of forth.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Direction {
    Forth,
    Back,
}

/// Turns the pair (i, i + d/2) of every head by its token's angle; cos and sin are `[M, d/2]`.
pub(crate) fn rotate(x: Heads<'_>, cos: &[f32], sin: &[f32], direction: Direction) -> Vec<f32> {
    let half = x.width / 2;
    let token = x.heads * x.width;
    let mut out = vec![0.0; x.data.len()];
    let tokens = rows_per_chunk(token);
    out.par_chunks_mut(tokens * token)
        .enumerate()
        .for_each(|(n, out)| {
            for (m, out) in out.chunks_exact_mut(token).enumerate() {
                let t = n * tokens + m;
                let (cos, sin) = (&cos[t * half..][..half], &sin[t * half..][..half]);
                for (h, out) in out.chunks_exact_mut(x.width).enumerate() {
                    let (first, second) = x.row(t, h).split_at(half);
                    let (out_first, out_second) = out.split_at_mut(half);
                    apply(
                        Turn(direction),
                        [first, second, cos, sin],
                        [out_first, out_second],
                        Write::Replace,
                    );
                }
            }
        });
    out
}

#[derive(Clone, Copy)]
struct Turn(Direction);

impl Elementwise<4, 2> for Turn {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S, [a, b, cos, sin]: [S::f32s; 4]) -> [S::f32s; 2] {
        let sin = if self.0 == Direction::Forth {
            sin
        } else {
            simd.neg_f32s(sin)
        };
        let first = simd.sub_f32s(simd.mul_f32s(a, cos), simd.mul_f32s(b, sin));
        [first, simd.mul_add_e_f32s(b, cos, simd.mul_f32s(a, sin))]
    }
}
