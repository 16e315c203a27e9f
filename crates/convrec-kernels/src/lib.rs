//! The hot operations of a decoder-only language model, on [burn] tensors.
//!
//! Composed from burn's own operations, these parts of a small decoder are slow on a CPU: each elementary step walks
//! over memory again, `exp` is scalar, and the logits of a training batch (tokens times vocabulary) fill memory only to
//! be reduced to one number a token. So every operation here (but the newest, [`token_log_probs_within`]) has two bodies:
//!
//! - a **composed** one, in module [`composed`]: a few lines of burn, for every device, with burn's own gradients. It
//!   says what the operation computes.
//! - a **fused** one, for f32 tensors on burn's `flex` device (feature `flex`), with or without autodiff: vector code
//!   with hand-written gradients, spread over rayon's threads.
//!
//! Callers do not choose: the functions at the root look at the device and the element type of their first argument.
//!
//! | operation | what the fused body avoids |
//! |---|---|
//! | [`linear`] | packing transposed weights column by column; repeated reads of the weights when rows are few |
//! | [`rms_norm`], [`swiglu`], [`rotate`] | intermediate tensors, scalar `exp` |
//! | [`causal_attention`] | score matrices: scores live in blocks of 64 queries, later keys are skipped (Dao et al., [arXiv 2205.14135]) |
//! | [`token_log_probs`] | logits: they live in blocks and are computed once more for the gradients |
//! | [`decode_attention`] | slices and copies of the cache; a prompt is read once for all of its completions |
//!
//! [arXiv 2205.14135]: https://arxiv.org/abs/2205.14135
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//!
//! let device = Device::flex().autodiff();
//! let x = Tensor::<3>::random([2, 5, 16], Distribution::Normal(0.0, 1.0), &device); // [B, T, in]
//! let weight = Tensor::<2>::random([8, 16], Distribution::Normal(0.0, 1.0), &device).require_grad(); // [out, in]
//!
//! let fused = convrec_kernels::linear(x.clone(), weight.clone()); // [B, T, out]
//! let composed = convrec_kernels::composed::linear(x, weight.clone());
//! let difference: f32 = (fused.clone() - composed).abs().max().into_scalar();
//! assert!(difference < 1e-5);
//!
//! let gradients = fused.sum().backward();
//! assert_eq!(weight.grad(&gradients).unwrap().dims(), [8, 16]);
//! ```
//!
//! # Numbers
//!
//! The fused bodies agree with the composed ones to the rounding of f32. They give the same bits for the same input on
//! the same machine with the same number of threads; other machines may have other vector widths, which add in another
//! order. AVX-512 and AVX2 are used where the machine has them, found out at run time.

pub mod composed;
#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "flex")]
mod flex;

use burn::tensor::{Int, Tensor};

#[cfg(feature = "flex")]
#[doc(hidden)]
pub use cpu::{Vectors, limit_vectors};

/// `x W^T`: a linear layer without bias.
///
/// # Shapes
/// x `[.., in]`, weight `[out, in]` (the layout of Hugging Face checkpoints) to `[.., out]`.
///
/// # Panics
/// When the inner dimensions differ.
pub fn linear<const N: usize>(x: Tensor<N>, weight: Tensor<2>) -> Tensor<N> {
    let (inner, expected) = (x.dims()[N - 1], weight.dims()[1]);
    assert_eq!(inner, expected, "rows of x have {inner} elements, rows of the weight {expected}");
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        return with_rows(x, weight.dims()[0], |x| flex::linear(x, weight));
    }
    composed::linear(x, weight)
}

/// Root mean square normalisation (Zhang and Sennrich, [arXiv 1910.07467]): `x / sqrt(mean(x^2) + epsilon) * weight`
/// along the last dimension.
///
/// # Shapes
/// x `[.., D]`, weight `[D]` to `[.., D]`.
///
/// # Panics
/// When the last dimension of x is not that of the weight.
///
/// [arXiv 1910.07467]: https://arxiv.org/abs/1910.07467
pub fn rms_norm<const N: usize>(x: Tensor<N>, weight: Tensor<1>, epsilon: f64) -> Tensor<N> {
    let (width, expected) = (x.dims()[N - 1], weight.dims()[0]);
    assert_eq!(width, expected, "rows of x have {width} elements, the weight {expected}");
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        return flex::rms_norm(x, weight, epsilon);
    }
    composed::rms_norm(x, weight, epsilon)
}

