//! The fused kernels as operations of burn's `flex` backend: burn calls [`Kernels`] through its
//! dispatcher, directly for plain tensors and through [`autodiff`] for tracked ones.

mod autodiff;
mod tensors;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::backend::flex::FlexTensor;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, DispatchDevice, Flex, backend_extension};
use burn::tensor::{DType, Int, Tensor};

use crate::cpu::{self, Attention, Cached, Direction, SparseHead};
use crate::{AdamW, DecodeCache, DecodeRow, Packing};
use tensors::{dense, head, heads, shape, tensor, values};

static COMPOSED: AtomicBool = AtomicBool::new(false);

/// Runs the composed bodies on all devices of this process (tests measure them without a GPU).
pub fn only_composed(only: bool) {
    COMPOSED.store(only, Ordering::Relaxed);
}

/// Whether the kernels of this module can take such a tensor.
pub(crate) fn takes<const N: usize>(tensor: &Tensor<N>) -> bool {
    let device = tensor.device();
    let on_flex = match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(inner) => matches!(**inner, DispatchDevice::Flex(_)),
        #[allow(
            unreachable_patterns,
            reason = "which other devices there are depends on burn's features"
        )]
        _ => false,
    };
    on_flex && tensor.dtype() == DType::F32 && !COMPOSED.load(Ordering::Relaxed)
}

/// x `[M, inner]`.
pub(crate) fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::linear(x.into_dispatch(), weight.into_dispatch()))
}

pub(crate) fn rms_norm<const N: usize>(x: Tensor<N>, weight: Tensor<1>, epsilon: f64) -> Tensor<N> {
    Tensor::from_dispatch(Dispatch::rms_norm(
        x.into_dispatch(),
        weight.into_dispatch(),
        epsilon as f32,
    ))
}

pub(crate) fn swiglu<const N: usize>(gate: Tensor<N>, up: Tensor<N>) -> Tensor<N> {
    Tensor::from_dispatch(Dispatch::swiglu(gate.into_dispatch(), up.into_dispatch()))
}

pub(crate) fn bias_gelu(x: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::bias_gelu(x.into_dispatch(), bias.into_dispatch()))
}

pub(crate) fn rotate(x: Tensor<3>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::rotate(
        x.into_dispatch(),
        cos.into_dispatch(),
        sin.into_dispatch(),
    ))
}

pub(crate) fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, packing: &Packing) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        packing,
    ))
}

pub(crate) fn decode_attention(q: Tensor<3>, cache: &DecodeCache, rows: &[DecodeRow]) -> Tensor<3> {
    let DecodeCache { k, v, window } = cache.clone();
    Tensor::from_dispatch(Dispatch::decode_attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        rows,
        window,
    ))
}

pub(crate) fn token_log_probs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    temperature: f32,
) -> (Tensor<1>, Tensor<1>) {
    let (hidden, weight, targets) = (
        hidden.into_dispatch(),
        weight.into_dispatch(),
        targets.into_dispatch(),
    );
    unstacked(Tensor::from_dispatch(Dispatch::token_log_probs(
        hidden,
        weight,
        targets,
        temperature,
    )))
}

/// The rows of `[2, M]`.
fn unstacked(both: Tensor<2>) -> (Tensor<1>, Tensor<1>) {
    let m = both.dims()[1];
    let row = |n: usize| both.clone().slice([n..n + 1, 0..m]).reshape([m]);
    (row(0), row(1))
}

pub(crate) fn logits_constrained(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    allowed: &[&[u32]],
) -> Tensor<1> {
    let (hidden, weight) = (hidden.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::logits_constrained(hidden, weight, owned(allowed)))
}

fn owned(allowed: &[&[u32]]) -> Arc<Vec<Vec<u32>>> {
    Arc::new(allowed.iter().map(|tokens| tokens.to_vec()).collect())
}

/// `targets` are places in the allowed tokens of their rows.
pub(crate) fn token_log_probs_constrained(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Vec<usize>,
    allowed: &[&[u32]],
    prior: &[&[f32]],
    temperature: f32,
) -> (Tensor<1>, Tensor<1>) {
    let (hidden, weight) = (hidden.into_dispatch(), weight.into_dispatch());
    let both = Dispatch::token_log_probs_constrained(
        hidden,
        weight,
        Arc::new(targets),
        owned(allowed),
        Arc::new(prior.iter().map(|logits| logits.to_vec()).collect()),
        temperature,
    );
    unstacked(Tensor::from_dispatch(both))
}

pub(crate) fn adamw<const N: usize>(
    weight: Tensor<N>,
    gradient: Tensor<N>,
    [first, second]: [Tensor<N>; 2],
    config: AdamW,
) -> (Tensor<N>, [Tensor<N>; 2]) {
    let (weight, first, second) = Dispatch::adamw(
        weight.into_dispatch(),
        gradient.into_dispatch(),
        first.into_dispatch(),
        second.into_dispatch(),
        config,
    );
    (
        Tensor::from_dispatch(weight),
        [Tensor::from_dispatch(first), Tensor::from_dispatch(second)],
    )
}

pub(crate) fn sum_of_squares<const N: usize>(x: Tensor<N>) -> f64 {
    Dispatch::sum_of_squares(x.into_dispatch())
}

