//! The kernels under autodiff: each forward pass keeps what its hand-written backward pass needs.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Flex};
use burn::tensor::Shape;

use super::tensors::{dense, head, heads, indices, shape, tensor, values};
use super::{Kernels, sparse_head, stacked};
use crate::cpu::{self, Attention, Direction, Slopes};
use crate::{AdamW, DecodeRow, Packing};

type Tracked = FloatTensor<Autodiff<Flex>>;

/// Runs a forward pass: `forward` gives the output and, for tracked tensors, what `step` will need.
fn run<C, S, const N: usize>(
    step: S,
    inputs: [&Tracked; N],
    forward: impl FnOnce() -> (FlexTensor, S::State),
) -> Tracked
where
    C: CheckpointStrategy,
    S: Backward<Flex, N>,
{
    let (output, state) = forward();
    match step
        .prepare::<C>(inputs.map(|input| input.node()))
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prepared) => prepared.finish(state, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    }
}

/// The gradient of a step's output.
fn output_gradient<S, const N: usize>(ops: &Ops<S, N>, gradients: &mut Gradients) -> FlexTensor {
    dense(gradients.consume::<Flex>(&ops.node))
}

/// Passes on the gradients of a step's inputs to those that are tracked.
fn pass_on<S, const N: usize>(
    ops: Ops<S, N>,
    gradients: &mut Gradients,
    of_inputs: [FlexTensor; N],
) {
    for (parent, gradient) in ops.parents.into_iter().zip(of_inputs) {
        if let Some(parent) = parent {
            gradients.register::<Flex>(parent.id, gradient);
        }
    }
}

/// As [`pass_on`], of a head, whose weight's gradient is empty where the weight is frozen.
fn pass_on_head<S>(
    ops: Ops<S, 2>,
    gradients: &mut Gradients,
    d_hidden: Vec<f32>,
    d_weight: Vec<f32>,
    [hidden, weight]: [Shape; 2],
) {
    let [of_hidden, of_weight] = ops.parents;
    if let Some(parent) = of_hidden {
        gradients.register::<Flex>(parent.id, tensor(d_hidden, hidden));
    }
    if let Some(parent) = of_weight {
        gradients.register::<Flex>(parent.id, tensor(d_weight, weight));
    }
}

