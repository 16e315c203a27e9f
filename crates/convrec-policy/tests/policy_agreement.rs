//! Sampler and trainer compute the same numbers, and nothing but a sequence itself changes its
//! numbers.

mod common;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use common::{configs, device, generation, of_params, recompute, sequences, sharp, tokens};
use convrec_policy::{
    Allowed, Completion, Constraint, Generation, LoraConfig, Policy, Sampling, Sequence,
    TokenLogProbs,
};
use proptest::prelude::*;

/// Rounding of different orders of summation; measured 1e-6.
const TOLERANCE: f32 = 1e-5;

fn policies() -> Vec<Policy> {
    configs()
        .iter()
        .enumerate()
        .map(|(n, config)| sharp(config, n as u64))
        .collect()
}

fn ragged(policy: &Policy, lengths: &[usize]) -> Vec<Vec<u32>> {
    let v = policy.config().vocab_size;
    lengths
        .iter()
        .enumerate()
        .map(|(n, length)| tokens(*length, v, n as u64))
        .collect()
}

fn largest_difference(
    policy: &Policy,
    prompts: &[&[u32]],
    found: &[Vec<Completion>],
    temperature: f32,
) -> f32 {
    let recomputed = recompute(policy, &sequences(prompts, found), temperature);
    let mut largest: f32 = 0.0;
    for (completion, (log_probs, entropies)) in found.iter().flatten().zip(recomputed) {
        assert_eq!(completion.tokens.len(), completion.log_probs.len());
        let pairs = completion
            .log_probs
            .iter()
            .zip(&log_probs)
            .chain(completion.entropies.iter().zip(&entropies));
        largest = pairs.map(|(x, y)| (x - y).abs()).fold(largest, f32::max);
    }
    largest
}

fn slices(rows: &[Vec<u32>]) -> Vec<&[u32]> {
    rows.iter().map(Vec::as_slice).collect()
}

/// An end token that some completions meet early, so that rows end and prompts leave the batch at
/// different steps.
fn common_token(policy: &Policy, prompts: &[&[u32]]) -> u32 {
    let found = policy.generate(prompts, &generation(4, 8));
    let mut counts = vec![0; policy.config().vocab_size];
    found
        .iter()
        .flatten()
        .flat_map(|c| &c.tokens)
        .for_each(|token| counts[*token as usize] += 1);
    (0..counts.len())
        .max_by_key(|token| counts[*token])
        .unwrap() as u32
}

#[test]
fn sampling_and_training_give_the_same_numbers() {
    let (mut left_early, mut largest) = (0, 0f32);
    for policy in policies() {
        let prompts = ragged(&policy, &[9, 1, 14, 5, 9]);
        let prompts = slices(&prompts);
        let end_token = common_token(&policy, &prompts);
        for (group_size, temperature) in [(1, 1.0), (4, 1.0), (3, 0.6), (8, 1.7)] {
            let sampling = Sampling {
                temperature,
                ..Sampling::default()
            };
            let config = Generation {
                sampling,
                end_token,
                ..generation(group_size, 40)
            };
            let found = policy.generate(&prompts, &config);
            assert!(
                found.len() == prompts.len() && found.iter().all(|group| group.len() == group_size)
            );
            let difference = largest_difference(&policy, &prompts, &found, temperature);
            largest = largest.max(difference);
            assert!(
                difference <= TOLERANCE,
                "{:?}, G {group_size}, {temperature}: {difference}",
                policy.config()
            );
            let lengths = found
                .iter()
                .map(|group| group.iter().map(|c| c.tokens.len()).max().unwrap());
            left_early += usize::from(lengths.clone().min() < lengths.max());
            for completion in found.iter().flatten() {
                assert_eq!(
                    completion.ended,
                    completion.tokens.last() == Some(&end_token)
                );
                let before = &completion.tokens[..completion.tokens.len() - 1];
                assert!(!before.contains(&end_token), "nothing after the end");
                assert!(completion.ended || completion.tokens.len() == 40);
            }
        }
    }
    println!("largest difference between sampler and trainer: {largest:.1e} nats");
    assert!(
        left_early > 0,
        "no prompt left a batch early: the test shows too little"
    );
}

