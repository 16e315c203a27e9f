//! Gradient checkpointing: the backward pass of a policy that keeps nothing of its blocks but their inputs (Chen et al.,
//! "Training deep nets with sublinear memory cost", arXiv 1604.06174).

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Int, Tensor};
use convrec_kernels::Packing;

use crate::decoder::{Pass, Policy, Sight};

/// The way back from log-probabilities to the weights.
///
/// A policy with gradient checkpointing ([`Policy::with_gradient_checkpointing`]) computes each block once more on the
/// way, so that the activations of one block exist at a time; for any other this is `loss.backward()`.
pub struct Tape(Option<Kept>);

struct Kept {
    ids: Tensor<1, Int>,
    packing: Packing,
    /// Of each block, `[M, D]`, without autodiff.
    inputs: Vec<Tensor<2>>,
    /// What the last block gave, `[M, D]`: where the tape of the loss begins.
    last: Tensor<2>,
}

impl Tape {
    /// Where nothing was computed.
    pub(crate) fn empty() -> Self {
        Self(None)
    }

    /// The gradients of a loss of [`TokenLogProbs::log_probs`](crate::TokenLogProbs), of all weights of the policy that
    /// computed them. None where the loss depends on no weight.
    pub fn backward(self, loss: Tensor<1>, policy: &Policy) -> GradientsParams {
        if !loss.is_tracked() {
            return GradientsParams::new(); // of tokens without a choice only
        }
        let gradients = loss.backward();
        let Some(Kept { ids, packing, mut inputs, last }) = self.0 else {
            return GradientsParams::from_grads(gradients, policy);
        };
        let slope = last.grad(&gradients);
        let mut sum = GradientsAccumulator::new();
        sum.accumulate(policy, GradientsParams::from_grads(gradients, policy));
        // Without a slope the loss depends on no hidden state.
        let Some(mut slope) = slope else { return sum.grads() };
        let rotation = policy.frequencies().rotation(&packing.positions(), &policy.device());
        for layer in (0..inputs.len()).rev() {
            let input = inputs.pop().expect("one for each layer").autodiff().require_grad();
            let mut pass = Pass { rotation: rotation.clone(), sight: Sight::Packed(&packing) };
            let output = policy.block(layer, input.clone(), &mut pass);
            let gradients = (output * slope.autodiff()).sum().backward();
            slope = input.grad(&gradients).expect("a block depends on its input");
            sum.accumulate(policy, GradientsParams::from_grads(gradients, policy));
        }
        let gradients = (policy.embed(ids) * slope.autodiff()).sum().backward();
        sum.accumulate(policy, GradientsParams::from_grads(gradients, policy));
        sum.grads()
    }
}

impl Policy {
    /// Hidden states of a packed batch and the way back, as the policy is set.
    pub(crate) fn hidden_taped(&self, ids: Tensor<1, Int>, packing: &Packing) -> (Tensor<2>, Tape) {
        if !self.checkpoints() {
            return (self.hidden_packed(ids, packing), Tape(None));
        }
        let frozen = self.valid();
        let plain = ids.clone().inner();
        let rotation = frozen.frequencies().rotation(&packing.positions(), &plain.device());
        let mut pass = Pass { rotation, sight: Sight::Packed(packing) };
        let mut inputs = vec![];
        let mut x = frozen.embed(plain);
        for layer in 0..self.config().num_hidden_layers {
            inputs.push(x.clone());
            x = frozen.block(layer, x, &mut pass);
        }
        let last = x.autodiff().require_grad();
        let hidden = self.normalise(last.clone());
        (hidden, Tape(Some(Kept { ids, packing: packing.clone(), inputs, last })))
    }
}
