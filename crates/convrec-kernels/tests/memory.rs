//! The logits of a large vocabulary never exist at once. A test binary of its own, as it counts what the whole process
//! allocates.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Int, Tensor};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system's; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `f` holds at a time beyond what was held before, in MB.
fn peak(f: impl FnOnce()) -> f64 {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    f();
    (PEAK.load(Ordering::Relaxed) - before) as f64 / 1e6
}

/// Qwen's vocabulary, forward and backward.
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
    let (fused, composed) = (run(convrec_kernels::token_log_probs), run(convrec_kernels::composed::token_log_probs));
    println!("logits {logits:.0} MB, weights {weights:.0} MB; peak: fused {fused:.0} MB, composed {composed:.0} MB");
    assert!(composed > 2.0 * logits, "composed makes logits and their gradients");
    // The gradient of the weights, and a few blocks and sums.
    assert!(fused < 3.0 * weights + 0.1 * logits, "{fused} MB");
}