impl<C: CheckpointStrategy> Kernels for Autodiff<Flex, C> {
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        run::<C, _, 2>(Linear, [&x, &weight], || {
            let state = (
                dense(x.primitive().clone()),
                dense(weight.primitive().clone()),
            );
            (Flex::linear(state.0.clone(), state.1.clone()), state)
        })
    }

    fn rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        run::<C, _, 2>(RmsNorm, [&x, &weight], || {
            let state = (
                dense(x.primitive().clone()),
                dense(weight.primitive().clone()),
                epsilon,
            );
            (
                Flex::rms_norm(state.0.clone(), state.1.clone(), epsilon),
                state,
            )
        })
    }

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        run::<C, _, 2>(Swiglu, [&gate, &up], || {
            let state = (
                dense(gate.primitive().clone()),
                dense(up.primitive().clone()),
            );
            (Flex::swiglu(state.0.clone(), state.1.clone()), state)
        })
    }

    /// It has no gradients, as encoders are not trained.
    fn bias_gelu(x: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        Tracked::new(Flex::bias_gelu(
            x.primitive().clone(),
            bias.primitive().clone(),
        ))
    }

    fn rotate(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        run::<C, _, 1>(Rotate, [&x], || {
            let state = (
                dense(cos.primitive().clone()),
                dense(sin.primitive().clone()),
            );
            (
                Flex::rotate(x.primitive().clone(), state.0.clone(), state.1.clone()),
                state,
            )
        })
    }

    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        packing: &Packing,
    ) -> FloatTensor<Self> {
        run::<C, _, 3>(PackedAttention, [&q, &k, &v], || {
            let inputs = [&q, &k, &v].map(|input| dense(input.primitive().clone()));
            let (output, log_sum_exps) = attention(&inputs, packing).forward();
            let output = tensor(output, shape(&inputs[0]));
            (
                output.clone(),
                AttentionState {
                    inputs,
                    output,
                    log_sum_exps,
                    packing: packing.clone(),
                },
            )
        })
    }

    /// It has no gradients, as nothing is decoded while training.
    fn decode_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rows: &[DecodeRow],
        window: Option<usize>,
    ) -> FloatTensor<Self> {
        let [q, k, v] = [q, k, v].map(|tensor| tensor.primitive().clone());
        Tracked::new(Flex::decode_attention(q, k, v, rows, window))
    }

    fn token_log_probs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        temperature: f32,
    ) -> FloatTensor<Self> {
        run::<C, _, 2>(TokenLogProbs, [&hidden, &weight], || {
            let (hidden, weight) = (
                dense(hidden.primitive().clone()),
                dense(weight.primitive().clone()),
            );
            let targets = indices(targets);
            let result = head(&hidden, &weight, &targets, temperature).log_probs();
            let (log_sum_exps, entropies) =
                (Arc::new(result.log_sum_exps), Arc::new(result.entropies));
            let both = stacked(result.log_probs, &entropies);
            (
                both,
                HeadState {
                    hidden,
                    weight,
                    targets,
                    temperature,
                    log_sum_exps,
                    entropies,
                },
            )
        })
    }

    /// It has no gradients, as it is the optimiser's work.
    fn adamw(
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        config: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [weight, gradient, first, second] =
            [weight, gradient, first, second].map(|tensor| tensor.primitive().clone());
        let (weight, first, second) = Flex::adamw(weight, gradient, first, second, config);
        (
            Tracked::new(weight),
            Tracked::new(first),
            Tracked::new(second),
        )
    }

    /// Without gradients, likewise.
    fn sum_of_squares(x: FloatTensor<Self>) -> f64 {
        Flex::sum_of_squares(x.primitive().clone())
    }

    /// Without gradients, likewise.
    fn logits_constrained(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        allowed: Arc<Vec<Vec<u32>>>,
    ) -> FloatTensor<Self> {
        Tracked::new(Flex::logits_constrained(
            hidden.primitive().clone(),
            weight.primitive().clone(),
            allowed,
        ))
    }

    fn token_log_probs_constrained(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: Arc<Vec<usize>>,
        allowed: Arc<Vec<Vec<u32>>>,
        prior: Arc<Vec<Vec<f32>>>,
        temperature: f32,
    ) -> FloatTensor<Self> {
        run::<C, _, 2>(TokenLogProbsConstrained, [&hidden, &weight], || {
            let (hidden, weight) = (
                dense(hidden.primitive().clone()),
                dense(weight.primitive().clone()),
            );
            let result =
                sparse_head(&hidden, &weight, &allowed, &prior, temperature).log_probs(&targets);
            let (probabilities, entropies) =
                (Arc::new(result.probabilities), Arc::new(result.entropies));
            let both = stacked(result.log_probs, &entropies);
            (
                both,
                SparseHeadState {
                    hidden,
                    weight,
                    targets,
                    allowed,
                    temperature,
                    probabilities,
                    entropies,
                },
            )
        })
    }
}

#[derive(Debug)]
struct Linear;

impl Backward<Flex, 2> for Linear {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let (x, weight) = &ops.state;
        let [out, inner] = [shape(weight)[0], shape(weight)[1]];
        if let Some(parent) = &ops.parents[0] {
            let dx = cpu::linear_input_gradient(values(&dy), values(weight), inner);
            gradients.register::<Flex>(parent.id, tensor(dx, shape(x)));
        }
        if let Some(parent) = &ops.parents[1] {
            let dw = cpu::linear_weight_gradient(values(&dy), values(x), out, inner);
            gradients.register::<Flex>(parent.id, tensor(dw, shape(weight)));
        }
    }
}

#[derive(Debug)]
struct RmsNorm;

impl Backward<Flex, 2> for RmsNorm {
    type State = (FlexTensor, FlexTensor, f32);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let (x, weight, epsilon) = &ops.state;
        let [dx, dw] = cpu::rms_norm_backward(values(x), values(weight), *epsilon, values(&dy));
        let of_inputs = [tensor(dx, shape(x)), tensor(dw, shape(weight))];
        pass_on(ops, gradients, of_inputs);
    }
}

