//! The backward pass of one block under gradient checkpointing, from its input alone.

use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Gradients, Tensor};
use convrec_kernels::{Packing, attention_part, attention_parts};

use crate::block::{Pass, Sight};
use crate::decoder::Policy;
use crate::rope::Rotation;
use crate::work;

/// Scores that are on a tape at once: 64 MB in f32, some five times as much with their gradients.
const MOST_SCORES: usize = 1 << 24;

/// Tokens whose feed-forward part is on a tape at once.
const MOST_TOKENS: usize = 2048;

/// Computes a block once more and goes back through it: from its input and the slope of its output,
/// both `[M, D]` and without autodiff, to the slope of its input. `sum` gets the gradients of its
/// weights.
///
/// Where the device keeps scores, and they are many, the block goes back in steps, each on a tape
/// of its own: what comes after the scores for some tokens at a time, then the scores for some
/// queries at a time (as Dao et al., arXiv 2205.14135, compute them anew), then queries, keys and
/// values. The gradients are the same to rounding.
pub(crate) fn block_backward(
    policy: &Policy,
    layer: usize,
    input: Tensor<2>,
    rotation: &Rotation,
    packing: &Packing,
    slope: Tensor<2>,
    sum: &mut GradientsAccumulator<Policy>,
) -> Tensor<2> {
    let block = policy.layer(layer);
    let seen = block.self_attn.seen(packing);
    let parts = attention_parts(&seen, block.self_attn.shape.heads, MOST_SCORES);
    let x = input.clone().autodiff().require_grad();
    if convrec_kernels::is_fused(&x) || parts.len() == 1 {
        let mut pass = Pass {
            rotation: rotation.clone(),
            sight: Sight::Packed(packing),
        };
        let output = policy.block(layer, x.clone(), &mut pass);
        let gradients = back(output, slope);
        let of_input = slope_of(&x, &gradients);
        sum.accumulate(policy, GradientsParams::from_grads(gradients, policy));
        return of_input;
    }
    let tokens = packing.tokens();
    work::count_block(tokens);
    let tracked = block.queries_keys_values(x.clone(), rotation);
    let heads = tracked.clone().map(Tensor::inner);
    let [q, k, v] = heads.clone();
    let mixed = convrec_kernels::attention(q, k, v, &seen);

    let (mut of_input, mut of_mixed) = (vec![], vec![]);
    for first in (0..tokens).step_by(MOST_TOKENS) {
        let some = first..tokens.min(first + MOST_TOKENS);
        let leaf = input.clone().slice([some.clone()]);
        let leaf = leaf.autodiff().require_grad();
        let mixed = mixed.clone().slice([some.clone()]);
        let mixed = mixed.autodiff().require_grad();
        let output = block.rest(leaf.clone(), mixed.clone());
        let gradients = back(output, slope.clone().slice([some]));
        of_input.push(slope_of(&leaf, &gradients));
        of_mixed.push(slope_of(&mixed, &gradients));
        sum.accumulate(policy, GradientsParams::from_grads(gradients, policy));
    }
    let (of_input, of_mixed) = (Tensor::cat(of_input, 0), Tensor::cat(of_mixed, 0));

    let mut of_heads = heads.clone().map(|x| x.zeros_like());
    for part in &parts {
        let leaves = heads.clone().map(|x| x.autodiff().require_grad());
        let [q, k, v] = leaves.clone();
        let output = attention_part(q, k, v, &seen, part);
        let gradients = back(output, of_mixed.clone().slice([part.queries()]));
        for (sum, leaf) in of_heads.iter_mut().zip(&leaves) {
            *sum = sum.clone() + slope_of(leaf, &gradients);
        }
    }

    let terms = tracked.into_iter().zip(of_heads);
    let terms = terms.map(|(values, slope)| (values * slope.autodiff()).sum());
    let loss = terms.reduce(|a, b| a + b).expect("there are three");
    let gradients = loss.backward();
    let of_input = of_input + slope_of(&x, &gradients);
    sum.accumulate(policy, GradientsParams::from_grads(gradients, policy));
    of_input
}

/// Goes back from a tensor whose slope is known: a term `values * slope` has it as its slope.
fn back<const N: usize>(output: Tensor<N>, slope: Tensor<N>) -> Gradients {
    (output * slope.autodiff()).sum().backward()
}

fn slope_of<const N: usize>(leaf: &Tensor<N>, gradients: &Gradients) -> Tensor<N> {
    leaf.grad(gradients)
        .expect("the output depends on its input")
}