/// `silu(gate) * up`, the gated activation of the feed-forward part (Shazeer, [arXiv 2002.05202]), with
/// `silu(x) = x / (1 + e^-x)`.
///
/// # Panics
/// When the shapes differ.
///
/// [arXiv 2002.05202]: https://arxiv.org/abs/2002.05202
pub fn swiglu<const N: usize>(gate: Tensor<N>, up: Tensor<N>) -> Tensor<N> {
    assert_eq!(gate.dims(), up.dims(), "gate and up have one shape");
    #[cfg(feature = "flex")]
    if flex::takes(&gate) {
        return flex::swiglu(gate, up);
    }
    composed::swiglu(gate, up)
}

/// Rotary position encoding (Su et al., [arXiv 2104.09864]), the half-rotation kind that published checkpoints use:
/// dimension i is turned together with dimension i + d/2.
///
/// The angles are constants: cos and sin get no gradients.
///
/// # Shapes
/// x `[B, H, T, d]`; cos and sin `[B, 1, T, d/2]`, or `[1, 1, T, d/2]` for all of the batch; to `[B, H, T, d]`.
///
/// # Panics
/// When the shapes do not agree.
///
/// [arXiv 2104.09864]: https://arxiv.org/abs/2104.09864
pub fn rotate(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let [b, _, t, d] = x.dims();
    let [rows, heads, positions, half] = cos.dims();
    let agree = (rows == b || rows == 1) && heads == 1 && positions == t && 2 * half == d && cos.dims() == sin.dims();
    assert!(agree, "angles {:?} and {:?} do not fit x {:?}", cos.dims(), sin.dims(), x.dims());
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        return flex::rotate(x, cos, sin);
    }
    composed::rotate(x, cos, sin)
}

/// Causal self-attention with grouped heads: `softmax(q k^T / sqrt(d)) v`, where a position sees itself and what comes
/// before it.
///
/// Sequences that are padded on the right need nothing more: no real position sees the padding. Views are welcome:
/// `[B, T, H, d]` with two dimensions swapped is read as it is, and the output is such a view, so that
/// `out.swap_dims(1, 2).reshape([B, T, H * d])` copies nothing.
///
/// # Shapes
/// q `[B, H, T, d]`; k and v `[B, Hk, T, d]`, where Hk divides H and key/value head i serves the query heads from
/// i H / Hk on; to `[B, H, T, d]`.
///
/// # Panics
/// When the shapes do not agree.
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let [b, h, t, d] = q.dims();
    let hk = k.dims()[1];
    let agree = k.dims() == [b, hk, t, d] && v.dims() == k.dims() && hk > 0 && h % hk == 0;
    assert!(agree, "queries {:?} do not fit keys {:?} and values {:?}", q.dims(), k.dims(), v.dims());
    #[cfg(feature = "flex")]
    if flex::takes(&q) {
        return flex::causal_attention(q, k, v);
    }
    composed::causal_attention(q, k, v)
}

/// What one new token of each row attends to: the row's prompt and the row's own earlier tokens.
///
/// P prompts have B / P rows each; the rows of a prompt are adjacent.
#[derive(Debug, Clone)]
pub struct DecodeCache<'a> {
    /// Keys of the prompts, `[P, Hk, Tp, d]`, padded on the right.
    pub prompt_k: Tensor<4>,
    /// Values of the prompts, `[P, Hk, Tp, d]`.
    pub prompt_v: Tensor<4>,
    /// Tokens of each prompt, `[P]`.
    pub prompt_lengths: &'a [usize],
    /// Keys of the rows' own tokens, `[B, Hk, capacity, d]`.
    pub own_k: Tensor<4>,
    /// Values of the rows' own tokens, `[B, Hk, capacity, d]`.
    pub own_v: Tensor<4>,
    /// How many own tokens there are: what lies behind them in the buffers is not read.
    pub filled: usize,
}

