//! Constrained sampling only draws allowed tokens, and the trainer computes its numbers.

mod common;

use burn::tensor::Tensor;
use common::{configs, generation, sharp, tokens};
use convrec_policy::{Allowed, Completion, Constraint, Generation, Policy, Sampling, Sequence};
use proptest::prelude::*;

/// Allows a set of tokens that depends on all tokens before, now and then only one. It ends after
/// `left` more tokens.
#[derive(Clone)]
struct Hashed {
    vocabulary: u32,
    state: u64,
    left: usize,
    allowed: Vec<u32>,
    /// At every other place.
    prior: Option<Vec<f32>>,
}

impl Hashed {
    fn new(vocabulary: usize, seed: u64, left: usize) -> Self {
        let mut constraint = Self {
            vocabulary: vocabulary as u32,
            state: seed,
            left,
            allowed: vec![],
            prior: None,
        };
        constraint.choose();
        constraint
    }

    fn next(&mut self) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.state >> 33
    }

    fn choose(&mut self) {
        let count = [1, 2, 3, 17, 1][self.next() as usize % 5];
        self.allowed = (0..count)
            .map(|_| (self.next() % u64::from(self.vocabulary)) as u32)
            .collect();
        self.allowed.sort_unstable();
        self.allowed.dedup();
        let logit = |token: &u32| (token % 5) as f32 / 2.0 - 1.0;
        self.prior = self
            .left
            .is_multiple_of(2)
            .then(|| self.allowed.iter().map(logit).collect());
    }
}

impl Constraint for Hashed {
    fn allowed(&self) -> &[u32] {
        &self.allowed
    }

    fn prior(&self) -> Option<&[f32]> {
        self.prior.as_deref()
    }

    fn push(&mut self, token: u32) {
        self.state ^= u64::from(token);
        self.left -= 1;
        self.choose();
        if self.left == 0 {
            self.allowed.clear();
        }
    }
}

/// The constraint of prompt p.
fn constraint(policy: &Policy, p: usize) -> Hashed {
    Hashed::new(policy.config().vocab_size, 77 + p as u64, 5 + 4 * p)
}

fn sample(policy: &Policy, prompts: &[Vec<u32>], config: &Generation) -> Vec<Vec<Completion>> {
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    policy.generate_constrained(&prompts, config, &|p| Box::new(constraint(policy, p)))
}

fn prompts(policy: &Policy) -> Vec<Vec<u32>> {
    let v = policy.config().vocab_size;
    [9, 1, 14, 5]
        .iter()
        .enumerate()
        .map(|(n, length)| tokens(*length, v, n as u64))
        .collect()
}

/// An end token that the constraint knows nothing of.
fn config(group_size: usize, temperature: f32) -> Generation {
    let sampling = Sampling {
        temperature,
        ..Sampling::default()
    };
    Generation {
        sampling,
        end_token: u32::MAX,
        ..generation(group_size, 40)
    }
}

