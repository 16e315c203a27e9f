//! The fused kernels against the composed bodies, against finite differences, and against
//! themselves.

mod common;

use burn::tensor::Tensor;
use common::{assert_agree, assert_close, host};
use proptest::prelude::*;

cases!(fused, convrec_kernels);
cases!(composed, convrec_kernels::composed);

/// The tolerance: both run in f32 and sum in different orders.
const TOLERANCE: f32 = 2e-5;

/// One test: the named operation agrees with its composed body at these shapes.
macro_rules! agree {
    ($operation:ident: $(($($size:expr),+)),+ $(,)?) => {
        #[test]
        fn $operation() {
            $(
                let name = format!("{} {:?}", stringify!($operation), ($($size),+));
                assert_agree(&name, &fused::$operation($($size),+).outcome(), &composed::$operation($($size),+).outcome(), TOLERANCE);
            )+
        }
    };
}

mod at_fixed_shapes {
    use super::*;

    agree!(linear: (1, 1, 1), (1, 300, 64), (5, 67, 33), (16, 130, 96), (17, 64, 64), (8, 97, 40), (33, 200, 50), (48, 13, 9), (100, 31, 7), (700, 200, 96));
    agree!(rms_norm: (1, 5), (3, 64), (7, 33), (1000, 100));
    agree!(swiglu: (1), (15), (16), (40_003));
    agree!(rotate: (1, 1, 2), (10, 3, 6), (120, 2, 64), (2, 4, 32));
    type Trees = &'static [(usize, &'static [usize])];

    const ONE: Trees = &[(1, &[])];
    const TWO: Trees = &[(63, &[]), (63, &[])];
    const BLOCK: Trees = &[(64, &[])];
    const RAGGED: Trees = &[(65, &[]), (3, &[]), (130, &[])];
    const LONG: Trees = &[(200, &[]), (0, &[]), (199, &[])];
    const STUMP: Trees = &[(1, &[1])];
    const TREE: Trees = &[(5, &[3, 7, 1])];
    const FOREST: Trees = &[(70, &[66, 0, 64, 1]), (9, &[]), (64, &[130])];
    const NO_TRUNK: Trees = &[(0, &[3, 2])];

    agree!(attention:
        (ONE, 1, 1, 4), (TWO, 2, 1, 8), (BLOCK, 4, 4, 16), (RAGGED, 6, 2, 24), (LONG, 4, 2, 32),
        (STUMP, 1, 1, 4), (TREE, 2, 1, 8), (FOREST, 4, 2, 16), (NO_TRUNK, 2, 2, 6),
    );
    agree!(attention_in_window:
        (ONE, 1, 1, 1, 4), (TWO, 2, 2, 1, 8), (TWO, 5, 2, 2, 8), (BLOCK, 64, 4, 4, 16), (RAGGED, 64, 6, 2, 24),
        (RAGGED, 65, 6, 2, 24), (LONG, 63, 4, 2, 32), (LONG, 7, 2, 1, 6), (LONG, 1000, 2, 1, 6), (STUMP, 2, 1, 1, 4),
        (TREE, 4, 2, 1, 8), (TREE, 6, 2, 1, 8), (FOREST, 66, 4, 2, 16), (FOREST, 3, 4, 2, 16), (NO_TRUNK, 2, 2, 2, 6),
    );
    agree!(attention_both_ways: (&[2], 1, 4), (&[64, 65, 0, 130], 4, 16), (&[9, 200, 3], 3, 32));
    agree!(token_log_probs_constrained: (1, 1, 1), (2, 700, 16), (30, 90, 7), (90, 513, 32));
    agree!(token_log_probs_alone: (1, 1, 1), (3, 512, 8), (130, 513, 32));
    agree!(token_log_probs: (1, 1, 1), (1, 700, 16), (3, 512, 8), (130, 513, 32), (300, 2000, 48));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn at_random_shapes(m in 1usize..70, n in 1usize..90, k in 1usize..70) {
        assert_agree(
            "linear",
            &fused::linear(m, n, k).outcome(),
            &composed::linear(m, n, k).outcome(),
            TOLERANCE,
        );
        assert_agree(
            "rms_norm",
            &fused::rms_norm(m, k + 3).outcome(),
            &composed::rms_norm(m, k + 3).outcome(),
            TOLERANCE,
        );
        assert_agree(
            "swiglu",
            &fused::swiglu(m * n).outcome(),
            &composed::swiglu(m * n).outcome(),
            TOLERANCE,
        );
        // From two tokens on: with one, the queries' gradient is exactly 0 and rounding has nothing
        // to be relative to.
        let trees: &[(usize, &[usize])] =
            &[(n + 1, &[m, k, n % 7]), (k + 1, &[]), (m, &[n % 5, 64])];
        let (h, hk, d) = (2 * (1 + m % 2), 1 + m % 2, 2 * (1 + k % 20));
        let name = format!("attention {trees:?} {h} {hk} {d}");
        let (got, expected) = (
            fused::attention(trees, h, hk, d).outcome(),
            composed::attention(trees, h, hk, d).outcome(),
        );
        assert_agree(&name, &got, &expected, TOLERANCE);
        let window = 2 + k % 97;
        let name = format!("attention in a window {trees:?} {window} {h} {hk} {d}");
        let (got, expected) = (
            fused::attention_in_window(trees, window, h, hk, d).outcome(),
            composed::attention_in_window(trees, window, h, hk, d).outcome(),
        );
        assert_agree(&name, &got, &expected, TOLERANCE);
        let lengths = &[n + 1, k, m % 9 + 2];
        let (got, expected) = (
            fused::attention_both_ways(lengths, h, d).outcome(),
            composed::attention_both_ways(lengths, h, d).outcome(),
        );
        assert_agree(
            &format!(
                "attention both ways {lengths:?} {h} \
                               {d}"
            ),
            &got,
            &expected,
            TOLERANCE,
        );
        assert_agree(
            "bias_gelu",
            &fused::bias_gelu(m, n),
            &composed::bias_gelu(m, n),
            1e-6,
        );
        assert_agree(
            "rotate",
            &fused::rotate(m, h, d).outcome(),
            &composed::rotate(m, h, d).outcome(),
            TOLERANCE,
        );
        let within = (
            fused::token_log_probs_constrained(m, n * 3, k).outcome(),
            composed::token_log_probs_constrained(m, n * 3, k).outcome(),
        );
        assert_agree(
            "token_log_probs_constrained",
            &within.0,
            &within.1,
            TOLERANCE,
        );
        let v = n * 12;
        let (got, expected) = (
            fused::token_log_probs(m, v, k).outcome(),
            composed::token_log_probs(m, v, k).outcome(),
        );
        assert_agree("token_log_probs", &got, &expected, TOLERANCE);
    }
}

