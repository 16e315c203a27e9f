//! Gradient checkpointing on devices without fused kernels, as GPUs are: a block with many scores
//! goes back in steps. The test has a binary of its own, as it counts the allocations of the whole
//! process and leaves out the fused kernels.

mod common;

use burn::tensor::Device;
use common::{of_params, tokens};
use convrec_kernels::only_composed;
use convrec_policy::{ModelConfig, Policy, Sequence};
use convrec_testdata::memory::{Counting, peak};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn policy(config: &ModelConfig, checkpoints: bool) -> Policy {
    let policy = Policy::new(config, 1, &Device::flex().autodiff()).unwrap();
    policy.with_gradient_checkpointing(checkpoints)
}

/// A prompt with completions of one length.
fn batch(prompt: usize, completions: usize, length: usize) -> (Vec<u32>, Vec<Vec<u32>>) {
    let completion = |n| tokens(length, 300, 2 + n as u64);
    (
        tokens(prompt, 300, 1),
        (0..completions).map(completion).collect(),
    )
}

fn rows<'a>((prompt, completions): &'a (Vec<u32>, Vec<Vec<u32>>)) -> Vec<Sequence<'a>> {
    let row = |completion| Sequence { prompt, completion };
    completions
        .iter()
        .map(|completion| row(completion))
        .collect()
}

/// The gradients are those of the whole block on one tape, and need a fraction of its memory.
#[test]
fn a_block_goes_back_in_steps() {
    only_composed(true);
    let config = ModelConfig::small(300, 32, 1, 16);
    let batch = batch(1000, 1, 1200);
    let rows = rows(&batch);
    let gradients = |checkpoints| {
        let policy = policy(&config, checkpoints);
        let mut all = vec![];
        let most = peak(|| {
            let output = policy.log_probs(&rows, 1.0);
            let slopes = output.tape.backward(output.log_probs.sum(), &policy);
            all = of_params(&policy, &slopes);
        });
        (most, all)
    };
    let ((whole, expected), (steps, found)) = (gradients(false), gradients(true));
    println!("peak: on one tape {whole:.0} MB, in steps {steps:.0} MB");
    assert!(steps < 0.4 * whole, "{steps} and {whole} MB");
    assert!(!expected.is_empty() && expected.len() == found.len());
    for (n, (expected, found)) in expected.iter().zip(&found).enumerate() {
        let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        for (a, b) in expected.iter().zip(found) {
            assert!(
                (a - b).abs() <= 1e-4 * largest,
                "parameter {n}: {a} and {b}"
            );
        }
    }
}

/// The memory of one block of Qwen2.5-0.5B with a prompt of 2,048 tokens and 8 completions of
/// 1,024, the paper's settings, beyond the weights and the block's own gradients.
#[test]
#[ignore = "a measurement of minutes; run it with --ignored --nocapture"]
fn a_block_of_qwen() {
    only_composed(true);
    let config = ModelConfig {
        num_key_value_heads: 2,
        intermediate_size: 4864,
        ..ModelConfig::small(300, 896, 1, 14)
    };
    let batch = batch(2048, 8, 1024);
    let (policy, rows) = (policy(&config, true), rows(&batch));
    let most = peak(|| {
        let output = policy.log_probs(&rows, 1.0);
        assert!(output.tape.backward(output.log_probs.sum(), &policy).len() > 10);
    });
    println!("peak: {most:.0} MB");
}
