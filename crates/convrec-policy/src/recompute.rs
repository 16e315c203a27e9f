//! Gradient checkpointing: the backward pass of a policy that keeps nothing of its blocks but their inputs, and no logits
//! (Chen et al., "Training deep nets with sublinear memory cost", arXiv 1604.06174).

use std::ops::Range;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Int, Tensor};
use convrec_kernels::Packing;

use crate::decoder::{Pass, Policy, Sight, indices};

/// The way back from log-probabilities to the weights.
///
/// A policy with gradient checkpointing ([`Policy::with_gradient_checkpointing`]) computes each block, and the logits of
/// a part of the places at a time, once more on the way; for any other this is `loss.backward()`.
pub struct Tape(Option<Kept>);

/// What the head computes: log-probabilities and entropies of `targets` `[M]`, each read from one hidden state.
pub(crate) struct Head {
    /// Which hidden states, `[M]`.
    pub(crate) read: Vec<usize>,
    pub(crate) targets: Vec<usize>,
    /// Of each place, the tokens that were allowed there, under a constraint.
    pub(crate) allowed: Option<Vec<Vec<u32>>>,
    pub(crate) temperature: f32,
}

struct Kept {
    ids: Tensor<1, Int>,
    packing: Packing,
    /// Of each block, and what the last one gave: `[tokens, D]`, without autodiff.
    inputs: Vec<Tensor<2>>,
    head: Head,
    /// What the head gave, `[M]`: where the tape of the loss begins.
    log_probs: Tensor<1>,
}

impl Head {
    /// Of some places, from their hidden states.
    fn part(&self, policy: &Policy, hidden: Tensor<2>, places: Range<usize>) -> (Tensor<1>, Tensor<1>) {
        let (weight, device) = (policy.output_matrix(), hidden.device());
        let targets = indices(self.targets[places.clone()].iter().copied(), &device);
        match &self.allowed {
            None => convrec_kernels::token_log_probs(hidden, weight, targets, self.temperature),
            Some(allowed) => {
                let allowed: Vec<&[u32]> = allowed[places].iter().map(Vec::as_slice).collect();
                convrec_kernels::token_log_probs_within(hidden, weight, targets, &allowed, self.temperature)
            }
        }
    }

    fn read(&self, hidden: Tensor<2>, places: Range<usize>) -> Tensor<2> {
        let device = hidden.device();
        hidden.select(0, indices(self.read[places].iter().copied(), &device))
    }

    /// Places at a time, so that their logits stay below 2^26 numbers.
    fn parts(&self, policy: &Policy) -> impl DoubleEndedIterator<Item = Range<usize>> + use<> {
        let (all, size) = (self.targets.len(), ((1 << 26) / policy.config().vocab_size).max(1));
        (0..all).step_by(size).map(move |first| first..(first + size).min(all))
    }
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
        let Some(Kept { ids, packing, mut inputs, head, log_probs }) = self.0 else {
            return GradientsParams::from_grads(gradients, policy);
        };
        let Some(of_log_probs) = log_probs.grad(&gradients) else { return GradientsParams::new() };
        let mut sum = GradientsAccumulator::new();
        let last = inputs.pop().expect("what the last block gave");
        let mut slope = last.zeros_like(); // [tokens, D]
        for places in head.parts(policy) {
            let input = last.clone().autodiff().require_grad();
            let hidden = head.read(policy.normalise(input.clone()), places.clone());
            let (log_probs, _) = head.part(policy, hidden, places.clone());
            let of_part = of_log_probs.clone().slice([places]).autodiff();
            let gradients = (log_probs * of_part).sum().backward();
            slope = slope + input.grad(&gradients).expect("log-probabilities depend on the hidden states");
            sum.accumulate(policy, GradientsParams::from_grads(gradients, policy));
        }
        let rotation = policy.frequencies().rotation(&packing.positions(), &policy.device());
        for (layer, input) in inputs.into_iter().enumerate().rev() {
            let input = input.autodiff().require_grad();
            let mut pass = Pass { rotation: rotation.clone(), sight: Sight::Packed(&packing) };
            let output = policy.block(layer, input.clone(), &mut pass);
            let gradients = (output * slope.autodiff()).sum().backward();
            slope = input.grad(&gradients).expect("a block depends on its input");
            sum.accumulate(policy, GradientsParams::from_grads(gradients, policy));
        }
        let embedded = policy.embed(ids);
        if embedded.is_tracked() {
            let gradients = (embedded * slope.autodiff()).sum().backward();
            sum.accumulate(policy, GradientsParams::from_grads(gradients, policy));
        }
        sum.grads()
    }
}

impl Policy {
    /// Log-probabilities and entropies `[M]` of what `head` asks of a packed batch, and the way back.
    pub(crate) fn compute(&self, ids: Tensor<1, Int>, packing: Packing, head: Head) -> (Tensor<1>, Tensor<1>, Tape) {
        let all = 0..head.targets.len();
        if !self.checkpoints() {
            let hidden = head.read(self.hidden_packed(ids, &packing), all.clone());
            let (log_probs, entropies) = head.part(self, hidden, all);
            return (log_probs, entropies, Tape(None));
        }
        let frozen = self.valid();
        let plain = ids.clone().inner();
        let rotation = frozen.frequencies().rotation(&packing.positions(), &plain.device());
        let mut pass = Pass { rotation, sight: Sight::Packed(&packing) };
        let mut inputs = vec![frozen.embed(plain)];
        for layer in 0..self.config().num_hidden_layers {
            inputs.push(frozen.block(layer, inputs[layer].clone(), &mut pass));
        }
        let hidden = frozen.normalise(inputs[inputs.len() - 1].clone());
        let parts =
            head.parts(self).map(|places| head.part(&frozen, head.read(hidden.clone(), places.clone()), places));
        let (log_probs, entropies): (Vec<_>, Vec<_>) = parts.unzip();
        let log_probs = Tensor::cat(log_probs, 0).autodiff().require_grad();
        let tape = Tape(Some(Kept { ids, packing, inputs, head, log_probs: log_probs.clone() }));
        (log_probs, Tensor::cat(entropies, 0).autodiff(), tape)
    }
}
