//! The fused kernels against the composed bodies, against finite differences, and against themselves.

mod common;

use common::{assert_agree, assert_close, host};
use proptest::prelude::*;

cases!(fused, convrec_kernels);
cases!(composed, convrec_kernels::composed);

/// Both run in f32 and sum in different orders.
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

    agree!(linear: (1, 1, 1), (1, 300, 64), (5, 67, 33), (16, 130, 96), (17, 64, 64), (100, 31, 7), (700, 200, 96));
    agree!(rms_norm: (1, 5), (3, 64), (7, 33), (1000, 100));
    agree!(swiglu: (1), (15), (16), (40_003));
    agree!(rotate: (1, 1, 1, 2, 1), (2, 3, 5, 6, 1), (3, 2, 40, 64, 3), (2, 4, 1, 32, 2));
    agree!(causal_attention: (1, 1, 1, 1, 4), (2, 2, 1, 63, 8), (1, 4, 4, 64, 16), (2, 6, 2, 65, 24), (3, 4, 2, 200, 32));
    agree!(token_log_probs: (1, 1, 1), (1, 700, 16), (3, 512, 8), (130, 513, 32), (300, 2000, 48));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn at_random_shapes(m in 1usize..70, n in 1usize..90, k in 1usize..70) {
        assert_agree("linear", &fused::linear(m, n, k).outcome(), &composed::linear(m, n, k).outcome(), TOLERANCE);
        assert_agree("rms_norm", &fused::rms_norm(m, k + 3).outcome(), &composed::rms_norm(m, k + 3).outcome(), TOLERANCE);
        assert_agree("swiglu", &fused::swiglu(m * n).outcome(), &composed::swiglu(m * n).outcome(), TOLERANCE);
        // From two tokens on: with one, the queries' gradient is exactly 0 and rounding has nothing to be relative to.
        let attention = (1 + m % 3, 2 * (1 + m % 2), 1 + m % 2, n + 1, 2 * (1 + k % 20));
        let (b, h, hk, t, d) = attention;
        let name = format!("causal_attention {attention:?}");
        let (got, expected) = (fused::causal_attention(b, h, hk, t, d).outcome(), composed::causal_attention(b, h, hk, t, d).outcome());
        assert_agree(&name, &got, &expected, TOLERANCE);
        let (got, expected) = (fused::rotate(b, h, t, d, b).outcome(), composed::rotate(b, h, t, d, b).outcome());
        assert_agree("rotate", &got, &expected, TOLERANCE);
        let v = n * 12;
        let (got, expected) = (fused::token_log_probs(m, v, k).outcome(), composed::token_log_probs(m, v, k).outcome());
        assert_agree("token_log_probs", &got, &expected, TOLERANCE);
    }
}

/// The slope of a random weighting of the outputs along a random direction, from the gradients and from values.
#[test]
fn gradients_are_finite_differences() {
    let slopes = [
        ("linear", fused::linear(20, 9, 12).slopes(0.05)),
        ("rms_norm", fused::rms_norm(6, 20).slopes(0.01)),
        ("swiglu", fused::swiglu(50).slopes(0.01)),
        ("rotate", fused::rotate(1, 2, 5, 8, 1).slopes(0.05)),
        ("causal_attention", fused::causal_attention(1, 2, 1, 9, 6).slopes(0.01)),
        ("token_log_probs", fused::token_log_probs(5, 40, 6).slopes(0.01)),
    ];
    for (name, [analytic, numeric]) in slopes {
        let error = (analytic - numeric).abs() / analytic.abs();
        assert!(error < 2e-3, "{name}: a slope of {numeric}, but the gradients say {analytic}");
    }
}

/// A second run gives the same bits, values and gradients.
#[test]
fn runs_repeat_exactly() {
    assert_eq!(fused::linear(300, 200, 100).outcome(), fused::linear(300, 200, 100).outcome());
    assert_eq!(fused::linear(9, 500, 300).outcome(), fused::linear(9, 500, 300).outcome());
    assert_eq!(fused::rms_norm(900, 100).outcome(), fused::rms_norm(900, 100).outcome());
    assert_eq!(fused::swiglu(50_000).outcome(), fused::swiglu(50_000).outcome());
    let attention = || fused::causal_attention(4, 4, 2, 150, 32).outcome();
    assert_eq!(attention(), attention());
    assert_eq!(fused::token_log_probs(200, 3000, 32).outcome(), fused::token_log_probs(200, 3000, 32).outcome());
}

