//! The fused kernels as operations of burn's `flex` backend: burn calls [`Kernels`] through its dispatcher, directly
//! for plain tensors and through [`autodiff`] for tracked ones.

mod autodiff;
mod tensors;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, DispatchDevice, Flex, backend_extension};
use burn::tensor::{DType, Int, Tensor};

use crate::cpu;
use tensors::{dense, head, shape, tensor, values};

/// Whether the kernels of this module can take such a tensor.
pub(crate) fn takes<const N: usize>(tensor: &Tensor<N>) -> bool {
    let device = tensor.device();
    let on_flex = match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(inner) => matches!(**inner, DispatchDevice::Flex(_)),
        #[allow(unreachable_patterns, reason = "which other devices there are depends on burn's features")]
        _ => false,
    };
    on_flex && tensor.dtype() == DType::F32
}

/// x `[M, inner]`.
pub(crate) fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::linear(x.into_dispatch(), weight.into_dispatch()))
}

pub(crate) fn rms_norm<const N: usize>(x: Tensor<N>, weight: Tensor<1>, epsilon: f64) -> Tensor<N> {
    Tensor::from_dispatch(Dispatch::rms_norm(x.into_dispatch(), weight.into_dispatch(), epsilon as f32))
}

pub(crate) fn swiglu<const N: usize>(gate: Tensor<N>, up: Tensor<N>) -> Tensor<N> {
    Tensor::from_dispatch(Dispatch::swiglu(gate.into_dispatch(), up.into_dispatch()))
}

pub(crate) fn token_log_probs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    temperature: f32,
) -> (Tensor<1>, Tensor<1>) {
    let (hidden, weight, targets) = (hidden.into_dispatch(), weight.into_dispatch(), targets.into_dispatch());
    let (log_probs, entropies) = Dispatch::token_log_probs(hidden, weight, targets, temperature);
    (Tensor::from_dispatch(log_probs), Tensor::from_dispatch(entropies))
}

/// What the crate's public functions do, on a backend's own tensors.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait Kernels: Backend {
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self>;

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;

    fn token_log_probs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl Kernels for Flex {
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, weight) = (dense(x), dense(weight));
        let [rows, out, inner] = [shape(&x)[0], shape(&weight)[0], shape(&x)[1]];
        tensor(cpu::linear(values(&x), values(&weight), inner), [rows, out])
    }

    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        let (x, weight) = (dense(x), dense(weight));
        tensor(cpu::rms_norm(values(&x), values(&weight), epsilon), shape(&x))
    }

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (gate, up) = (dense(gate), dense(up));
        tensor(cpu::swiglu(values(&gate), values(&up)), shape(&gate))
    }

    fn token_log_probs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (hidden, weight) = (dense(hidden), dense(weight));
        let targets = tensors::indices(targets);
        let result = head(&hidden, &weight, &targets, temperature).log_probs();
        (tensor(result.log_probs, [targets.len()]), tensor(result.entropies, [targets.len()]))
    }
}