/// The slope of a random weighting of the outputs along a random direction, from the gradients and
/// from values.
#[test]
fn gradients_are_finite_differences() {
    let slopes = [
        ("linear", fused::linear(20, 9, 12).slopes(0.05)),
        ("rms_norm", fused::rms_norm(6, 20).slopes(0.01)),
        ("swiglu", fused::swiglu(50).slopes(0.01)),
        ("rotate", fused::rotate(5, 2, 8).slopes(0.05)),
        (
            "attention",
            fused::attention(&[(9, &[])], 2, 1, 6).slopes(0.01),
        ),
        (
            "attention with branches",
            fused::attention(&[(5, &[3, 4])], 2, 1, 6).slopes(0.01),
        ),
        (
            "attention in a window",
            fused::attention_in_window(&[(5, &[3, 4])], 3, 2, 1, 6).slopes(0.01),
        ),
        (
            "attention both ways",
            fused::attention_both_ways(&[9, 4], 2, 6).slopes(0.005),
        ),
        (
            "token_log_probs_constrained",
            fused::token_log_probs_constrained(5, 40, 6).slopes(0.01),
        ),
        (
            "token_log_probs",
            fused::token_log_probs(5, 40, 6).slopes(0.01),
        ),
    ];
    for (name, [analytic, numeric]) in slopes {
        let error = (analytic - numeric).abs() / analytic.abs();
        assert!(
            error < 2e-3,
            "{name}: a slope of {numeric}, but the gradients say {analytic}"
        );
    }
}