/// With any filters of the draw, the numbers are those of the unfiltered distribution.
#[test]
fn filters_do_not_change_the_log_probs() {
    let policy = &policies()[0];
    let prompts = ragged(policy, &[3, 8]);
    let prompts = slices(&prompts);
    let filtered = Sampling {
        top_k: Some(5),
        top_p: Some(0.9),
        temperature: 0.8,
        ..Sampling::default()
    };
    for (sampling, temperature) in [(filtered, 0.8), (Sampling::greedy(), 1.0)] {
        let found = policy.generate(
            &prompts,
            &Generation {
                sampling,
                ..generation(3, 12)
            },
        );
        assert!(largest_difference(policy, &prompts, &found, temperature) <= TOLERANCE);
    }
}

#[test]
fn batching_changes_no_token() {
    for policy in policies() {
        let prompts = ragged(&policy, &[4, 11, 1, 7, 7, 2]);
        let prompts = slices(&prompts);
        let end_token = common_token(&policy, &prompts);
        let config = |max_rows| Generation {
            max_rows,
            end_token,
            ..generation(3, 20)
        };
        let whole = policy.generate(&prompts, &config(1000));
        assert_eq!(
            whole,
            policy.generate(&prompts, &config(1000)),
            "the same seed, the same bits"
        );
        for max_rows in [1, 3, 7, 12] {
            let parts = policy.generate(&prompts, &config(max_rows));
            for (x, y) in whole.iter().flatten().zip(parts.iter().flatten()) {
                assert_eq!(x.tokens, y.tokens, "max_rows {max_rows}");
            }
        }
        let other = policy.generate(
            &prompts,
            &Generation {
                seed: 1,
                ..config(1000)
            },
        );
        assert_ne!(whole, other, "another seed");
        let group = &whole[1];
        assert!(
            group[0].tokens != group[1].tokens || group[1].tokens != group[2].tokens,
            "a group of copies"
        );
    }
}

/// A policy made without autodiff can be trained too. Its numbering stays, so an optimiser finds
/// its state.
#[test]
fn parameters_are_numbered_and_trainable() {
    for config in configs() {
        let plain = Policy::new(&config, 3, &device()).unwrap();
        let ids = burn::module::list_param_ids(&plain);
        assert_eq!(
            ids,
            burn::module::list_param_ids(&Policy::new(&config, 4, &device().autodiff()).unwrap())
        );
        let loaded = plain
            .clone()
            .load_safetensors(&plain.to_safetensors().unwrap())
            .unwrap();
        assert_eq!(ids, burn::module::list_param_ids(&loaded));
        let prompt = tokens(6, config.vocab_size, 1);
        for policy in [plain.train(), loaded.train()] {
            let row = Sequence {
                prompt: &prompt[..2],
                completion: &prompt[2..],
            };
            let gradients = policy.log_probs(&[row], 1.0).log_probs.sum().backward();
            assert_eq!(
                burn::optim::GradientsParams::from_grads(gradients, &policy).len(),
                ids.len()
            );
        }
    }
}

/// Autodiff changes no numbers, and sampling from such a policy works.
#[test]
fn autodiff_changes_nothing() {
    for config in configs() {
        let plain = Policy::new(&config, 3, &device()).unwrap();
        let tracked = Policy::new(&config, 3, &device().autodiff()).unwrap();
        let prompt = tokens(6, config.vocab_size, 1);
        let found = plain.generate(&[&prompt], &generation(2, 9));
        assert_eq!(
            found,
            burn::module::Module::valid(&tracked).generate(&[&prompt], &generation(2, 9))
        );
        let sequences = sequences(&[&prompt], &found);
        let pairs = recompute(&plain, &sequences, 1.0)
            .into_iter()
            .zip(recompute(&tracked, &sequences, 1.0));
        for ((x, x_entropies), (y, y_entropies)) in pairs {
            let pairs = x.iter().zip(&y).chain(x_entropies.iter().zip(&y_entropies));
            pairs.for_each(|(x, y)| assert!((x - y).abs() <= TOLERANCE, "{x} and {y}"));
        }
    }
}

