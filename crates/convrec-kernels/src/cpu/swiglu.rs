//! `silu(gate) * up` with `silu(x) = x / (1 + e^-x)`, and its gradients.

use rayon::prelude::*;

use super::CHUNK;
use super::simd::{sigmoid, simd_fn, store, vectors};

/// Element by element.
pub(crate) fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; gate.len()];
    let inputs = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK));
    out.par_chunks_mut(CHUNK).zip(inputs).for_each(|(out, (gate, up))| forward(gate, up, out));
    out
}

/// The gradients of gate and up.
pub(crate) fn swiglu_backward(gate: &[f32], up: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (mut d_gate, mut d_up) = (vec![0.0; gate.len()], vec![0.0; up.len()]);
    let inputs = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)).zip(dy.par_chunks(CHUNK));
    let outputs = d_gate.par_chunks_mut(CHUNK).zip(d_up.par_chunks_mut(CHUNK));
    outputs.zip(inputs).for_each(|((d_gate, d_up), ((gate, up), dy))| backward(gate, up, dy, d_gate, d_up));
    (d_gate, d_up)
}

simd_fn! {
    fn forward(simd: S, gate: &[f32], up: &[f32], out: &mut [f32]) {
        let values = vectors(simd, gate).zip(vectors(simd, up));
        let silu = |x| simd.mul_f32s(x, sigmoid(simd, x));
        store(simd, out, values.map(|(gate, up)| simd.mul_f32s(silu(gate), up)));
    }
}

simd_fn! {
    /// With `s = sigmoid(gate)`: d up = d y gate s, d gate = d y up s (1 + gate (1 - s)).
    fn backward(simd: S, gate: &[f32], up: &[f32], dy: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
        let one = simd.splat_f32s(1.0);
        let gradients = |gate, up, dy| {
            let s = sigmoid(simd, gate);
            let slope = simd.mul_add_e_f32s(gate, simd.sub_f32s(one, s), one);
            let d_gate = simd.mul_f32s(simd.mul_f32s(dy, up), simd.mul_f32s(s, slope));
            (d_gate, simd.mul_f32s(simd.mul_f32s(gate, s), dy))
        };
        let ((gate, gate_end), (up, up_end)) = (S::as_simd_f32s(gate), S::as_simd_f32s(up));
        let (dy, dy_end) = S::as_simd_f32s(dy);
        let ((d_gate, d_gate_end), (d_up, d_up_end)) = (S::as_mut_simd_f32s(d_gate), S::as_mut_simd_f32s(d_up));
        for (n, out) in d_gate.iter_mut().zip(d_up).enumerate() {
            (*out.0, *out.1) = gradients(gate[n], up[n], dy[n]);
        }
        let load = |end| simd.partial_load_f32s(end);
        let (d_gate, d_up) = gradients(load(gate_end), load(up_end), load(dy_end));
        simd.partial_store_f32s(d_gate_end, d_gate);
        simd.partial_store_f32s(d_up_end, d_up);
    }
}