#[test]
fn sampling_and_training_give_the_same_numbers_under_a_constraint() {
    for (n, shape) in configs().iter().enumerate() {
        let policy = sharp(shape, n as u64);
        let prompts = prompts(&policy);
        for (group_size, temperature) in [(1, 1.0), (4, 1.0), (3, 0.6)] {
            let found = sample(&policy, &prompts, &config(group_size, temperature));
            let rows: Vec<(usize, &Completion)> = found
                .iter()
                .enumerate()
                .flat_map(|(p, group)| group.iter().map(move |c| (p, c)))
                .collect();
            let allowed: Vec<Allowed> = rows
                .iter()
                .map(|(p, c)| Allowed::along(&mut constraint(&policy, *p), &c.tokens))
                .collect();
            let sequences: Vec<Sequence<'_>> = rows
                .iter()
                .map(|(p, c)| Sequence {
                    prompt: &prompts[*p],
                    completion: &c.tokens,
                })
                .collect();
            let output = policy.log_probs_constrained(
                &sequences,
                &allowed.iter().collect::<Vec<_>>(),
                temperature,
            );
            let [log_probs, entropies] = [output.log_probs, output.entropies].map(host);
            for (row, (p, completion)) in rows.iter().enumerate() {
                assert!(
                    completion.ended && completion.tokens.len() == 5 + 4 * p,
                    "ends where nothing is allowed"
                );
                let choices = (1..completion.tokens.len())
                    .filter(|&t| !allowed[row].is_forced(t))
                    .count();
                assert_eq!(
                    completion.passes,
                    1 + choices,
                    "one for the prompt, and one for every choice after the first"
                );
                for t in 0..completion.tokens.len() {
                    let differences = [
                        completion.log_probs[t] - log_probs[row][t],
                        completion.entropies[t] - entropies[row][t],
                    ];
                    assert!(
                        differences.iter().all(|x| x.abs() <= 1e-5),
                        "{shape:?}, row {row}, {t}: {differences:?}"
                    );
                    if allowed[row].is_forced(t) {
                        assert_eq!((completion.log_probs[t], log_probs[row][t]), (0.0, 0.0));
                    }
                }
            }
        }
    }
}

/// The numbers are compared with the definition, from all log-probabilities.
#[test]
fn log_probs_are_those_of_the_renormalised_softmax() {
    for (n, shape) in configs().iter().enumerate() {
        let policy = sharp(shape, 10 + n as u64);
        let v = shape.vocab_size;
        let (prompt, completion) = (tokens(6, v, 1), tokens(9, v, 2));
        let sets: Vec<Vec<u32>> = completion
            .iter()
            .enumerate()
            .map(|(t, token)| {
                let mut set = vec![
                    *token,
                    (*token + 3) % v as u32,
                    (*token + 8 + t as u32) % v as u32,
                ];
                set.sort_unstable();
                set.dedup();
                set
            })
            .collect();
        let allowed = Allowed::along(&mut Given(sets.clone()), &completion);
        let sequence = Sequence {
            prompt: &prompt,
            completion: &completion,
        };
        let found = &host(
            policy
                .log_probs_constrained(&[sequence], &[&allowed], 0.8)
                .log_probs,
        )[0];
        let every: Vec<Vec<u32>> = vec![(0..v as u32).collect(); completion.len()];
        let all = Allowed::along(&mut Given(every), &completion);
        let whole = &host(
            policy
                .log_probs_constrained(&[sequence], &[&all], 0.8)
                .log_probs,
        )[0];
        let plain = &host(policy.log_probs(&[sequence], 0.8).log_probs)[0];
        for (t, set) in sets.iter().enumerate() {
            assert!(
                (whole[t] - plain[t]).abs() < 1e-5,
                "everything allowed is no constraint"
            );
            // log p(x | set) = log p(x) - log sum over the set of p.
            let of = |token: u32| {
                let mut other = completion.clone();
                other[t] = token;
                f64::from(
                    host(
                        policy
                            .log_probs(
                                &[Sequence {
                                    prompt: &prompt,
                                    completion: &other,
                                }],
                                0.8,
                            )
                            .log_probs,
                    )[0][t],
                )
            };
            let mass: f64 = set.iter().map(|token| of(*token).exp()).sum();
            let expected = of(completion[t]) - mass.ln();
            assert!(
                (f64::from(found[t]) - expected).abs() < 1e-4,
                "{shape:?} at {t}: {} and {expected}",
                found[t]
            );
        }
    }
}

/// A constraint with given sets, which do not depend on the tokens.
struct Given(Vec<Vec<u32>>);

impl Constraint for Given {
    fn allowed(&self) -> &[u32] {
        self.0.first().map_or(&[], Vec::as_slice)
    }

    fn push(&mut self, _: u32) {
        self.0.remove(0);
    }
}

