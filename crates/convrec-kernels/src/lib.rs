//! The hot operations of a decoder-only language model and of a BERT encoder, on [burn] tensors.
//!
//! Composed from burn's own operations, these parts of a small model are slow on a CPU. Each
//! elementary step walks over memory again, and `exp` is scalar. The logits of a training batch
//! (tokens times vocabulary) fill memory only to be reduced to one number a token. Every operation
//! here therefore has two bodies:
//!
//! - a **composed** one, in module [`composed`]: a few lines of burn, for every device, with burn's
//!   own gradients. It defines the operation.
//! - a **fused** one, for f32 tensors on burn's `flex` device (feature `flex`), with or without
//!   autodiff: vector code with hand-written gradients, spread over rayon's threads.
//!
//! Callers do not choose: the functions at the root look at the device and the element type of
//! their first argument.
//!
//! | operation | what the fused body avoids |
//! |---|---|
//! | [`linear`] | packing transposed weights column by column; repeated reads of the weights when rows are few |
//! | [`rms_norm`], [`swiglu`], [`rotate`] | intermediate tensors, scalar `exp` |
//! | [`bias_gelu`] | scalar `erf`, which takes longer than the products around it |
//! | [`attention`] | padding; score matrices: scores live in blocks of 64 queries, later keys are skipped (Dao et al., [arXiv 2205.14135]) |
//! | [`token_log_probs`] | logits: they live in blocks and are computed once more for the gradients |
//! | [`decode_attention`] | slices and copies of the cache; a prompt is read once for all of its completions |
//! | [`AdamW::update`], [`sum_of_squares`] | a walk over memory for every term of the formula |
//! | [`PackedMatrix`] | half or three quarters of the memory traffic of weights that are not trained |
//! | [`logits_constrained`], [`token_log_probs_constrained`] | rows of the output matrix that no row asks for |
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
//! The fused bodies agree with the composed ones to the rounding of f32. They give the same bits
//! for the same input on the same machine with the same number of threads. Other machines may have
//! other vector widths, which add in another order. AVX-512 and AVX2 are used where the machine has
//! them, which is checked at run time.

mod adamw;
pub mod composed;
#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "flex")]
mod flex;
mod packed;
mod packing;
mod parts;

use burn::tensor::{Device, Int, Tensor};

pub use adamw::{AdamW, sum_of_squares};
pub use packed::{PackedMatrix, PackedType};
pub use packing::{Packing, SegmentId};
pub use parts::{AttentionPart, attention_part, attention_parts};

#[cfg(feature = "flex")]
#[doc(hidden)]
pub use cpu::{Vectors, limit_vectors};
#[cfg(feature = "flex")]
#[doc(hidden)]
pub use flex::only_composed;

/// Warns once, by the `log` crate, where operations on this device run on the composed bodies
/// although there are fused ones for the CPU. The composed bodies are several times as slow, with
/// the same results to rounding.
pub fn warn_if_composed(device: &Device) {
    static SAID: std::sync::Once = std::sync::Once::new();
    // A device of a backend that this crate does not depend on is only known by its name.
    let name = format!("{device:?}");
    let advice = match () {
        () if name.contains("Flex") && !cfg!(feature = "flex") => {
            "turn on the feature `flex` of convrec-kernels"
        }
        () if name.contains("NdArray") => "take `Device::flex()` and the feature `flex`",
        () => return,
    };
    SAID.call_once(|| {
        log::warn!("{name} runs without the fused kernels and is several times slower; {advice}");
    });
}

/// Whether operations on such a tensor run on the fused bodies, which make no logits and no
/// attention scores.
pub fn is_fused<const N: usize>(x: &Tensor<N>) -> bool {
    #[cfg(feature = "flex")]
    return flex::takes(x);
    #[cfg(not(feature = "flex"))]
    {
        let _ = x;
        false
    }
}

/// `x W^T`: a linear layer without bias.
///
/// # Shapes
/// x `[.., in]`, weight `[out, in]` (the layout of Hugging Face checkpoints) to `[.., out]`.
///
/// # Panics
/// When the inner dimensions differ.
pub fn linear<const N: usize>(x: Tensor<N>, weight: Tensor<2>) -> Tensor<N> {
    let (inner, expected) = (x.dims()[N - 1], weight.dims()[1]);
    assert_eq!(
        inner, expected,
        "rows of x have {inner} elements, rows of the weight {expected}"
    );
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        return with_rows(x, weight.dims()[0], |x| flex::linear(x, weight));
    }
    composed::linear(x, weight)
}

