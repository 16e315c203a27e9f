//! The loss on slices: f32 beside f64, and no allocation once the workspace has grown.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rank_grpo::{
    Correction, CorrectionMode, InputError, LossConfig, LossInputs, LossSlices, LossType,
    RatioLevel, Segments, Workspace,
};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Counts the allocations of each thread.
struct Counting;

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SHAPE: [usize; 2] = [5, 17];
const N: usize = SHAPE[0] * SHAPE[1];

fn table(seed: u64, from: f64, to: f64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut number = || f64::from((from + (to - from) * rng.random::<f64>()) as f32);
    (0..N).map(|_| number()).collect()
}

fn inputs() -> LossInputs {
    let ids: Vec<i64> = (0..N).map(|t| (t % SHAPE[1] / 4) as i64 - 1).collect();
    let mask = (0..N).map(|t| t % 11 != 3).collect();
    LossInputs {
        old_log_probs: Some(table(1, -3.0, -0.1)),
        sampler_log_probs: Some(table(2, -3.0, -0.1)),
        ref_log_probs: Some(table(3, -3.0, -0.1)),
        entropies: Some(table(4, 0.0, 3.0)),
        ..LossInputs::new(SHAPE, mask, Segments::ranks(&ids, 3), table(5, -1.0, 1.0))
    }
}

/// Every preset, once plain and once with every option.
fn configs() -> Vec<LossConfig> {
    let mut configs = vec![
        LossConfig::paper(),
        LossConfig::authors(),
        LossConfig::grpo(),
        LossConfig::gspo(),
        LossConfig::sibling_grpo(),
        LossConfig::two_sided(1.5),
    ];
    let types = [
        LossType::Grpo,
        LossType::DrGrpo,
        LossType::Dapo,
        LossType::Bnpo,
        LossType::Cispo,
        LossType::Sapo,
        LossType::Luspo,
        LossType::Vespo,
    ];
    configs.extend(types.map(|loss_type| loss_type.config(20)));
    let full = configs.clone().into_iter().map(|config| LossConfig {
        kl: LossConfig::grpo().kl,
        top_entropy_quantile: 0.6,
        entropy_coef: 0.01,
        correction: Some(Correction {
            level: RatioLevel::Token,
            mode: CorrectionMode::Truncate {
                clip_max: 2.0,
                clip_min: Some(0.5),
            },
        }),
        off_policy_mask_threshold: Some(0.01),
        ..config
    });
    configs.extend(full.collect::<Vec<_>>());
    configs
}

#[test]
fn nothing_is_allocated_in_a_loop() {
    let (inputs, log_probs) = (inputs(), table(6, -3.0, -0.1));
    let (mut workspace, mut gradient) = (Workspace::default(), vec![0.0; N]);
    let losses: Vec<_> = configs().into_iter().map(|c| c.check().unwrap()).collect();
    let mut round = || {
        let before = ALLOCATIONS.get();
        for loss in &losses {
            let slices = inputs.slices();
            loss.evaluate_into(&log_probs, &slices, &mut workspace, &mut gradient)
                .unwrap();
        }
        ALLOCATIONS.get() - before
    };
    assert!(round() > 0, "the counter counts");
    assert_eq!(round(), 0);
}

#[test]
fn a_used_workspace_changes_no_bit_and_new_memory_neither() {
    let (inputs, log_probs) = (inputs(), table(6, -3.0, -0.1));
    let (mut workspace, mut gradient) = (Workspace::default(), vec![f64::NAN; N]);
    for config in configs() {
        let loss = config.check().unwrap();
        let slices = inputs.slices();
        let value = loss
            .evaluate_into(&log_probs, &slices, &mut workspace, &mut gradient)
            .unwrap();
        let fresh = loss.evaluate(&log_probs, &inputs).unwrap();
        assert_eq!(value.loss.to_bits(), fresh.loss.to_bits());
        assert_eq!((value.metrics, &gradient), (fresh.metrics, &fresh.gradient));
        let bonus = fresh.entropy_gradient.unwrap_or_default();
        assert_eq!(workspace.entropy_gradient(), bonus);
    }
}

