//! Sampler and trainer compute the same numbers, and nothing but a sequence itself changes its numbers.

mod common;

use common::{configs, device, generation, recompute, sequences, sharp, tokens};
use convrec_policy::{Completion, Generation, Policy, Sampling, Sequence};
use proptest::prelude::*;

/// Rounding of different orders of summation; measured 1e-6.
const TOLERANCE: f32 = 1e-5;

fn policies() -> Vec<Policy> {
    configs().iter().enumerate().map(|(n, config)| sharp(config, n as u64)).collect()
}

fn ragged(policy: &Policy, lengths: &[usize]) -> Vec<Vec<u32>> {
    let v = policy.config().vocab_size;
    lengths.iter().enumerate().map(|(n, length)| tokens(*length, v, n as u64)).collect()
}

fn largest_difference(policy: &Policy, prompts: &[&[u32]], found: &[Vec<Completion>], temperature: f32) -> f32 {
    let recomputed = recompute(policy, &sequences(prompts, found), temperature);
    let mut largest: f32 = 0.0;
    for (completion, (log_probs, entropies)) in found.iter().flatten().zip(recomputed) {
        assert_eq!(completion.tokens.len(), completion.log_probs.len());
        let pairs = completion.log_probs.iter().zip(&log_probs).chain(completion.entropies.iter().zip(&entropies));
        largest = pairs.map(|(x, y)| (x - y).abs()).fold(largest, f32::max);
    }
    largest
}

fn slices(rows: &[Vec<u32>]) -> Vec<&[u32]> {
    rows.iter().map(Vec::as_slice).collect()
}

/// An end token that some completions meet early, so that rows end and prompts leave the batch at different steps.
fn common_token(policy: &Policy, prompts: &[&[u32]]) -> u32 {
    let found = policy.generate(prompts, &generation(4, 8));
    let mut counts = vec![0; policy.config().vocab_size];
    found.iter().flatten().flat_map(|c| &c.tokens).for_each(|token| counts[*token as usize] += 1);
    (0..counts.len()).max_by_key(|token| counts[*token]).unwrap() as u32
}

#[test]
fn sampling_and_training_give_the_same_numbers() {
    let (mut left_early, mut largest) = (0, 0f32);
    for policy in policies() {
        let prompts = ragged(&policy, &[9, 1, 14, 5, 9]);
        let prompts = slices(&prompts);
        let end_token = common_token(&policy, &prompts);
        for (group_size, temperature) in [(1, 1.0), (4, 1.0), (3, 0.6), (8, 1.7)] {
            let sampling = Sampling { temperature, ..Sampling::default() };
            let config = Generation { sampling, end_token, ..generation(group_size, 40) };
            let found = policy.generate(&prompts, &config);
            assert!(found.len() == prompts.len() && found.iter().all(|group| group.len() == group_size));
            let difference = largest_difference(&policy, &prompts, &found, temperature);
            largest = largest.max(difference);
            assert!(difference <= TOLERANCE, "{:?}, G {group_size}, {temperature}: {difference}", policy.config());
            let lengths = found.iter().map(|group| group.iter().map(|c| c.tokens.len()).max().unwrap());
            left_early += usize::from(lengths.clone().min() < lengths.max());
            for completion in found.iter().flatten() {
                assert_eq!(completion.ended, completion.tokens.last() == Some(&end_token));
                let before = &completion.tokens[..completion.tokens.len() - 1];
                assert!(!before.contains(&end_token), "nothing after the end");
                assert!(completion.ended || completion.tokens.len() == 40);
            }
        }
    }
    println!("largest difference between sampler and trainer: {largest:.1e} nats");
    assert!(left_early > 0, "no prompt left a batch early: the test shows too little");
}

/// Whatever filters do to the draw, the numbers are those of the unfiltered distribution.
#[test]
fn filters_do_not_change_the_log_probs() {
    let policy = &policies()[0];
    let prompts = ragged(policy, &[3, 8]);
    let prompts = slices(&prompts);
    let filtered = Sampling { top_k: Some(5), top_p: Some(0.9), temperature: 0.8, ..Sampling::default() };
    for (sampling, temperature) in [(filtered, 0.8), (Sampling::greedy(), 1.0)] {
        let found = policy.generate(&prompts, &Generation { sampling, ..generation(3, 12) });
        assert!(largest_difference(policy, &prompts, &found, temperature) <= TOLERANCE);
    }
}

#[test]
fn batching_changes_no_token() {
    for policy in policies() {
        let prompts = ragged(&policy, &[4, 11, 1, 7, 7, 2]);
        let prompts = slices(&prompts);
        let end_token = common_token(&policy, &prompts);
        let config = |max_rows| Generation { max_rows, end_token, ..generation(3, 20) };
        let whole = policy.generate(&prompts, &config(1000));
        assert_eq!(whole, policy.generate(&prompts, &config(1000)), "the same seed, the same bits");
        for max_rows in [1, 3, 7, 12] {
            let parts = policy.generate(&prompts, &config(max_rows));
            for (x, y) in whole.iter().flatten().zip(parts.iter().flatten()) {
                assert_eq!(x.tokens, y.tokens, "max_rows {max_rows}");
            }
        }
        let other = policy.generate(&prompts, &Generation { seed: 1, ..config(1000) });
        assert_ne!(whole, other, "another seed");
        let group = &whole[1];
        assert!(group[0].tokens != group[1].tokens || group[1].tokens != group[2].tokens, "a group of copies");
    }
}

