//! The tensors that are kept for the backward pass. The logits of a large batch are not kept: they
//! are computed for some places at a time, and again in the backward pass. With gradient
//! checkpointing only the inputs of the blocks are kept (Chen et al., "Training deep nets with
//! sublinear memory cost", arXiv 1604.06174).

use std::ops::Range;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Int, Tensor};
use convrec_kernels::Packing;

use crate::block::{Pass, Sight};
use crate::block_backward::block_backward;
use crate::decoder::{Policy, indices};

/// The backward pass from log-probabilities to the weights.
///
/// A policy with gradient checkpointing ([`Policy::with_gradient_checkpointing`]) computes each
/// block once more in it. Any policy computes its logits once more where there are many. Otherwise
/// this is `loss.backward()`.
#[derive(Debug)]
pub struct Tape(Option<Kept>);

/// The work of the head: log-probabilities and entropies of `targets` `[M]`, each read from one
/// hidden state.
#[derive(Debug)]
pub(crate) struct Head {
    /// The places of the hidden states, `[M]`.
    pub(crate) read: Vec<usize>,
    pub(crate) targets: Vec<usize>,
    /// Under a constraint, the tokens that were allowed at each place.
    pub(crate) allowed: Option<Vec<Vec<u32>>>,
    /// What is added to the logits of the tokens allowed at each place; empty where nothing is.
    pub(crate) prior: Vec<Vec<f32>>,
    pub(crate) temperature: f32,
}

#[derive(Debug)]
struct Kept {
    body: Body,
    head: Head,
    /// The outputs of the head, `[M]` each. The tape of the loss begins at them.
    log_probs: Tensor<1>,
    entropies: Tensor<1>,
}

/// The origin of the head's hidden states, before the final norm.
#[derive(Debug)]
enum Body {
    /// The blocks' own tape: `[tokens, D]`.
    Taped(Tensor<2>),
    /// The inputs of the blocks and the output of the last one, `[tokens, D]`, without autodiff.
    Inputs {
        ids: Tensor<1, Int>,
        packing: Packing,
        inputs: Vec<Tensor<2>>,
    },
}

impl Head {
    /// The numbers at some places, from their hidden states.
    fn part(
        &self,
        policy: &Policy,
        hidden: Tensor<2>,
        places: Range<usize>,
    ) -> (Tensor<1>, Tensor<1>) {
        let (weight, device) = (policy.output_matrix(), hidden.device());
        let targets = indices(self.targets[places.clone()].iter().copied(), &device);
        match &self.allowed {
            None => convrec_kernels::token_log_probs(hidden, weight, targets, self.temperature),
            Some(allowed) => {
                let prior = self.prior.get(places.clone()).unwrap_or_default();
                let prior: Vec<&[f32]> = prior.iter().map(Vec::as_slice).collect();
                let allowed: Vec<&[u32]> = allowed[places].iter().map(Vec::as_slice).collect();
                convrec_kernels::token_log_probs_constrained(
                    hidden,
                    weight,
                    targets,
                    &allowed,
                    &prior,
                    self.temperature,
                )
            }
        }
    }

    /// The numbers at all places, part by part, from all hidden states.
    fn all(
        &self,
        policy: &Policy,
        hidden: &Tensor<2>,
        parts: Vec<Range<usize>>,
    ) -> (Tensor<1>, Tensor<1>) {
        let of_part = |places: Range<usize>| {
            self.part(policy, self.read(hidden.clone(), places.clone()), places)
        };
        let (log_probs, entropies): (Vec<_>, Vec<_>) = parts.into_iter().map(of_part).unzip();
        (Tensor::cat(log_probs, 0), Tensor::cat(entropies, 0))
    }

    fn read(&self, hidden: Tensor<2>, places: Range<usize>) -> Tensor<2> {
        let device = hidden.device();
        hidden.select(0, indices(self.read[places].iter().copied(), &device))
    }

    /// Ranges of places, so that no more than 2^26 logits exist at once. There is one range where
    /// the kernels make no logits.
    fn parts(&self, policy: &Policy) -> Vec<Range<usize>> {
        let all = self.targets.len();
        let size = if convrec_kernels::is_fused(&policy.output_matrix()) {
            all
        } else {
            (1 << 26) / self.columns(policy)
        };
        (0..all)
            .step_by(size.max(1))
            .map(|first| first..(first + size.max(1)).min(all))
            .collect()
    }

    /// The number of logits of a place.
    fn columns(&self, policy: &Policy) -> usize {
        let Some(allowed) = &self.allowed else {
            return policy.config().vocab_size;
        };
        let mut union = allowed.concat();
        union.sort_unstable();
        union.dedup();
        union.len().max(1)
    }
}

impl Tape {
    /// The tape of a pass that computed nothing.
    pub(crate) fn empty() -> Self {
        Self(None)
    }