/// A second run gives the same bits, values and gradients.
#[test]
fn runs_repeat_exactly() {
    assert_eq!(
        fused::linear(300, 200, 100).outcome(),
        fused::linear(300, 200, 100).outcome()
    );
    assert_eq!(
        fused::linear(9, 500, 300).outcome(),
        fused::linear(9, 500, 300).outcome()
    );
    assert_eq!(
        fused::rms_norm(900, 100).outcome(),
        fused::rms_norm(900, 100).outcome()
    );
    assert_eq!(
        fused::swiglu(50_000).outcome(),
        fused::swiglu(50_000).outcome()
    );
    let attention = || fused::attention(&[(150, &[70, 90]), (150, &[])], 4, 2, 32).outcome();
    assert_eq!(attention(), attention());
    let within = || fused::token_log_probs_constrained(200, 900, 32).outcome();
    assert_eq!(within(), within());
    assert_eq!(
        fused::token_log_probs(200, 3000, 32).outcome(),
        fused::token_log_probs(200, 3000, 32).outcome()
    );
}

#[test]
fn entropies_agree() {
    use convrec_kernels as fused;
    let (m, v, d) = (140, 1100, 16);
    let hidden = || common::flat(common::random(m * d, 1), &common::device()).reshape([m, d]);
    let weight = || common::flat(common::random(v * d, 2), &common::device()).reshape([v, d]);
    let (_, got) = fused::token_log_probs(hidden(), weight(), common::targets(m, v), 0.8);
    let (_, expected) =
        fused::composed::token_log_probs(hidden(), weight(), common::targets(m, v), 0.8);
    assert_close("entropy", &host(got), &host(expected), TOLERANCE);
}

/// New tokens of rows that are of different ages, over prompts of different lengths; some rows sit
/// idle.
#[test]
fn decode_attention() {
    use burn::tensor::{Device, Tensor};
    use convrec_kernels::{DecodeCache, DecodeRow};
    let device = Device::flex();
    for (p, group, h, hk, tp, capacity, d, window) in [
        (1, 1, 1, 1, 1, 1, 2, None),
        (1, 1, 1, 1, 1, 1, 2, Some(1)),
        (3, 2, 4, 2, 17, 9, 20, None),
        (3, 2, 4, 2, 17, 9, 20, Some(1)),
        (3, 2, 4, 2, 17, 9, 20, Some(4)),
        (3, 2, 4, 2, 17, 9, 20, Some(19)),
        (2, 5, 4, 4, 40, 30, 64, None),
        (2, 5, 4, 4, 40, 30, 64, Some(25)),
        (1, 8, 6, 1, 33, 12, 32, None),
        (1, 8, 6, 1, 33, 12, 32, Some(40)),
        (1, 8, 6, 1, 33, 12, 32, Some(usize::MAX)),
    ] {
        let tensor = |shape: [usize; 3], seed| -> Tensor<3> {
            common::flat(common::random(shape.iter().product(), seed), &device).reshape(shape)
        };
        let rows = (0..p * group)
            .filter(|row| *row == 0 || row % 4 != 3)
            .map(|row| {
                let filled = 1 + row * 3 % capacity;
                DecodeRow {
                    prompt: row / group * tp,
                    prompt_length: tp - row / group * 5,
                    own: p * tp + row * capacity,
                    filled,
                    new: 1 + row % filled,
                }
            });
        let rows: Vec<DecodeRow> = rows.collect();
        let cache = DecodeCache {
            k: tensor([p * (tp + group * capacity), hk, d], 1),
            v: tensor([p * (tp + group * capacity), hk, d], 2),
            window,
        };
        let m = rows.iter().map(|row| row.new).sum();
        let q = tensor([m, h, d], 5);
        let got = convrec_kernels::decode_attention(q.clone(), &cache, &rows);
        let expected = convrec_kernels::composed::decode_attention(q.clone(), &cache, &rows);
        assert_eq!(got.dims(), expected.dims());
        assert_close(
            "decode_attention",
            &host(got.clone().flatten(0, 2)),
            &host(expected.flatten(0, 2)),
            TOLERANCE,
        );
        // The same as one sequence, for the row that is the longest.
        let (mut first, mut longest) = (0, (0, &rows[0]));
        for row in &rows {
            longest = if row.filled > longest.1.filled {
                (first, row)
            } else {
                longest
            };
            first += row.new;
        }
        let (first, row) = longest;
        let whole = |x: &Tensor<3>| -> Tensor<3> {
            let part = |first, length| x.clone().narrow(0, first, length);
            let parts = [(row.prompt, row.prompt_length), (row.own, row.filled)];
            Tensor::cat(parts.map(|(first, length)| part(first, length)).to_vec(), 0)
        };
        let (k, v) = (whole(&cache.k), whole(&cache.v));
        let t = k.dims()[0];
        let all = Tensor::cat(
            vec![
                Tensor::zeros([t - row.new, h, d], &device),
                q.narrow(0, first, row.new),
            ],
            0,
        );
        let expected = convrec_kernels::composed::attention(
            all,
            k,
            v,
            &window.into_iter().fold(
                convrec_kernels::Packing::rectangle(1, t),
                |packing, window| packing.with_window(window),
            ),
        );
        let got = host(got.narrow(0, first, row.new).flatten(0, 2));
        assert_close(
            "as a whole",
            &got,
            &host(expected.narrow(0, t - row.new, row.new).flatten(0, 2)),
            TOLERANCE,
        );
    }
}