/// A prompt that is computed once for its completions gives the numbers, and the gradients, of one
/// computed for each.
#[test]
fn shared_prompts_change_no_number() {
    for config in configs() {
        let policy = sharp(&config, 3).train();
        let v = config.vocab_size;
        let prompts = [tokens(70, v, 1), tokens(5, v, 2)];
        // Completions of different lengths, one of a single token; the first prompt comes back at
        // the end.
        let rows: Vec<(usize, Vec<u32>)> = [(0, 9), (0, 1), (0, 66), (1, 4), (1, 12), (0, 3)]
            .iter()
            .enumerate()
            .map(|(n, &(p, length))| (p, tokens(length, v, 10 + n as u64)))
            .collect();
        let sequences: Vec<Sequence<'_>> = rows
            .iter()
            .map(|(p, completion)| Sequence {
                prompt: &prompts[*p],
                completion,
            })
            .collect();
        let run = |rows: &[Sequence<'_>]| {
            let TokenLogProbs {
                log_probs: found,
                tape,
                ..
            } = policy.log_probs(rows, 0.8);
            let width = found.dims()[1];
            let weights = TensorData::new(
                (0..rows.len() * width)
                    .map(|n| (n % width) as f32)
                    .collect(),
                [rows.len(), width],
            );
            let loss = (found.clone() * Tensor::from_data(weights, &found.device())).sum();
            let gradients = of_params(&policy, &tape.backward(loss, &policy));
            (
                found.into_data().try_into_vec_as::<f32>().unwrap(),
                gradients,
            )
        };
        let (packed, of_packed) = run(&sequences);
        let width = packed.len() / rows.len();
        let mut replicated = vec![];
        let mut of_replicated: Vec<Vec<f32>> = of_packed
            .iter()
            .map(|gradient| vec![0.0; gradient.len()])
            .collect();
        for sequence in &sequences {
            let (mut row, gradients) = run(&[*sequence]);
            row.resize(width, 0.0);
            replicated.extend(row);
            for (sum, part) in of_replicated.iter_mut().zip(gradients) {
                sum.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
            }
        }
        for (x, y) in packed.iter().zip(&replicated) {
            assert!((x - y).abs() <= TOLERANCE, "{x} and {y}");
        }
        for (packed, replicated) in of_packed.iter().zip(&of_replicated) {
            let largest = replicated.iter().fold(1e-3f32, |max, x| max.max(x.abs()));
            for (x, y) in packed.iter().zip(replicated) {
                assert!(
                    (x - y).abs() <= 2e-5 * largest,
                    "gradients {x} and {y}, the largest is {largest}"
                );
            }
        }
    }
}

/// Blocks that are computed once more on the way back give the same gradients.
#[test]
fn gradient_checkpointing_changes_no_number() {
    for config in configs() {
        let plain = sharp(&config, 5).train();
        let v = config.vocab_size;
        let (prompts, rows) = (
            [tokens(30, v, 1), tokens(4, v, 2)],
            [tokens(7, v, 3), tokens(12, v, 4), tokens(2, v, 5)],
        );
        let sequences: Vec<Sequence<'_>> = rows
            .iter()
            .enumerate()
            .map(|(n, completion)| Sequence {
                prompt: &prompts[n / 2],
                completion,
            })
            .collect();
        let allowed: Vec<Allowed> = rows
            .iter()
            .map(|row| Allowed::along(&mut Neighbours::of(row, v), row))
            .collect();
        let allowed: Vec<&Allowed> = allowed.iter().collect();
        let run = |policy: &Policy, constrained: bool| {
            let output = if constrained {
                policy.log_probs_constrained(&sequences, &allowed, 0.9)
            } else {
                policy.log_probs(&sequences, 0.9)
            };
            let TokenLogProbs {
                log_probs, tape, ..
            } = output;
            let values = log_probs
                .clone()
                .into_data()
                .try_into_vec_as::<f32>()
                .unwrap();
            let gradients = tape.backward((log_probs.clone() * log_probs).sum(), policy);
            (values, of_params(policy, &gradients))
        };
        let adapted = plain
            .clone()
            .with_lora(
                &LoraConfig {
                    rank: 3,
                    ..LoraConfig::default()
                },
                7,
            )
            .unwrap();
        for (policy, constrained) in [
            (&plain, false),
            (&plain, true),
            (&adapted, false),
            (&adapted, true),
        ] {
            let (values, gradients) = run(policy, constrained);
            let (same_values, same_gradients) = run(
                &policy.clone().with_gradient_checkpointing(true),
                constrained,
            );
            for (x, y) in values.iter().zip(&same_values) {
                assert!((x - y).abs() <= TOLERANCE, "{x} and {y}");
            }
            assert!(gradients.len() > 10 && gradients.len() == same_gradients.len());
            for (x, y) in gradients.iter().zip(&same_gradients) {
                let largest = x.iter().fold(1e-3f32, |max, x| max.max(x.abs()));
                assert!(
                    x.iter()
                        .zip(y)
                        .all(|(x, y)| (x - y).abs() <= 1e-5 * largest)
                );
            }
        }
    }
}