/// Attention of one new token a row over a [`DecodeCache`], which holds the new token's key and value already.
///
/// For sampling: there are no gradients.
///
/// # Shapes
/// q `[B, H, 1, d]` to `[B, H, 1, d]`; Hk divides H.
///
/// # Panics
/// When the shapes do not agree, or lengths exceed the buffers.
pub fn decode_attention(q: Tensor<4>, cache: DecodeCache<'_>) -> Tensor<4> {
    check_cache(q.dims(), &cache);
    #[cfg(feature = "flex")]
    if flex::takes(&q) {
        return flex::decode_attention(q, cache);
    }
    composed::decode_attention(q, cache)
}

fn check_cache([b, h, t, d]: [usize; 4], cache: &DecodeCache<'_>) {
    let ([p, hk, tp, _], [_, _, capacity, _]) = (cache.prompt_k.dims(), cache.own_k.dims());
    assert!(t == 1 && p > 0 && b % p == 0 && hk > 0 && h % hk == 0, "{b} rows of {t} queries for {p} prompts");
    for (name, dims, expected) in [
        ("prompt_k", cache.prompt_k.dims(), [p, hk, tp, d]),
        ("prompt_v", cache.prompt_v.dims(), [p, hk, tp, d]),
        ("own_k", cache.own_k.dims(), [b, hk, capacity, d]),
        ("own_v", cache.own_v.dims(), [b, hk, capacity, d]),
    ] {
        assert_eq!(dims, expected, "the shape of {name}");
    }
    assert_eq!(cache.prompt_lengths.len(), p, "one length for every prompt");
    assert!(cache.prompt_lengths.iter().all(|length| *length <= tp), "prompts are at most {tp} tokens long");
    assert!(0 < cache.filled && cache.filled <= capacity, "{} tokens in a buffer for {capacity}", cache.filled);
}

/// Log-probabilities of target tokens under `softmax(hidden W^T / temperature)`, and the entropies of these
/// distributions, in nats.
///
/// The entropies carry no gradients.
///
/// # Shapes
/// hidden `[M, D]`, weight `[V, D]` (the output layer), targets `[M]`; to `([M], [M])`.
///
/// # Panics
/// When the shapes do not agree, the temperature is not positive, or a target is not below V.
pub fn token_log_probs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    temperature: f32,
) -> (Tensor<1>, Tensor<1>) {
    let ([m, d], [v, width], [n]) = (hidden.dims(), weight.dims(), targets.dims());
    assert!(m == n && d == width && v > 0, "hidden [{m}, {d}], weight [{v}, {width}] and targets [{n}] do not fit");
    assert!(temperature > 0.0, "the temperature must be positive, not {temperature}");
    #[cfg(feature = "flex")]
    if flex::takes(&hidden) {
        return flex::token_log_probs(hidden, weight, targets, temperature);
    }
    composed::token_log_probs(hidden, weight, targets, temperature)
}

/// As [`token_log_probs`], under the softmax over part of the vocabulary: `allowed[m]` for row m, among them its target.
///
/// Only the rows of `weight` that some `allowed[m]` names take part, U of them in all; `[M, U]` logits are made.
///
/// # Shapes
/// hidden `[M, D]`, weight `[V, D]`, targets `[M]`, allowed `[M]` sets of tokens below V; to `([M], [M])`.
///
/// # Panics
/// When the shapes do not agree, the temperature is not positive, or a target is not in its row's set.
pub fn token_log_probs_within(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    allowed: &[&[u32]],
    temperature: f32,
) -> (Tensor<1>, Tensor<1>) {
    let ([m, d], [_, width], [n]) = (hidden.dims(), weight.dims(), targets.dims());
    let fits = m == n && m == allowed.len() && d == width;
    assert!(fits, "hidden [{m}, {d}], {width} columns, {n} targets and {} sets do not fit", allowed.len());
    assert!(temperature > 0.0, "the temperature must be positive, not {temperature}");
    composed::token_log_probs_within(hidden, weight, targets, allowed, temperature)
}

/// Applies `f` to the rows of x along its last dimension, all in one matrix; `f` makes rows of `width` elements.
pub(crate) fn with_rows<const N: usize>(
    x: Tensor<N>,
    width: usize,
    f: impl FnOnce(Tensor<2>) -> Tensor<2>,
) -> Tensor<N> {
    let mut shape = x.shape();
    let inner = shape[N - 1];
    let y = f(x.reshape([shape.num_elements() / inner, inner]));
    shape[N - 1] = width;
    y.reshape(shape)
}
