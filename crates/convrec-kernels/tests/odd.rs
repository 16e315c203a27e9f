//! Odd inputs: none at all, views into larger tensors that begin anywhere, and the scalar code that
//! machines without vectors run.

mod common;

use burn::tensor::{Device, Int, Tensor, TensorData};
use common::{assert_close, host, random};
use convrec_kernels::{self as fused, AdamW, DecodeCache, Packing, composed};
use proptest::prelude::*;

const TOLERANCE: f32 = 2e-5;

fn tensor<const N: usize>(shape: [usize; N], seed: u64) -> Tensor<N> {
    let values = random(shape.iter().product(), seed);
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn empty<const N: usize>(shape: [usize; N]) -> Tensor<N> {
    Tensor::zeros(shape, &Device::flex())
}

fn targets(m: usize) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(vec![0i64; m], [m]), &Device::flex())
}

#[test]
fn nothing_in_is_nothing_out() {
    assert_eq!(
        fused::linear(empty([0, 5]), tensor([3, 5], 1)).dims(),
        [0, 3]
    );
    assert_eq!(
        fused::linear(empty([2, 0, 5]), tensor([3, 5], 1)).dims(),
        [2, 0, 3]
    );
    assert_eq!(
        fused::rms_norm(empty([0, 5]), tensor([5], 1), 1e-5).dims(),
        [0, 5]
    );
    assert_eq!(fused::swiglu(empty([0, 7]), empty([0, 7])).dims(), [0, 7]);
    assert_eq!(
        fused::bias_gelu(empty([0, 4]), tensor([4], 1)).dims(),
        [0, 4]
    );
    let turned = fused::rotate(empty([0, 2, 6]), empty([0, 3]), empty([0, 3]));
    assert_eq!(turned.dims(), [0, 2, 6]);
    for packing in [
        Packing::default(),
        Packing::rectangle(3, 0),
        Packing::both_ways(),
    ] {
        let heads = |n| empty([0, n, 4]);
        assert_eq!(
            fused::attention(heads(2), heads(1), heads(1), &packing).dims(),
            [0, 2, 4]
        );
    }
    let cache = DecodeCache {
        k: tensor([5, 1, 4], 1),
        v: tensor([5, 1, 4], 2),
        window: None,
    };
    assert_eq!(
        fused::decode_attention(empty([0, 2, 4]), &cache, &[]).dims(),
        [0, 2, 4]
    );
    let (log_probs, entropies) =
        fused::token_log_probs(empty([0, 5]), tensor([9, 5], 1), targets(0), 1.0);
    assert_eq!((log_probs.dims(), entropies.dims()), ([0], [0]));
    let weight = tensor([9, 5], 1);
    assert_eq!(
        fused::logits_constrained(empty([0, 5]), weight.clone(), &[]).dims(),
        [0]
    );
    let (log_probs, _) =
        fused::token_log_probs_constrained(empty([0, 5]), weight, targets(0), &[], &[], 1.0);
    assert_eq!(log_probs.dims(), [0]);
    assert_eq!(fused::sum_of_squares(empty([0])), 0.0);
    let config = AdamW {
        learning_rate: 0.1,
        beta_1: 0.9,
        beta_2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.1,
        time: 1,
    };
    let (weight, _) = config.update(empty([0]), empty([0]), [empty([0]), empty([0])]);
    assert_eq!(weight.dims(), [0]);
}