/// Root mean square normalisation (Zhang and Sennrich, [arXiv 1910.07467]): `x / sqrt(mean(x^2) +
/// epsilon) * weight` along the last dimension.
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
    assert_eq!(
        width, expected,
        "rows of x have {width} elements, the weight {expected}"
    );
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        return flex::rms_norm(x, weight, epsilon);
    }
    composed::rms_norm(x, weight, epsilon)
}

/// `silu(gate) * up`, the gated activation of the feed-forward part (Shazeer, [arXiv 2002.05202]),
/// with `silu(x) = x / (1 + e^-x)`.
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

/// `gelu(x + bias)`, the activation of BERT's feed-forward part (Hendrycks and Gimpel, [arXiv
/// 1606.08415]), with `gelu(x) = x P(X <= x)` for a normal X. The fused body has P to 1e-7.
///
/// There are no gradients on the CPU: it is for encoders that are not trained.
///
/// # Shapes
/// x `[M, D]`, bias `[D]` to `[M, D]`.
///
/// # Panics
/// When the last dimension of x is not that of the bias.
///
/// [arXiv 1606.08415]: https://arxiv.org/abs/1606.08415
pub fn bias_gelu(x: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    let (width, expected) = (x.dims()[1], bias.dims()[0]);
    assert_eq!(
        width, expected,
        "rows of x have {width} elements, the bias {expected}"
    );
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        return flex::bias_gelu(x, bias);
    }
    composed::bias_gelu(x, bias)
}

/// Rotary position encoding (Su et al., [arXiv 2104.09864]), the half-rotation kind that published
/// checkpoints use: dimension i is turned together with dimension i + d/2.
///
/// The angles are constants: cos and sin get no gradients.
///
/// # Shapes
/// x `[M, H, d]`; cos and sin `[M, d/2]`; to `[M, H, d]`.
///
/// # Panics
/// When the shapes do not agree.
///
/// [arXiv 2104.09864]: https://arxiv.org/abs/2104.09864
pub fn rotate(x: Tensor<3>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<3> {
    let ([m, _, d], [tokens, half]) = (x.dims(), cos.dims());
    let agree = tokens == m && 2 * half == d && cos.dims() == sin.dims();
    assert!(
        agree,
        "angles {:?} and {:?} do not fit x {:?}",
        cos.dims(),
        sin.dims(),
        x.dims()
    );
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        return flex::rotate(x, cos, sin);
    }
    composed::rotate(x, cos, sin)
}

/// Self-attention of a packed batch with grouped heads: `softmax(q k^T / sqrt(d)) v`, where a token
/// sees what its [`Packing`] says.
///
/// # Shapes
/// q `[M, H, d]`; k and v `[M, Hk, d]`; M tokens as in the packing; to `[M, H, d]`. Hk divides H,
/// and key/value head i serves the query heads from i H / Hk on.
///
/// # Panics
/// When the shapes do not agree.
pub fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, packing: &Packing) -> Tensor<3> {
    let ([m, h, d], hk) = (q.dims(), k.dims()[1]);
    let agree = k.dims() == [m, hk, d] && v.dims() == k.dims() && hk > 0 && h % hk == 0;
    assert!(
        agree,
        "queries {:?} do not fit keys {:?} and values {:?}",
        q.dims(),
        k.dims(),
        v.dims()
    );
    assert_eq!(
        m,
        packing.tokens(),
        "tokens in the batch and in its packing"
    );
    if m == 0 {
        return q;
    }
    #[cfg(feature = "flex")]
    if flex::takes(&q) {
        return flex::attention(q, k, v, packing);
    }
    composed::attention(q, k, v, packing)
}

