//! The memory that gradient checkpointing saves. The test has a binary of its own, as it counts the
//! allocations of the whole process.

mod common;

use burn::module::Module;
use burn::tensor::Device;
use common::tokens;
use convrec_policy::{ModelConfig, Policy, Sequence};
use convrec_testdata::memory::{Counting, peak};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that the gradients of `rows` need, in MB.
fn peak_of(policy: &Policy, rows: &[Sequence<'_>]) -> f64 {
    peak(|| {
        let output = policy.log_probs(rows, 1.0);
        assert!(output.tape.backward(output.log_probs.sum(), policy).len() > 10);
    })
}

/// 8 completions of one prompt: once packed, with and without checkpoints, and once with a prompt
/// for each.
#[test]
fn activations() {
    let policy = Policy::new(
        &ModelConfig::small(300, 64, 12, 4),
        1,
        &Device::flex().autodiff(),
    )
    .unwrap();
    let prompt = tokens(400, 300, 1);
    let completions: Vec<Vec<u32>> = (0..8).map(|n| tokens(60, 300, 2 + n)).collect();
    let rows: Vec<Sequence<'_>> = completions
        .iter()
        .map(|c| Sequence {
            prompt: &prompt,
            completion: c,
        })
        .collect();
    // Prompts that differ in their last token are computed one by one.
    let prompts: Vec<Vec<u32>> = (0..8).map(|n| [&prompt[1..], &[n]].concat()).collect();
    let apart: Vec<Sequence<'_>> = prompts
        .iter()
        .zip(&completions)
        .map(|(prompt, completion)| Sequence { prompt, completion })
        .collect();
    let parameters = policy.num_params() as f64 * 4.0 / 1e6;
    let (packed, replicated) = (peak_of(&policy, &rows), peak_of(&policy, &apart));
    let checkpointed = peak_of(&policy.with_gradient_checkpointing(true), &rows);
    println!(
        "gradients {parameters:.0} MB; peak: prompts replicated {replicated:.0} MB, shared \
         {packed:.0} MB, shared and checkpointed {checkpointed:.0} MB"
    );
    assert!(packed < 0.4 * replicated, "{packed} and {replicated} MB");
    assert!(
        checkpointed < 0.4 * packed,
        "{checkpointed} and {packed} MB"
    );
}