#[test]
fn entropies_agree() {
    use convrec_kernels as fused;
    let (m, v, d) = (140, 1100, 16);
    let hidden = || common::flat(common::random(m * d, 1), &common::device()).reshape([m, d]);
    let weight = || common::flat(common::random(v * d, 2), &common::device()).reshape([v, d]);
    let (_, got) = fused::token_log_probs(hidden(), weight(), common::targets(m, v), 0.8);
    let (_, expected) = fused::composed::token_log_probs(hidden(), weight(), common::targets(m, v), 0.8);
    assert_close("entropy", &host(got), &host(expected), TOLERANCE);
}

/// One new token a row, over prompts of different lengths with several rows each.
#[test]
fn decode_attention() {
    use burn::tensor::{Device, Tensor};
    use convrec_kernels::DecodeCache;
    let device = Device::flex();
    for (p, group, h, hk, tp, capacity, filled, d) in
        [(1, 1, 1, 1, 1, 1, 1, 2), (3, 2, 4, 2, 17, 9, 5, 20), (2, 5, 4, 4, 40, 30, 30, 64), (1, 8, 6, 1, 33, 4, 1, 32)]
    {
        let b = p * group;
        let tensor = |shape: [usize; 4], seed| -> Tensor<4> {
            common::flat(common::random(shape.iter().product(), seed), &device).reshape(shape)
        };
        let lengths: Vec<usize> = (0..p).map(|n| tp - n * 5).collect();
        let cache = DecodeCache {
            // As prefill leaves them: views of `[P, Tp, Hk, d]`.
            prompt_k: tensor([p, tp, hk, d], 1).swap_dims(1, 2),
            prompt_v: tensor([p, tp, hk, d], 2).swap_dims(1, 2),
            prompt_lengths: &lengths,
            own_k: tensor([b, hk, capacity, d], 3),
            own_v: tensor([b, hk, capacity, d], 4),
            filled,
        };
        let q = tensor([b, h, 1, d], 5);
        let got = convrec_kernels::decode_attention(q.clone(), cache.clone());
        let expected = convrec_kernels::composed::decode_attention(q, cache);
        assert_eq!(got.dims(), expected.dims());
        assert_close("decode_attention", &host(got.flatten(0, 3)), &host(expected.flatten(0, 3)), TOLERANCE);
    }
}

/// Frozen weights, tensors without autodiff, checkpointing devices and other element types.
#[test]
fn devices_and_types() {
    use burn::tensor::{DType, Device, Tensor};
    use convrec_kernels::linear;
    let tensor =
        |seed, device: &Device| -> Tensor<2> { common::flat(common::random(12 * 8, seed), device).reshape([12, 8]) };
    let plain = Device::flex();
    let expected = host(linear(tensor(1, &plain), tensor(2, &plain)).flatten(0, 1));
    for device in [common::device(), Device::flex().autodiff().gradient_checkpointing()] {
        let (x, weight) = (tensor(1, &device).require_grad(), tensor(2, &device));
        let y = linear(x.clone(), weight.clone());
        assert_eq!(host(y.clone().flatten(0, 1)), expected);
        let gradients = y.sum().backward();
        let dx: Tensor<2> = x.grad(&gradients).expect("x is tracked");
        let ones = Tensor::ones([12, 12], &plain);
        assert_close("dx", &host(dx.flatten(0, 1)), &host(ones.matmul(tensor(2, &plain)).flatten(0, 1)), TOLERANCE);
        assert!(weight.grad(&gradients).is_none());
    }
    let wide = |seed| tensor(seed, &plain).cast(DType::F64);
    let y = linear(wide(1), wide(2));
    assert_eq!(y.dtype(), DType::F64);
    assert_close("f64", &host(y.cast(DType::F32).flatten(0, 1)), &expected, TOLERANCE);
}