/// The reference is a sum over all pairs of a segment; its ends are checked too.
#[test]
fn both_ways_is_every_pair() {
    let (lengths, d) = ([3, 70], 4);
    let case = fused::attention_both_ways(&lengths, 1, d);
    let inputs = case.inputs();
    let ([q, k, v], value) = ([&inputs[0], &inputs[1], &inputs[2]], case.outcome().value);
    let row = |x: &[f32], t: usize| {
        x[t * d..][..d]
            .iter()
            .map(|x| f64::from(*x))
            .collect::<Vec<f64>>()
    };
    let mut first = 0;
    for length in lengths {
        for t in first..first + length {
            let dot = |s| {
                row(q, t)
                    .iter()
                    .zip(row(k, s))
                    .map(|(a, b)| a * b)
                    .sum::<f64>()
                    / (d as f64).sqrt()
            };
            let weights: Vec<f64> = (first..first + length).map(|s| dot(s).exp()).collect();
            for i in 0..d {
                let mixed: f64 = weights
                    .iter()
                    .zip(first..)
                    .map(|(w, s)| w * row(v, s)[i])
                    .sum();
                let expected = mixed / weights.iter().sum::<f64>();
                assert!(
                    (f64::from(value[t * d + i]) - expected).abs() < 1e-5,
                    "token {t}"
                );
            }
        }
        first += length;
    }
}

/// The function is checked where it is steep, flat, and out of range.
#[test]
fn bias_gelu_of_extremes() {
    let device = burn::tensor::Device::flex();
    let inputs: Vec<f32> = (-800..=800)
        .map(|n| n as f32 * 0.01)
        .chain([-1e30, 1e30, -60.0, f32::NAN])
        .collect();
    let d = inputs.len();
    let of = |kernel: fn(Tensor<2>, Tensor<1>) -> Tensor<2>| {
        host(
            kernel(
                common::flat(inputs.clone(), &device).reshape([1, d]),
                Tensor::zeros([d], &device),
            )
            .flatten(0, 1),
        )
    };
    let (got, expected) = (
        of(convrec_kernels::bias_gelu),
        of(convrec_kernels::composed::bias_gelu),
    );
    for (x, (got, expected)) in inputs.iter().zip(got.iter().zip(&expected)) {
        let same = (got - expected).abs() <= 2e-7 * x.abs().max(1.0)
            || (got.is_nan() && expected.is_nan());
        assert!(same, "gelu({x}) is {expected}, not {got}");
    }
}