/// A tensor of these numbers that lies inside a larger one, from an odd place on, its dimensions
/// in another order.
fn inside(x: Tensor<2>, before: usize, turned: bool) -> Tensor<2> {
    let [m, n] = x.dims();
    let x = if turned { x.transpose() } else { x };
    let [rows, columns] = x.dims();
    let around = Tensor::<2>::full([rows + 3, columns + before + 2], 1e30, &x.device());
    let place = [1..rows + 1, before..before + columns];
    let part = around.slice_assign(place.clone(), x).slice(place);
    let part = if turned { part.transpose() } else { part };
    assert_eq!(part.dims(), [m, n]);
    part
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn views_into_other_tensors(
        (m, n, k) in (1usize..50, 2usize..50, 1usize..50),
        before in 0usize..20,
        turned: bool,
    ) {
        let view = |shape, seed| inside(tensor(shape, seed), before, turned);
        let check = |what: &str, got: Tensor<2>, expected: Tensor<2>| {
            assert_eq!(got.dims(), expected.dims());
            assert_close(
                what,
                &host(got.flatten(0, 1)),
                &host(expected.flatten(0, 1)),
                TOLERANCE,
            );
        };
        let (x, w) = (|| view([m, k], 1), || view([n, k], 2));
        check(
            "linear",
            fused::linear(x(), w()),
            composed::linear(tensor([m, k], 1), tensor([n, k], 2)),
        );
        let scale = tensor([k], 3);
        check(
            "rms_norm",
            fused::rms_norm(x(), scale.clone(), 1e-5),
            composed::rms_norm(x(), scale, 1e-5),
        );
        let up = || view([m, k], 4);
        check(
            "swiglu",
            fused::swiglu(x(), up()),
            composed::swiglu(x(), up()),
        );
        let bias = tensor([k], 5);
        check(
            "bias_gelu",
            fused::bias_gelu(x(), bias.clone()),
            composed::bias_gelu(x(), bias),
        );
        let squares: f64 = host(tensor([m, k], 1).flatten(0, 1))
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum();
        let found = fused::sum_of_squares(x());
        prop_assert!(
            (found - squares).abs() <= 1e-6 * squares.max(1e-6),
            "{} and {}",
            found,
            squares
        );
        let row = |x: (Tensor<1>, Tensor<1>)| Tensor::cat(vec![x.0, x.1], 0).unsqueeze::<2>();
        let ids: Vec<i64> = (0..m).map(|row| (row * 7 % n) as i64).collect();
        let ids =
            || Tensor::<1, Int>::from_data(TensorData::new(ids.clone(), [m]), &Device::flex());
        check(
            "token_log_probs",
            row(fused::token_log_probs(x(), w(), ids(), 0.9)),
            row(composed::token_log_probs(x(), w(), ids(), 0.9)),
        );
    }

    /// Heads whose tokens lie in the memory order of another layout.
    #[test]
    fn heads_in_another_order(
        t in 1usize..90,
        hk in 1usize..4,
        group in 1usize..4,
        half in 1usize..9,
        window in 1usize..100,
    ) {
        let (h, d) = (hk * group, 2 * half);
        // [H, T, d] in memory, seen as [T, H, d].
        let heads = |h, seed| tensor([h, t, d], seed).swap_dims(0, 1);
        let packing = Packing::rectangle(1, t);
        for packing in [packing.clone(), packing.with_window(window)] {
            let got = fused::attention(heads(h, 1), heads(hk, 2), heads(hk, 3), &packing);
            let expected = composed::attention(heads(h, 1), heads(hk, 2), heads(hk, 3), &packing);
            assert_close(
                "attention",
                &host(got.flatten(0, 2)),
                &host(expected.flatten(0, 2)),
                TOLERANCE,
            );
        }
        let angles = tensor([half, t], 4).swap_dims(0, 1);
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        let got = fused::rotate(heads(h, 1), cos.clone(), sin.clone());
        let expected = composed::rotate(heads(h, 1), cos, sin);
        assert_close(
            "rotate",
            &host(got.flatten(0, 2)),
            &host(expected.flatten(0, 2)),
            TOLERANCE,
        );
    }
}

/// By the definition: every pair of tokens in one sequence and in one window.
#[test]
fn a_window_holds_the_tokens_just_before() {
    let (trunk, branch, window, d) = (70, 40, 9, 4);
    let mut packing = Packing::default();
    let id = packing.add(trunk);
    packing.branch(id, branch);
    packing.branch(id, branch);
    let packing = packing.with_window(window);
    let m = packing.tokens();
    let [q, k, v] = [1, 2, 3].map(|seed| tensor([m, 1, d], seed));
    let found = host(fused::attention(q.clone(), k.clone(), v.clone(), &packing).flatten(0, 2));
    let [q, k, v] = [q, k, v].map(|x| host(x.flatten(0, 2)));
    let row = |x: &[f32], t: usize| x[t * d..][..d].to_vec();
    for t in 0..m {
        // The sequence of a token: the trunk, then its own branch.
        let first = if t < trunk {
            0
        } else {
            trunk + (t - trunk) / branch * branch
        };
        let before = if t < trunk { 0..0 } else { 0..trunk };
        let seen: Vec<usize> = before.chain(first..t + 1).collect();
        let seen = &seen[seen.len().saturating_sub(window)..];
        let dot =
            |s: &usize| -> f32 { row(&q, t).iter().zip(row(&k, *s)).map(|(a, b)| a * b).sum() };
        let weights: Vec<f32> = seen.iter().map(|s| (dot(s) / 2.0).exp()).collect();
        let sum: f32 = weights.iter().sum();
        for i in 0..d {
            let mixed: f32 = seen
                .iter()
                .zip(&weights)
                .map(|(s, w)| w * row(&v, *s)[i])
                .sum();
            assert!((found[t * d + i] - mixed / sum).abs() < 1e-5, "token {t}");
        }
    }
}

#[test]
#[should_panic(expected = "a window holds a token at least")]
fn a_window_of_nothing_is_refused() {
    let _ = Packing::rectangle(1, 3).with_window(0);
}