/// Allows each token of a row and two others.
struct Neighbours {
    row: Vec<u32>,
    vocabulary: u32,
    allowed: Vec<u32>,
}

impl Neighbours {
    fn of(row: &[u32], vocabulary: usize) -> Self {
        let mut constraint = Self {
            row: row.iter().rev().copied().collect(),
            vocabulary: vocabulary as u32,
            allowed: vec![],
        };
        constraint.push(0);
        constraint
    }
}

impl Constraint for Neighbours {
    fn allowed(&self) -> &[u32] {
        &self.allowed
    }

    fn push(&mut self, _: u32) {
        let next = self.row.pop();
        self.allowed = next
            .into_iter()
            .flat_map(|x| [x, (x + 1) % self.vocabulary, (x + 9) % self.vocabulary])
            .collect();
        self.allowed.sort_unstable();
        self.allowed.dedup();
    }
}

/// Products in bf16: the sampler's copy gives the trainer's numbers to the rounding of bf16, and
/// gradients stay in f32.
#[test]
fn bf16_products_agree_between_sampling_and_training() {
    for config in configs() {
        let master = Policy::new(&config, 3, &device().autodiff()).unwrap();
        let policy = master.clone().with_bf16_products(true);
        let prompts = [
            tokens(9, config.vocab_size, 1),
            tokens(4, config.vocab_size, 2),
        ];
        let prompts = slices(&prompts);
        let found = policy
            .valid()
            .bf16_copy()
            .generate(&prompts, &generation(3, 12));
        let difference = largest_difference(&policy, &prompts, &found, 1.0);
        assert!(difference < 0.05, "{difference} nats");
        assert!(
            largest_difference(&master, &prompts, &found, 1.0) > 1e-6,
            "bf16 was not used"
        );
        let TokenLogProbs {
            log_probs, tape, ..
        } = policy.log_probs(&sequences(&prompts, &found), 1.0);
        for gradient in of_params(&policy, &tape.backward(log_probs.sum(), &policy)) {
            assert!(gradient.iter().all(|x| x.is_finite()));
        }
    }
}

#[test]
fn empty_completions() {
    let policy = &policies()[0];
    let prompt = tokens(5, 50, 1);
    let empty = Sequence {
        prompt: &prompt,
        completion: &[],
    };
    assert_eq!(
        policy.log_probs(&[empty, empty], 1.0).log_probs.dims(),
        [2, 0]
    );
    let full = Sequence {
        prompt: &prompt[..2],
        completion: &prompt[2..],
    };
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
                // f32 has 1e-7 of the number itself to give, and tokens at random are as rare as
                // e^-20.
                prop_assert!((x - y).abs() <= TOLERANCE * x.abs().max(1.0), "{} alone, {} in the \
                    batch", x, y);
            }
        }
    }
}

/// Completions are longer than the first capacity of the caches.
#[test]
fn growing_caches_change_no_number() {
    let shape = &configs()[1];
    let policy = sharp(
        &convrec_policy::ModelConfig {
            max_position_embeddings: 4096,
            ..shape.clone()
        },
        5,
    );
    let prompts = ragged(&policy, &[3, 7]);
    let prompts = slices(&prompts);
    let config = Generation {
        end_token: u32::MAX,
        ..generation(2, 300)
    };
    let found = policy.generate(&prompts, &config);
    assert!(
        found
            .iter()
            .flatten()
            .all(|completion| completion.tokens.len() == 300)
    );
    let difference = largest_difference(&policy, &prompts, &found, 1.0);
    assert!(difference <= TOLERANCE, "{difference}");
}