/// Logits of part of the vocabulary are those of all of it.
#[test]
fn logits_constrained() {
    let (m, v, d) = (30, 200, 23);
    let tensor =
        |size, seed| common::flat(common::random(size, seed), &burn::tensor::Device::flex());
    let (hidden, weight) = (
        tensor(m * d, 1).reshape([m, d]),
        tensor(v * d, 2).reshape([v, d]),
    );
    let (_, sets) = common::allowed(m, v);
    let allowed: Vec<&[u32]> = sets.iter().map(Vec::as_slice).collect();
    let all = host(convrec_kernels::composed::linear(hidden.clone(), weight.clone()).flatten(0, 1));
    let of_row = |(row, set): (usize, &Vec<u32>)| {
        set.iter()
            .map(|token| all[row * v + *token as usize])
            .collect::<Vec<_>>()
    };
    let expected: Vec<f32> = sets.iter().enumerate().flat_map(of_row).collect();
    for got in [
        convrec_kernels::logits_constrained(hidden.clone(), weight.clone(), &allowed),
        convrec_kernels::composed::logits_constrained(hidden, weight, &allowed),
    ] {
        assert_close("logits_constrained", &host(got), &expected, TOLERANCE);
    }
}

/// Several updates, in place and on copies of tensors that somebody else holds.
#[test]
fn adamw() {
    use burn::tensor::{Device, Tensor};
    use convrec_kernels::AdamW;
    for size in [1, 17, 40_003] {
        let tensor =
            |seed| -> Tensor<1> { common::flat(common::random(size, seed), &Device::flex()) };
        let start = || (tensor(1), [tensor(1).zeros_like(), tensor(1).zeros_like()]);
        let (mut fused, mut composed, held) = (start(), start(), start());
        for time in 1..5 {
            let config = AdamW {
                learning_rate: 0.1,
                beta_1: 0.9,
                beta_2: 0.99,
                epsilon: 1e-8,
                weight_decay: 0.1,
                time,
            };
            let gradient = tensor(7 + time as u64);
            let kept = fused.clone();
            let before = host(kept.0.clone());
            fused = config.update(fused.0, gradient.clone(), fused.1);
            assert_eq!(
                host(kept.0),
                before,
                "a tensor that is held elsewhere stays as it is"
            );
            composed = convrec_kernels::composed::adamw(composed.0, gradient, composed.1, &config);
        }
        assert_close("weight", &host(fused.0), &host(composed.0), TOLERANCE);
        for (n, (fused, composed)) in fused.1.into_iter().zip(composed.1).enumerate() {
            assert_close(
                &format!("moment {n}"),
                &host(fused),
                &host(composed),
                TOLERANCE,
            );
        }
        let squares: f64 = host(held.0.clone())
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum();
        let found = convrec_kernels::sum_of_squares(held.0);
        assert!(
            (found - squares).abs() < 1e-6 * squares,
            "{found} and {squares}"
        );
    }
}

/// Frozen weights, tensors without autodiff, checkpointing devices and other element types.
#[test]
fn devices_and_types() {
    use burn::tensor::{DType, Device, Tensor};
    use convrec_kernels::linear;
    let tensor = |seed, device: &Device| -> Tensor<2> {
        common::flat(common::random(12 * 8, seed), device).reshape([12, 8])
    };
    let plain = Device::flex();
    let expected = host(linear(tensor(1, &plain), tensor(2, &plain)).flatten(0, 1));
    for device in [
        common::device(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        let (x, weight) = (tensor(1, &device).require_grad(), tensor(2, &device));
        let y = linear(x.clone(), weight.clone());
        assert_eq!(host(y.clone().flatten(0, 1)), expected);
        let gradients = y.sum().backward();
        let dx: Tensor<2> = x.grad(&gradients).expect("x is tracked");
        let ones = Tensor::ones([12, 12], &plain);
        assert_close(
            "dx",
            &host(dx.flatten(0, 1)),
            &host(ones.matmul(tensor(2, &plain)).flatten(0, 1)),
            TOLERANCE,
        );
        assert!(weight.grad(&gradients).is_none());
    }
    let wide = |seed| tensor(seed, &plain).cast(DType::F64);
    let y = linear(wide(1), wide(2));
    assert_eq!(y.dtype(), DType::F64);
    assert_close(
        "f64",
        &host(y.cast(DType::F32).flatten(0, 1)),
        &expected,
        TOLERANCE,
    );
}