    /// The gradients of a loss of [`TokenLogProbs`](crate::TokenLogProbs), of all weights of the
    /// policy that computed them. None where the loss depends on no weight.
    pub fn backward(self, loss: Tensor<1>, policy: &Policy) -> GradientsParams {
        if !loss.is_tracked() {
            return GradientsParams::new(); // of tokens without a choice only
        }
        let gradients = loss.backward();
        let Some(Kept {
            body,
            head,
            log_probs,
            entropies,
        }) = self.0
        else {
            return GradientsParams::from_grads(gradients, policy);
        };
        // The tape of the loss ends at the head's outputs. Their gradients go through the head and
        // the blocks on tapes of their own: a term `values * gradient` has the gradient as its
        // slope.
        let of_head = [log_probs.grad(&gradients), entropies.grad(&gradients)];
        let mut sum = GradientsAccumulator::new();
        let last = match &body {
            Body::Taped(last) => last.clone().inner(),
            Body::Inputs { inputs, .. } => inputs[inputs.len() - 1].clone(),
        };
        // The gradient of the loss by the output of the last block, summed over the parts of the
        // head.
        let mut slope = last.zeros_like(); // [tokens, D]
        for places in head.parts(policy) {
            let input = last.clone().autodiff().require_grad();
            let hidden = head.read(policy.normalise(input.clone()), places.clone());
            let (log_probs, entropies) = head.part(policy, hidden, places.clone());
            let terms =
                [log_probs, entropies]
                    .into_iter()
                    .zip(&of_head)
                    .filter_map(|(values, slopes)| {
                        Some((values * slopes.clone()?.slice([places.clone()]).autodiff()).sum())
                    });
            let Some(loss) = terms.reduce(|a, b| a + b) else {
                return GradientsParams::new();
            };
            let gradients = loss.backward();
            slope = slope
                + input
                    .grad(&gradients)
                    .expect("log-probabilities depend on the hidden states");
            sum.accumulate(policy, GradientsParams::from_grads(gradients, policy));
        }
        let (ids, packing, mut inputs) = match body {
            // The blocks still have their tape, so one backward pass finishes.
            Body::Taped(last) => {
                let gradients = (last * slope.autodiff()).sum().backward();
                sum.accumulate(policy, GradientsParams::from_grads(gradients, policy));
                return sum.grads();
            }
            Body::Inputs {
                ids,
                packing,
                inputs,
            } => (ids, packing, inputs),
        };
        // The blocks run once more, from the last to the first. Each tape is dropped before the
        // next one begins, so that only one block's activations live at a time.
        inputs.pop(); // what the last block gave
        let rotation = policy
            .frequencies()
            .rotation(&packing.positions(), &policy.device());
        for (layer, input) in inputs.into_iter().enumerate().rev() {
            slope = block_backward(policy, layer, input, &rotation, &packing, slope, &mut sum);
        }
        // Frozen embeddings, as under an adapter, have no gradient to add.
        let embedded = policy.embed(ids);
        if embedded.is_tracked() {
            let gradients = (embedded * slope.autodiff()).sum().backward();
            sum.accumulate(policy, GradientsParams::from_grads(gradients, policy));
        }
        sum.grads()
    }
}

impl Policy {
    /// Log-probabilities and entropies `[M]` of a packed batch as `head` asks for them, and their
    /// tape.
    pub(crate) fn compute(
        &self,
        ids: Tensor<1, Int>,
        packing: Packing,
        head: Head,
    ) -> (Tensor<1>, Tensor<1>, Tape) {
        let parts = head.parts(self);
        if !self.device().is_autodiff() {
            let hidden = self.hidden_packed(ids, &packing);
            let (log_probs, entropies) = head.all(self, &hidden, parts);
            return (log_probs, entropies, Tape(None));
        }
        // Everything fits, so burn's own tape does all of it.
        if !self.checkpoints() && parts.len() == 1 {
            let all = 0..head.targets.len();
            let hidden = head.read(self.hidden_packed(ids, &packing), all.clone());
            let (log_probs, entropies) = head.part(self, hidden, all);
            return (log_probs, entropies, Tape(None));
        }
        // The head runs without a tape, as its logits must not be kept. With checkpointing the
        // blocks do too, and only their inputs are kept.
        let frozen = self.valid(); // shares the weights
        let (body, last) = if self.checkpoints() {
            let plain = ids.clone().inner();
            let rotation = frozen
                .frequencies()
                .rotation(&packing.positions(), &plain.device());
            let mut pass = Pass {
                rotation,
                sight: Sight::Packed(&packing),
            };
            let mut inputs = vec![frozen.embed(plain)];
            for layer in 0..self.config().num_hidden_layers {
                inputs.push(frozen.block(layer, inputs[layer].clone(), &mut pass));
            }
            let last = inputs[inputs.len() - 1].clone();
            (
                Body::Inputs {
                    ids,
                    packing,
                    inputs,
                },
                last,
            )
        } else {
            let rotation = self
                .frequencies()
                .rotation(&packing.positions(), &ids.device());
            let last = self.blocks(
                ids,
                Pass {
                    rotation,
                    sight: Sight::Packed(&packing),
                },
            );
            (Body::Taped(last.clone()), last.inner())
        };
        let (log_probs, entropies) = head.all(&frozen, &frozen.normalise(last), parts);
        let log_probs = log_probs.autodiff().require_grad();
        let entropies = entropies.autodiff().require_grad();
        let tape = Tape(Some(Kept {
            body,
            head,
            log_probs: log_probs.clone(),
            entropies: entropies.clone(),
        }));
        (log_probs, entropies, tape)
    }
}