/// Rows of padding, of odd masks, without tokens, with unusable numbers, and with a ratio so large
/// that the row is not a plain one.
#[test]
fn threads_change_no_bit() {
    let shape = [390, 1024];
    let n = shape[0] * shape[1];
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut table = |from: f32, to: f32| -> Vec<f32> {
        let mut number = || from + (to - from) * rng.random::<f32>();
        (0..n).map(|_| number()).collect()
    };
    let (mut log_probs, advantages) = (table(-3.0, -0.1), table(-1.0, 1.0));
    let [shift, entropies] = [(-0.3, 0.3), (0.0, 2.0)].map(|(from, to)| table(from, to));
    let old: Vec<f32> = log_probs.iter().zip(&shift).map(|(x, y)| x + y).collect();
    for far in [5 * 1024 + 3, 389 * 1024] {
        log_probs[far] += 70.0;
    }
    log_probs[7 * 1024] = f32::NAN;
    let counts = |t: usize| match (t / 1024 % 4, t % 1024) {
        (0, column) => column < 700,
        (1, column) => column % 3 > 0,
        (2, column) => t / 1024 % 8 == 2 && column > 0,
        (_, _) => true,
    };
    let mask: Vec<bool> = (0..n).map(counts).collect();
    let ids: Vec<i64> = (0..n).map(|t| (t % 1024 / 60) as i64 - 1).collect();
    let segments = Segments::ranks(&ids, 15);
    let slices = LossSlices {
        old_log_probs: Some(&old),
        ref_log_probs: Some(&old),
        entropies: Some(&entropies),
        ..LossSlices::new(shape, &mask, &segments, &advantages)
    };
    let mut configs = vec![LossConfig::paper(), LossConfig::grpo(), LossConfig::gspo()];
    configs.extend([
        LossConfig::dapo(),
        LossConfig::two_sided(1.1),
        LossConfig::cispo(),
    ]);
    for config in configs {
        let loss = config.check().unwrap();
        let evaluate = |threads| {
            let (mut space, mut gradient) = (Workspace::with_threads(threads), vec![1.0; n]);
            let value = loss.evaluate_into(&log_probs, &slices, &mut space, &mut gradient);
            (value.unwrap(), gradient)
        };
        let (one, three) = (evaluate(1), evaluate(3));
        assert_eq!(one.0.loss.to_bits(), three.0.loss.to_bits());
        assert_eq!(one.0.metrics, three.0.metrics);
        assert!(one.1 == three.1, "{:?}", loss.config());
    }
}

#[test]
fn f32_is_f64_rounded_once() {
    let (inputs, log_probs) = (inputs(), table(6, -3.0, -0.1));
    let narrow = |table: &[f64]| table.iter().map(|x| *x as f32).collect::<Vec<f32>>();
    let tables = [
        &inputs.old_log_probs,
        &inputs.sampler_log_probs,
        &inputs.ref_log_probs,
        &inputs.entropies,
    ]
    .map(|table| narrow(table.as_ref().unwrap()));
    let advantages = narrow(&inputs.advantages);
    let slices = LossSlices {
        old_log_probs: Some(&tables[0]),
        sampler_log_probs: Some(&tables[1]),
        ref_log_probs: Some(&tables[2]),
        entropies: Some(&tables[3]),
        ..LossSlices::new(SHAPE, &inputs.mask, &inputs.segments, &advantages)
    };
    let (mut workspace, mut gradient) = (Workspace::default(), vec![0.0_f32; N]);
    for config in configs() {
        let loss = config.check().unwrap();
        let wide = loss.evaluate(&log_probs, &inputs).unwrap();
        let value = loss
            .evaluate_into(&narrow(&log_probs), &slices, &mut workspace, &mut gradient)
            .unwrap();
        assert_eq!(value.loss.to_bits(), wide.loss.to_bits());
        assert_eq!(gradient, narrow(&wide.gradient));
    }
}

#[test]
fn buffers_that_do_not_fit_are_refused_by_name() {
    let loss = LossConfig::bnpo().check().unwrap();
    let (inputs, mut workspace) = (inputs(), Workspace::default());
    let mut short = vec![7.0; N - 1];
    let error = loss
        .evaluate_into(&[-1.0; N], &inputs.slices(), &mut workspace, &mut short)
        .unwrap_err();
    assert!(
        matches!(
            error,
            InputError::Length {
                field: "gradient",
                ..
            }
        ),
        "{error}"
    );
    let huge = LossSlices {
        shape: [usize::MAX, 2],
        ..inputs.slices()
    };
    let error = loss
        .evaluate_into(&[-1.0; N], &huge, &mut workspace, &mut short)
        .unwrap_err();
    assert!(
        matches!(
            error,
            InputError::Length {
                field: "log_probs",
                ..
            }
        ),
        "{error}"
    );
    assert!(short.iter().all(|x| *x == 7.0));
}
