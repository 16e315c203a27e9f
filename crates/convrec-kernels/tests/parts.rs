//! Attention in parts against attention as a whole, composed of burn's operations.

mod common;

use burn::tensor::Tensor;
use common::{device, flat, random};
use convrec_kernels::{Packing, attention_part, attention_parts, composed};
use proptest::prelude::*;

const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const WIDTH: usize = 3;

/// Trunks with their branches; some of no tokens.
fn packing() -> impl Strategy<Value = Packing> {
    let tree = (0usize..9, prop::collection::vec(0usize..9, 0..4));
    let trees = prop::collection::vec(tree, 1..4);
    (trees, prop::option::of(1usize..8), any::<bool>()).prop_map(|(trees, window, both_ways)| {
        let mut packing = match both_ways {
            true => Packing::both_ways(),
            false => Packing::default(),
        };
        for (length, branches) in trees {
            let trunk = packing.add(length);
            for length in branches.into_iter().filter(|_| !both_ways) {
                packing.branch(trunk, length);
            }
        }
        match window.filter(|_| !both_ways) {
            Some(window) => packing.with_window(window),
            None => packing,
        }
    })
}

/// The output of all tokens, and its gradients by q, k and v for one weighting of the outputs.
fn outcome(packing: &Packing, scores: Option<usize>) -> Vec<Vec<f32>> {
    let m = packing.tokens();
    let input = |heads: usize, seed| {
        let values = random(m * heads * WIDTH, seed);
        let values = flat(values, &device()).reshape([m, heads, WIDTH]);
        values.require_grad()
    };
    let inputs: [Tensor<3>; 3] = [input(HEADS, 1), input(KV_HEADS, 2), input(KV_HEADS, 3)];
    let [q, k, v] = inputs.clone();
    let output = match scores {
        None => composed::attention(q, k, v, packing),
        Some(scores) => {
            let parts = attention_parts(packing, HEADS, scores);
            let part = |part| attention_part(q.clone(), k.clone(), v.clone(), packing, part);
            Tensor::cat(parts.iter().map(part).collect(), 0)
        }
    };
    let weights = flat(random(m * HEADS * WIDTH, 4), &device()).reshape([m, HEADS, WIDTH]);
    let gradients = (output.clone() * weights).sum().backward();
    let numbers = |x: Tensor<3>| x.into_data().try_to_vec::<f32>().unwrap();
    let slopes = inputs.iter().map(|x| numbers(x.grad(&gradients).unwrap()));
    std::iter::once(numbers(output.inner()))
        .chain(slopes)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn parts_are_the_whole(packing in packing(), scores in 1usize..2000) {
        prop_assume!(packing.tokens() > 0);
        let (whole, parts) = (outcome(&packing, None), outcome(&packing, Some(scores)));
        for (whole, parts) in whole.iter().zip(&parts) {
            for (a, b) in whole.iter().zip(parts) {
                prop_assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{} and {}", a, b);
            }
        }
    }

    /// Each token is a query once, in order, and a part of several queries keeps to the limit.
    #[test]
    fn parts_cover_the_tokens(packing in packing(), scores in 1usize..2000) {
        let parts = attention_parts(&packing, HEADS, scores);
        let mut next = 0;
        let positions = packing.positions();
        for part in parts {
            let queries = part.queries();
            prop_assert_eq!(queries.start, next);
            next = queries.end;
            // A query sees at least the keys up to its position.
            let keys = positions[queries.clone()].iter().max().unwrap() + 1;
            let least = HEADS * queries.len() * keys.min(queries.len());
            prop_assert!(queries.len() == 1 || least <= scores.max(HEADS * keys), "{:?}", queries);
        }
        prop_assert_eq!(next, packing.tokens());
    }
}

/// Without autodiff many scores are computed in parts, and the output is the same.
#[test]
fn many_scores_are_computed_in_parts() {
    let mut packing = Packing::default();
    let trunk = packing.add(1500);
    packing.branch(trunk, 1100);
    let m = packing.tokens();
    let input = |heads: usize, seed| {
        flat(random(m * heads * WIDTH, seed), &device()).reshape([m, heads, WIDTH])
    };
    let [q, k, v] = [input(HEADS, 1), input(KV_HEADS, 2), input(KV_HEADS, 3)];
    let whole = composed::attention(q.clone(), k.clone(), v.clone(), &packing).inner();
    let parts = composed::attention(q.inner(), k.inner(), v.inner(), &packing);
    let apart: f32 = (whole - parts).abs().max().into_scalar();
    assert!(apart < 1e-5, "{apart}");
}