/// Keys and values of what was decoded so far, in one pool of S places. Every token has a place of
/// its own; the tokens of a prompt have adjacent ones, and so have the tokens of a row.
#[derive(Debug, Clone)]
pub struct DecodeCache {
    /// Keys, `[S, Hk, d]`.
    pub k: Tensor<3>,
    /// Values, `[S, Hk, d]`.
    pub v: Tensor<3>,
    /// The number of tokens that a token sees, itself included, at least 1; none where it sees all.
    pub window: Option<usize>,
}

/// The part of a [`DecodeCache`] that the new tokens of one row attend to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeRow {
    /// The place of the first token of the row's prompt, which rows may share.
    pub prompt: usize,
    /// Tokens of that prompt.
    pub prompt_length: usize,
    /// The place of the row's own first token.
    pub own: usize,
    /// Own tokens in the cache, the new ones included.
    pub filled: usize,
    /// The number of new ones, at least one. They see the prompt and all own tokens up to
    /// themselves, as far as the window reaches.
    pub new: usize,
}

impl DecodeRow {
    /// Whether both rows go on from the same tokens.
    pub(crate) fn shares_prompt(&self, other: &Self) -> bool {
        (self.prompt, self.prompt_length) == (other.prompt, other.prompt_length)
    }
}

/// Attention of the new tokens of some rows over a [`DecodeCache`], which holds the new tokens'
/// keys and values already. Rows of a prompt should be adjacent: they then read its keys together.
///
/// There are no gradients: it is for sampling.
///
/// # Shapes
/// q `[M, H, d]`, the new tokens of all `rows` one row after the other, to `[M, H, d]`; Hk divides
/// H.
///
/// # Panics
/// When the shapes do not agree, or a row lies outside of the cache.
pub fn decode_attention(q: Tensor<3>, cache: &DecodeCache, rows: &[DecodeRow]) -> Tensor<3> {
    check_cache(q.dims(), cache, rows);
    if rows.is_empty() {
        return q;
    }
    #[cfg(feature = "flex")]
    if flex::takes(&q) {
        return flex::decode_attention(q, cache, rows);
    }
    composed::decode_attention(q, cache, rows)
}

fn check_cache([m, h, d]: [usize; 3], cache: &DecodeCache, rows: &[DecodeRow]) {
    let [places, hk, _] = cache.k.dims();
    assert!(
        hk > 0 && h % hk == 0,
        "{h} query heads for {hk} key/value heads"
    );
    assert_ne!(cache.window, Some(0), "a window holds a token at least");
    assert_eq!(
        rows.iter().map(|row| row.new).sum::<usize>(),
        m,
        "new tokens of the rows, and queries"
    );
    for (name, dims) in [("k", cache.k.dims()), ("v", cache.v.dims())] {
        assert_eq!(dims, [places, hk, d], "the shape of {name}");
    }
    for row in rows {
        let ends = [(row.prompt, row.prompt_length), (row.own, row.filled)];
        let fits = ends
            .iter()
            .all(|(first, length)| first.checked_add(*length).is_some_and(|end| end <= places));
        assert!(
            fits && 0 < row.new && row.new <= row.filled,
            "{row:?} in a cache of {places} places"
        );
    }
}

/// Log-probabilities of target tokens under `softmax(hidden W^T / temperature)`, and the entropies
/// of these distributions, in nats; both with gradients.
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
    assert!(
        m == n && d == width && v > 0,
        "hidden [{m}, {d}], weight [{v}, {width}] and targets [{n}] do not fit"
    );
    assert!(
        temperature > 0.0,
        "the temperature must be positive, not {temperature}"
    );
    if m == 0 {
        return (empty(&hidden), empty(&hidden));
    }
    #[cfg(feature = "flex")]
    if flex::takes(&hidden) {
        return flex::token_log_probs(hidden, weight, targets, temperature);
    }
    composed::token_log_probs(hidden, weight, targets, temperature)
}

/// Logits of part of the vocabulary: of `allowed[m]` for row m, one row after the other.
///
/// There are no gradients on the CPU: it is for sampling.
///
/// # Shapes
/// hidden `[M, D]`, weight `[V, D]`, allowed `[M]` sets of tokens below V, A tokens in all; to
/// `[A]`.
///
/// # Panics
/// When the shapes do not agree, or a token is not below V.
pub fn logits_constrained(hidden: Tensor<2>, weight: Tensor<2>, allowed: &[&[u32]]) -> Tensor<1> {
    check_allowed(&hidden, &weight, allowed);
    if allowed.is_empty() {
        return empty(&hidden);
    }
    #[cfg(feature = "flex")]
    if flex::takes(&hidden) {
        return flex::logits_constrained(hidden, weight, allowed);
    }
    composed::logits_constrained(hidden, weight, allowed)
}