/// Every completion that a constraint allows, with its log-probability.
fn all_completions(policy: &Policy, prompt: &[u32], begin: &Hashed) -> Vec<(Vec<u32>, f64)> {
    let mut found = vec![];
    let mut open = vec![(vec![], begin.clone())];
    while let Some((tokens, constraint)) = open.pop() {
        if constraint.allowed().is_empty() {
            let allowed = Allowed::along(&mut begin.clone(), &tokens);
            let sequence = Sequence {
                prompt,
                completion: &tokens,
            };
            let log_probs = host(
                policy
                    .log_probs_constrained(&[sequence], &[&allowed], 1.0)
                    .log_probs,
            );
            found.push((
                tokens,
                log_probs[0].iter().map(|x| f64::from(*x)).sum::<f64>(),
            ));
            continue;
        }
        for token in constraint.allowed() {
            let mut next = constraint.clone();
            next.push(*token);
            open.push(([&tokens[..], &[*token]].concat(), next));
        }
    }
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found
}

#[test]
fn beam_search_finds_the_most_likely() {
    let mut narrow = 0;
    for (n, shape) in configs().iter().enumerate() {
        let policy = sharp(shape, 20 + n as u64);
        let prompt = tokens(7, shape.vocab_size, 3);
        for (seed, left) in [(77, 3), (78, 4), (80, 1), (3, 5)] {
            let begin = Hashed::new(shape.vocab_size, seed, left);
            let all = all_completions(&policy, &prompt, &begin);
            if all.len() > 2000 {
                continue;
            }
            // A beam that is wide enough to hold everything is exact.
            let found = policy.beam_search(&prompt, begin.clone(), all.len());
            assert_eq!(found.len(), all.len());
            for (beam, (_, log_prob)) in found.iter().zip(&all) {
                assert!(
                    (beam.log_prob - log_prob).abs() < 1e-4,
                    "{} and {log_prob}",
                    beam.log_prob
                );
            }
            assert_eq!(found[0].tokens, all[0].0);
            // With a width of 1 the search is greedy decoding.
            let greedy = Generation {
                sampling: Sampling::greedy(),
                ..config(1, 1.0)
            };
            let greedy =
                policy.generate_constrained(&[&prompt], &greedy, &|_| Box::new(begin.clone()));
            let one = policy.beam_search(&prompt, begin.clone(), 1);
            assert_eq!(one[0].tokens, greedy[0][0].tokens);
            // With widths in between, the search finds completions with their probabilities, best
            // first.
            let some = policy.beam_search(&prompt, begin, 3);
            assert!(
                some.len() <= 3
                    && some
                        .windows(2)
                        .all(|pair| pair[0].log_prob >= pair[1].log_prob)
            );
            for beam in &some {
                let (_, log_prob) = all
                    .iter()
                    .find(|(tokens, _)| *tokens == beam.tokens)
                    .unwrap();
                assert!((beam.log_prob - log_prob).abs() < 1e-4);
            }
            narrow += usize::from(all.len() > 10);
        }
    }
    assert!(narrow > 5, "too little to search in");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn nothing_else_is_written(seed: u64, greedy: bool, top_k in prop::option::of(1..4usize)) {
        let policy = sharp(&configs()[seed as usize % 5], seed);
        let sampling = Sampling { temperature: if greedy { 0.0 } else { 1.3 }, top_k, ..Sampling::default() };
        let found = sample(&policy, &prompts(&policy), &Generation { sampling, seed, ..config(3, 1.0) });
        for (p, group) in found.iter().enumerate() {
            for completion in group {
                // Panics where a token was not allowed.
                Allowed::along(&mut constraint(&policy, p), &completion.tokens);
                prop_assert!(completion.ended);
            }
        }
    }
}

fn host(x: Tensor<2>) -> Vec<Vec<f32>> {
    let [rows, width] = x.dims();
    let values = x.into_data().try_into_vec_as::<f32>().unwrap();
    if width == 0 {
        vec![vec![]; rows]
    } else {
        values.chunks(width).map(<[f32]>::to_vec).collect()
    }
}