/// A policy made without autodiff can be trained all the same, and numbering survives: an optimiser finds its state.
#[test]
fn parameters_are_numbered_and_trainable() {
    use burn::module::Module;
    for config in configs() {
        let plain = Policy::new(&config, 3, &device()).unwrap();
        let ids = burn::module::list_param_ids(&plain);
        assert_eq!(ids, burn::module::list_param_ids(&Policy::new(&config, 4, &device().autodiff()).unwrap()));
        let loaded = plain.clone().load_safetensors(&plain.to_safetensors().unwrap()).unwrap();
        assert_eq!(ids, burn::module::list_param_ids(&loaded));
        let prompt = tokens(6, config.vocab_size, 1);
        for policy in [plain.train(), loaded.train()] {
            let row = Sequence { prompt: &prompt[..2], completion: &prompt[2..] };
            let gradients = policy.log_probs(&[row], 1.0).log_probs.sum().backward();
            assert_eq!(burn::optim::GradientsParams::from_grads(gradients, &policy).len(), ids.len());
        }
    }
}

/// Autodiff adds gradients, not numbers; and sampling from such a policy works.
#[test]
fn autodiff_changes_nothing() {
    for config in configs() {
        let plain = Policy::new(&config, 3, &device()).unwrap();
        let tracked = Policy::new(&config, 3, &device().autodiff()).unwrap();
        let prompt = tokens(6, config.vocab_size, 1);
        let found = plain.generate(&[&prompt], &generation(2, 9));
        assert_eq!(found, burn::module::Module::valid(&tracked).generate(&[&prompt], &generation(2, 9)));
        let sequences = sequences(&[&prompt], &found);
        let pairs = recompute(&plain, &sequences, 1.0).into_iter().zip(recompute(&tracked, &sequences, 1.0));
        for ((x, x_entropies), (y, y_entropies)) in pairs {
            let pairs = x.iter().zip(&y).chain(x_entropies.iter().zip(&y_entropies));
            pairs.for_each(|(x, y)| assert!((x - y).abs() <= TOLERANCE, "{x} and {y}"));
        }
    }
}

#[test]
fn empty_completions() {
    let policy = &policies()[0];
    let prompt = tokens(5, 50, 1);
    let empty = Sequence { prompt: &prompt, completion: &[] };
    assert_eq!(policy.log_probs(&[empty, empty], 1.0).log_probs.dims(), [2, 0]);
    let full = Sequence { prompt: &prompt[..2], completion: &prompt[2..] };
    let rows = recompute(policy, &[empty, full], 1.0);
    assert!(rows[0].0.is_empty());
    assert_eq!(rows[1].0.len(), 3);
    assert!(policy.generate(&[], &generation(2, 3)).is_empty());
}

#[test]
#[should_panic(expected = "token 50 is not in the policy's vocabulary of 50")]
fn an_unknown_token_is_named() {
    policies()[0].generate(&[&[3, 50]], &generation(1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// A row alone has the numbers it has in a batch, whatever the others' lengths.
    #[test]
    fn padding_changes_nothing(
        model in 0..5usize,
        shapes in prop::collection::vec((1..12usize, 0..15usize), 1..6),
        seed: u64,
        temperature in 0.3..2.0f32,
    ) {
        let config = &configs()[model];
        let policy = sharp(config, 5);
        let texts: Vec<_> = shapes.iter().enumerate().map(|(n, (prompt, completion))| {
            (tokens(*prompt, config.vocab_size, seed ^ n as u64), tokens(*completion, config.vocab_size, seed ^ !(n as u64)))
        }).collect();
        let rows: Vec<_> = texts.iter().map(|(prompt, completion)| Sequence { prompt, completion }).collect();
        let together = recompute(&policy, &rows, temperature);
        for (row, (log_probs, entropies)) in rows.iter().zip(&together) {
            let alone = recompute(&policy, &[*row], temperature);
            for (x, y) in alone[0].0.iter().zip(log_probs).chain(alone[0].1.iter().zip(entropies)) {
                // f32 has 1e-7 of the number itself to give, and tokens at random are as rare as e^-20.
                prop_assert!((x - y).abs() <= TOLERANCE * x.abs().max(1.0), "{} alone, {} in the batch", x, y);
            }
        }
    }
}

/// Longer than the first capacity of the caches.
#[test]
fn growing_caches_change_no_number() {
    let shape = &configs()[1];
    let policy = sharp(&convrec_policy::ModelConfig { max_position_embeddings: 4096, ..shape.clone() }, 5);
    let prompts = ragged(&policy, &[3, 7]);
    let prompts = slices(&prompts);
    let config = Generation { end_token: u32::MAX, ..generation(2, 300) };
    let found = policy.generate(&prompts, &config);
    assert!(found.iter().flatten().all(|completion| completion.tokens.len() == 300));
    let difference = largest_difference(&policy, &prompts, &found, 1.0);
    assert!(difference <= TOLERANCE, "{difference}");
}