/// Log-probabilities and entropies under the softmax over part of the vocabulary: `allowed[m]` for
/// row m, among them its target. Otherwise it is [`token_log_probs`].
///
/// `prior` is added to the logits before they are divided by the temperature: `prior[m]` has a
/// number for each of `allowed[m]`. It may be empty, and has no gradient.
///
/// Only the rows of `weight` that some `allowed[m]` names take part. The composed body makes `[M,
/// U]` logits, U the number of these rows; the fused one as many as there are allowed tokens.
///
/// # Shapes
/// hidden `[M, D]`, weight `[V, D]`, targets `[M]`, allowed `[M]` sets of tokens below V, prior as
/// allowed or `[0]`; to `([M], [M])`.
///
/// # Panics
/// When the shapes do not agree, the temperature is not positive, or a target is not in its row's
/// set.
pub fn token_log_probs_constrained(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    allowed: &[&[u32]],
    prior: &[&[f32]],
    temperature: f32,
) -> (Tensor<1>, Tensor<1>) {
    check_allowed(&hidden, &weight, allowed);
    let lengths = prior.iter().map(|logits| logits.len());
    assert!(
        prior.is_empty() || lengths.eq(allowed.iter().map(|tokens| tokens.len())),
        "a logit of the prior for every allowed token"
    );
    assert_eq!(targets.dims(), [allowed.len()], "one target for every row");
    assert!(
        temperature > 0.0,
        "the temperature must be positive, not {temperature}"
    );
    if allowed.is_empty() {
        return (empty(&hidden), empty(&hidden));
    }
    #[cfg(feature = "flex")]
    if flex::takes(&hidden) {
        let targets = target_places(targets, allowed);
        return flex::token_log_probs_constrained(
            hidden,
            weight,
            targets,
            allowed,
            prior,
            temperature,
        );
    }
    composed::token_log_probs_constrained(hidden, weight, targets, allowed, prior, temperature)
}

/// No numbers, on the device of x.
fn empty(x: &Tensor<2>) -> Tensor<1> {
    Tensor::zeros([0], &x.device())
}

fn check_allowed(hidden: &Tensor<2>, weight: &Tensor<2>, allowed: &[&[u32]]) {
    let ([m, d], [v, width]) = (hidden.dims(), weight.dims());
    let fits = m == allowed.len() && d == width;
    assert!(
        fits,
        "hidden [{m}, {d}], weight [{v}, {width}] and {} sets do not fit",
        allowed.len()
    );
    let known = allowed
        .iter()
        .all(|tokens| tokens.iter().all(|token| (*token as usize) < v));
    assert!(
        known,
        "an allowed token is outside of the vocabulary of {v}"
    );
}

/// The place of each target in its row's set.
fn target_places(targets: Tensor<1, Int>, allowed: &[&[u32]]) -> Vec<usize> {
    let place = |(row, target): (usize, i64)| {
        let place = allowed[row]
            .iter()
            .position(|token| i64::from(*token) == target);
        place.unwrap_or_else(|| panic!("target {target} of row {row} is not allowed there"))
    };
    targets
        .into_data()
        .iter::<i64>()
        .enumerate()
        .map(place)
        .collect()
}

/// Applies `f` to the rows of x along its last dimension, all in one matrix; `f` makes rows of
/// `width` elements.
pub(crate) fn with_rows<const N: usize>(
    x: Tensor<N>,
    width: usize,
    f: impl FnOnce(Tensor<2>) -> Tensor<2>,
) -> Tensor<N> {
    let mut shape = x.shape();
    let inner = shape[N - 1];
    if shape.num_elements() == 0 {
        // burn takes a 0 in a reshape to mean the old size.
        shape[N - 1] = width;
        return Tensor::zeros(shape, &x.device());
    }
    let y = f(x.reshape([shape.num_elements() / inner, inner]));
    shape[N - 1] = width;
    y.reshape(shape)
}
