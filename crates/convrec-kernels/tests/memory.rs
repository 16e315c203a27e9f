//! The logits of a large vocabulary never exist at once. A test binary of its own, as it counts
//! what the whole process allocates.

mod common;

use burn::tensor::{Int, Tensor};
use convrec_testdata::memory::{Counting, peak};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The memory with Qwen's vocabulary, forward and backward.
#[test]
fn logits_of_a_large_vocabulary() {
    type Head = fn(Tensor<2>, Tensor<2>, Tensor<1, Int>, f32) -> (Tensor<1>, Tensor<1>);
    let (m, v, d) = (256, 151_936, 16);
    let device = common::device();
    let hidden: Tensor<2> = common::flat(common::random(m * d, 1), &device).reshape([m, d]);
    let weight: Tensor<2> = common::flat(common::random(v * d, 2), &device).reshape([v, d]);
    let (hidden, weight) = (hidden.require_grad(), weight.require_grad());
    let run = |head: Head| {
        peak(|| {
            let (log_probs, _) = head(hidden.clone(), weight.clone(), common::targets(m, v), 1.0);
            let gradients = log_probs.sum().backward();
            assert!(weight.grad(&gradients).is_some());
        })
    };
    let logits = (m * v * 4) as f64 / 1e6;
    let weights = (v * d * 4) as f64 / 1e6;
    let (fused, composed) = (
        run(convrec_kernels::token_log_probs),
        run(convrec_kernels::composed::token_log_probs),
    );
    println!(
        "logits {logits:.0} MB, weights {weights:.0} MB; peak: fused {fused:.0} MB, composed \
         {composed:.0} MB"
    );
    assert!(
        composed > 2.0 * logits,
        "composed makes logits and their gradients"
    );
    // The limit covers the gradient of the weights, and a few blocks and sums.
    assert!(fused < 3.0 * weights + 0.1 * logits, "{fused} MB");
}
