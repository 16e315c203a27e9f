//! The operations in ordinary burn operations: they run on every device, with burn's own gradients, and say what the
//! fused kernels must compute.

use burn::tensor::{Int, Tensor, activation};

/// See [`crate::linear`].
pub fn linear<const N: usize>(x: Tensor<N>, weight: Tensor<2>) -> Tensor<N> {
    crate::with_rows(x, weight.dims()[0], |x| x.matmul(weight.transpose()))
}

/// See [`crate::rms_norm`].
pub fn rms_norm<const N: usize>(x: Tensor<N>, weight: Tensor<1>, epsilon: f64) -> Tensor<N> {
    let scale = (x.clone().square().mean_dim(N - 1) + epsilon).sqrt().recip();
    x * scale * weight.unsqueeze()
}

/// See [`crate::swiglu`].
pub fn swiglu<const N: usize>(gate: Tensor<N>, up: Tensor<N>) -> Tensor<N> {
    activation::silu(gate) * up
}

/// See [`crate::token_log_probs`].
pub fn token_log_probs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    temperature: f32,
) -> (Tensor<1>, Tensor<1>) {
    let logits = linear(hidden, weight).div_scalar(temperature); // [M, V]
    let all = activation::log_softmax(logits, 1);
    let entropies = all.clone().detach();
    let entropies = (entropies.clone().exp() * entropies).sum_dim(1).neg();
    (all.gather(1, targets.unsqueeze_dim(1)).squeeze_dim(1), entropies.squeeze_dim(1))
}