#[derive(Debug)]
struct Swiglu;

impl Backward<Flex, 2> for Swiglu {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let (gate, up) = &ops.state;
        let [d_gate, d_up] = cpu::swiglu_backward(values(gate), values(up), values(&dy));
        let of_inputs = [tensor(d_gate, shape(gate)), tensor(d_up, shape(up))];
        pass_on(ops, gradients, of_inputs);
    }
}

#[derive(Debug)]
struct Rotate;

impl Backward<Flex, 1> for Rotate {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let (cos, sin) = &ops.state;
        let dx = tensor(
            cpu::rotate(heads(&dy), values(cos), values(sin), Direction::Back),
            shape(&dy),
        );
        pass_on(ops, gradients, [dx]);
    }
}

#[derive(Debug)]
struct PackedAttention;

#[derive(Debug, Clone)]
struct AttentionState {
    inputs: [FlexTensor; 3],
    output: FlexTensor,
    log_sum_exps: Vec<Vec<f32>>,
    packing: Packing,
}

fn attention<'a>([q, k, v]: &'a [FlexTensor; 3], packing: &'a Packing) -> Attention<'a> {
    Attention {
        q: heads(q),
        k: heads(k),
        v: heads(v),
        packing,
    }
}

impl Backward<Flex, 3> for PackedAttention {
    type State = AttentionState;

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let AttentionState {
            inputs,
            output,
            log_sum_exps,
            packing,
        } = &ops.state;
        let of_inputs =
            attention(inputs, packing).backward(heads(&dy), heads(output), log_sum_exps);
        let [q, k, v] = inputs.each_ref().map(shape);
        let of_inputs = [
            tensor(of_inputs.q, q),
            tensor(of_inputs.k, k),
            tensor(of_inputs.v, v),
        ];
        pass_on(ops, gradients, of_inputs);
    }
}

#[derive(Debug)]
struct TokenLogProbs;

#[derive(Debug, Clone)]
struct HeadState {
    hidden: FlexTensor,
    weight: FlexTensor,
    targets: Vec<usize>,
    temperature: f32,
    log_sum_exps: Arc<Vec<f32>>,
    entropies: Arc<Vec<f32>>,
}

impl Backward<Flex, 2> for TokenLogProbs {
    type State = HeadState;

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let HeadState {
            hidden,
            weight,
            targets,
            temperature,
            log_sum_exps,
            entropies,
        } = &ops.state;
        let head = head(hidden, weight, targets, *temperature);
        let frozen = ops.parents[1].is_none();
        let (d_hidden, d_weight) =
            head.backward(log_sum_exps, &Slopes::new(values(&dy), entropies), frozen);
        let shapes = [shape(hidden), shape(weight)];
        pass_on_head(ops, gradients, d_hidden, d_weight, shapes);
    }
}

#[derive(Debug)]
struct TokenLogProbsConstrained;

#[derive(Debug, Clone)]
struct SparseHeadState {
    hidden: FlexTensor,
    weight: FlexTensor,
    targets: Arc<Vec<usize>>,
    allowed: Arc<Vec<Vec<u32>>>,
    temperature: f32,
    probabilities: Arc<Vec<Vec<f32>>>,
    entropies: Arc<Vec<f32>>,
}

impl Backward<Flex, 2> for TokenLogProbsConstrained {
    type State = SparseHeadState;

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = output_gradient(&ops, gradients);
        let SparseHeadState {
            hidden,
            weight,
            targets,
            allowed,
            temperature,
            probabilities,
            entropies,
        } = &ops.state;
        // The probabilities hold the prior already.
        let head = sparse_head(hidden, weight, allowed, &[], *temperature);
        let frozen = ops.parents[1].is_none();
        let slopes = Slopes::new(values(&dy), entropies);
        let (d_hidden, d_weight) = head.backward(targets, probabilities, &slopes, frozen);
        let shapes = [shape(hidden), shape(weight)];
        pass_on_head(ops, gradients, d_hidden, d_weight, shapes);
    }
}