/// The operations of the crate's public functions, on a backend's own tensors.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait Kernels: Backend {
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f32)
    -> FloatTensor<Self>;

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;

    fn bias_gelu(x: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;

    fn rotate(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        packing: &Packing,
    ) -> FloatTensor<Self>;

    fn decode_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rows: &[DecodeRow],
        window: Option<usize>,
    ) -> FloatTensor<Self>;

    /// Log-probabilities and entropies, `[2, M]`: an operation under autodiff has one output.
    fn token_log_probs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f32,
    ) -> FloatTensor<Self>;

    fn adamw(
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        config: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    fn sum_of_squares(x: FloatTensor<Self>) -> f64;

    fn logits_constrained(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        allowed: Arc<Vec<Vec<u32>>>,
    ) -> FloatTensor<Self>;

    fn token_log_probs_constrained(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: Arc<Vec<usize>>,
        allowed: Arc<Vec<Vec<u32>>>,
        prior: Arc<Vec<Vec<f32>>>,
        temperature: f32,
    ) -> FloatTensor<Self>;
}

impl Kernels for Flex {
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, weight) = (dense(x), dense(weight));
        let [rows, out, inner] = [shape(&x)[0], shape(&weight)[0], shape(&x)[1]];
        tensor(cpu::linear(values(&x), values(&weight), inner), [rows, out])
    }

    fn rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let (x, weight) = (dense(x), dense(weight));
        tensor(
            cpu::rms_norm(values(&x), values(&weight), epsilon),
            shape(&x),
        )
    }

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (gate, up) = (dense(gate), dense(up));
        tensor(cpu::swiglu(values(&gate), values(&up)), shape(&gate))
    }

    fn bias_gelu(x: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, bias) = (dense(x), dense(bias));
        tensor(cpu::bias_gelu(values(&x), values(&bias)), shape(&x))
    }

    fn rotate(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (x, cos, sin) = (dense(x), dense(cos), dense(sin));
        tensor(
            cpu::rotate(heads(&x), values(&cos), values(&sin), Direction::Forth),
            shape(&x),
        )
    }

    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        packing: &Packing,
    ) -> FloatTensor<Self> {
        let [q, k, v] = [q, k, v].map(dense);
        let (out, _) = Attention {
            q: heads(&q),
            k: heads(&k),
            v: heads(&v),
            packing,
        }
        .forward();
        tensor(out, shape(&q))
    }

    fn decode_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rows: &[DecodeRow],
        window: Option<usize>,
    ) -> FloatTensor<Self> {
        let [q, k, v] = [q, k, v].map(dense);
        let cached = Cached {
            k: heads(&k),
            v: heads(&v),
            rows,
            window,
        };
        tensor(cached.attend(heads(&q)), shape(&q))
    }

    fn token_log_probs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f32,
    ) -> FloatTensor<Self> {
        let (hidden, weight) = (dense(hidden), dense(weight));
        let targets = tensors::indices(targets);
        let result = head(&hidden, &weight, &targets, temperature).log_probs();
        stacked(result.log_probs, &result.entropies)
    }

    fn adamw(
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        config: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let gradient = dense(gradient);
        let [mut weight, mut first, mut second] = [weight, first, second].map(dense);
        let moments = [
            tensors::values_mut(&mut first),
            tensors::values_mut(&mut second),
        ];
        cpu::adamw(
            tensors::values_mut(&mut weight),
            values(&gradient),
            moments,
            &config,
        );
        (weight, first, second)
    }

    fn sum_of_squares(x: FloatTensor<Self>) -> f64 {
        cpu::sum_of_squares(values(&dense(x)))
    }

    fn logits_constrained(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        allowed: Arc<Vec<Vec<u32>>>,
    ) -> FloatTensor<Self> {
        let (hidden, weight) = (dense(hidden), dense(weight));
        let logits = sparse_head(&hidden, &weight, &allowed, &[], 1.0)
            .logits()
            .concat();
        let n = logits.len();
        tensor(logits, [n])
    }

    fn token_log_probs_constrained(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: Arc<Vec<usize>>,
        allowed: Arc<Vec<Vec<u32>>>,
        prior: Arc<Vec<Vec<f32>>>,
        temperature: f32,
    ) -> FloatTensor<Self> {
        let (hidden, weight) = (dense(hidden), dense(weight));
        let result =
            sparse_head(&hidden, &weight, &allowed, &prior, temperature).log_probs(&targets);
        stacked(result.log_probs, &result.entropies)
    }
}

/// `[2, M]`.
fn stacked(mut log_probs: Vec<f32>, entropies: &[f32]) -> FlexTensor {
    let m = entropies.len();
    log_probs.extend(entropies);
    tensor(log_probs, [2, m])
}

/// The arguments of the sparse head. Both tensors are dense.
fn sparse_head<'a>(
    hidden: &'a FlexTensor,
    weight: &'a FlexTensor,
    allowed: &'a [Vec<u32>],
    prior: &'a [Vec<f32>],
    temperature: f32,
) -> SparseHead<'a> {
    SparseHead {
        hidden: values(hidden),
        weight: values(weight),
        width: shape(weight)[1],
        allowed,
        prior,
        temperature,
    }
}
