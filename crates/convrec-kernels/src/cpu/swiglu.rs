//! `silu(gate) * up` with `silu(x) = x / (1 + e^-x)`, and its gradients.

use pulp::Simd;

use super::elementwise::{Elementwise, apply_in_parallel};
use super::simd::sigmoid;

/// Element by element.
pub(crate) fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let [out] = apply_in_parallel(Forward, [gate, up]);
    out
}

/// The gradients of gate and up.
pub(crate) fn swiglu_backward(gate: &[f32], up: &[f32], dy: &[f32]) -> [Vec<f32>; 2] {
    apply_in_parallel(Backward, [gate, up, dy])
}

#[derive(Clone, Copy)]
struct Forward;

impl Elementwise<2, 1> for Forward {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S, [gate, up]: [S::f32s; 2]) -> [S::f32s; 1] {
        [simd.mul_f32s(simd.mul_f32s(gate, sigmoid(simd, gate)), up)]
    }
}

/// With `s = sigmoid(gate)`: d gate = d y up s (1 + gate (1 - s)), d up = d y gate s.
#[derive(Clone, Copy)]
struct Backward;

impl Elementwise<3, 2> for Backward {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S, [gate, up, dy]: [S::f32s; 3]) -> [S::f32s; 2] {
        let one = simd.splat_f32s(1.0);
        let s = sigmoid(simd, gate);
        let slope = simd.mul_f32s(s, simd.mul_add_e_f32s(gate, simd.sub_f32s(one, s), one));
        [
            simd.mul_f32s(simd.mul_f32s(dy, up), slope),
            simd.mul_f32s(simd.mul_f32s(gate, s), dy),
        ]
    }
}
