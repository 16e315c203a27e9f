//! kernels
pub mod composed;
#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "flex")]
mod flex;

use burn::tensor::{Int, Tensor};

#[cfg(feature = "flex")]
#[doc(hidden)]
pub use cpu::force_portable;

/// `x W^T`
pub fn linear<const N: usize>(x: Tensor<N>, weight: Tensor<2>) -> Tensor<N> {
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        return with_rows(x, weight.dims()[0], |x| flex::linear(x, weight));
    }
    composed::linear(x, weight)
}

/// rms
pub fn rms_norm<const N: usize>(x: Tensor<N>, weight: Tensor<1>, epsilon: f64) -> Tensor<N> {
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        return flex::rms_norm(x, weight, epsilon);
    }
    composed::rms_norm(x, weight, epsilon)
}

/// swiglu
pub fn swiglu<const N: usize>(gate: Tensor<N>, up: Tensor<N>) -> Tensor<N> {
    #[cfg(feature = "flex")]
    if flex::takes(&gate) {
        return flex::swiglu(gate, up);
    }
    composed::swiglu(gate, up)
}

/// rotate
pub fn rotate(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        return flex::rotate(x, cos, sin);
    }
    composed::rotate(x, cos, sin)
}

/// attention
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if flex::takes(&q) {
        return flex::causal_attention(q, k, v);
    }
    composed::causal_attention(q, k, v)
}

/// What a decoding step attends to
#[derive(Debug, Clone)]
pub struct DecodeCache<'a> {
    /// `[P, Hk, Tp, d]`
    pub prompt_k: Tensor<4>,
    /// `[P, Hk, Tp, d]`
    pub prompt_v: Tensor<4>,
    /// `[P]`
    pub prompt_lengths: &'a [usize],
    /// `[B, Hk, capacity, d]`
    pub own_k: Tensor<4>,
    /// `[B, Hk, capacity, d]`
    pub own_v: Tensor<4>,
    /// filled
    pub filled: usize,
}

/// decode
pub fn decode_attention(q: Tensor<4>, cache: DecodeCache<'_>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if flex::takes(&q) {
        return flex::decode_attention(q, cache);
    }
    composed::decode_attention(q, cache)
}

/// log-probs
pub fn token_log_probs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    temperature: f32,
) -> (Tensor<1>, Tensor<1>) {
    #[cfg(feature = "flex")]
    if flex::takes(&hidden) {
        return flex::token_log_probs(hidden, weight, targets, temperature);
    }
    composed::token_log_probs(hidden, weight, targets, temperature)
}

/// Applies `f` to the rows of x along its last dimension, all in one matrix; `f` makes rows of `width` elements.
pub(crate) fn with_rows<const N: usize>(x: Tensor<N>, width: usize, f: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Tensor<N> {
    let mut shape = x.shape();
    let inner = shape[N - 1];
    let y = f(x.reshape([shape.num_elements() / inner, inner]));
    shape[N - 1] = width;
    y.reshape(shape)
}
