//! A policy that begins as a recommender by vectors of items.

use burn::module::Module;
use burn::tensor::Device;
use convrec_policy::{ModelConfig, Policy, Sequence};

const WIDTH: usize = 64;
const ITEMS: std::ops::Range<u32> = 10..40;
const ASKS: u32 = 5;

/// Items n and n + 15 are alike, and no others.
fn vector(item: u32) -> Vec<f32> {
    (0..WIDTH - 2)
        .map(|at| {
            if at as u32 == (item - ITEMS.start) % 15 {
                1.0
            } else {
                0.0
            }
        })
        .collect()
}

fn policy(heads: usize) -> Policy {
    Policy::new(
        &ModelConfig::small(48, WIDTH, 2, heads),
        3,
        &Device::flex().autodiff(),
    )
    .unwrap()
}

#[test]
fn items_like_those_in_the_prompt_are_likeliest_from_the_start() {
    let vectors: Vec<(u32, Vec<f32>)> = ITEMS.map(|item| (item, vector(item))).collect();
    let policy = policy(4).with_item_vectors(&vectors, ASKS).unwrap().valid();
    for item in ITEMS {
        // Other tokens stand around it.
        let prompt = [1, 2, 3, 4, 6, item, 7, 41, 42, ASKS];
        let log_prob = |next: u32| {
            let completion = [next];
            let sequence = Sequence {
                prompt: &prompt,
                completion: &completion,
            };
            policy
                .log_probs(&[sequence], 1.0)
                .log_probs
                .into_data()
                .try_into_vec::<f32>()
                .unwrap()[0]
        };
        let mut best: Vec<u32> = ITEMS.collect();
        best.sort_by(|a, b| log_prob(*b).total_cmp(&log_prob(*a)));
        best[..2].sort_unstable();
        let other = (item - ITEMS.start + 15) % 30 + ITEMS.start;
        assert_eq!(best[..2], [item.min(other), item.max(other)]);
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let error = |policy: Policy, width: usize| {
        policy
            .with_item_vectors(&[(10, vec![1.0; width])], ASKS)
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default()
    };
    assert_eq!(error(policy(4), WIDTH - 2), "");
    assert!(error(policy(4), WIDTH).contains("token 10 has a vector of 64; expected 62"));
    let narrow = ModelConfig {
        num_key_value_heads: 2,
        ..ModelConfig::small(48, WIDTH, 1, 4)
    };
    let narrow = Policy::new(&narrow, 3, &Device::flex()).unwrap();
    assert!(error(narrow, WIDTH - 2).contains("num_attention_heads"));
}
