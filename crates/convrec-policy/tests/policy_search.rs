//! Searches for several completions, compared with all completions that there are.

mod common;

use std::borrow::Cow;
use std::collections::HashMap;

use common::{configs, families, sharp, to_vec, tokens};
use convrec_policy::{
    Allowed, Beam, Constraint, Engine, EngineLimits, ModelConfig, Outcome, Policy, Request,
    Sampling, Search, Sequence, SubmitError, Writer,
};

/// Words of at most four tokens: how many go on depends on those before, some ends come early, some
/// tokens have no choice, and some a prior.
#[derive(Clone)]
struct Words {
    written: Vec<u32>,
    allowed: Vec<u32>,
}

impl Words {
    fn new() -> Self {
        let mut words = Self {
            written: vec![],
            allowed: vec![],
        };
        words.choose();
        words
    }

    fn choose(&mut self) {
        let sum: u32 = self.written.iter().sum();
        let is_over = self.written.len() == 4 || self.written.last() == Some(&8);
        let count = if is_over {
            0
        } else {
            [3, 1, 2, 4][sum as usize % 4]
        };
        self.allowed = [3, 5, 8, 13][..count].to_vec();
    }
}

impl Constraint for Words {
    fn allowed(&self) -> &[u32] {
        &self.allowed
    }

    fn prior(&self) -> Option<&[f32]> {
        const PRIOR: [f32; 4] = [0.5, -0.7, 0.0, 1.0];
        (self.written.len() == 1).then(|| &PRIOR[..self.allowed.len()])
    }

    fn push(&mut self, token: u32) {
        assert!(self.allowed.contains(&token));
        self.written.push(token);
        self.choose();
    }
}

/// Every word with its log-probability, the most likely first.
fn all_words(policy: &Policy, prompt: &[u32], temperature: f32) -> Vec<(Vec<u32>, f64)> {
    let (mut found, mut open) = (vec![], vec![Words::new()]);
    while let Some(words) = open.pop() {
        for token in words.allowed().to_vec() {
            let mut next = words.clone();
            next.push(token);
            if !next.allowed().is_empty() {
                open.push(next);
                continue;
            }
            let allowed = Allowed::along(&mut Words::new(), &next.written);
            let sequence = Sequence {
                prompt,
                completion: &next.written,
            };
            let of = policy.log_probs_constrained(&[sequence], &[&allowed], temperature);
            let log_prob = to_vec(of.log_probs).iter().map(|p| f64::from(*p)).sum();
            found.push((next.written, log_prob));
        }
    }
    found.sort_by(|a, b: &(Vec<u32>, f64)| b.1.total_cmp(&a.1));
    found
}

fn shapes() -> Vec<ModelConfig> {
    configs().into_iter().chain(families()).collect()
}

fn assert_known(found: &[Beam], all: &[(Vec<u32>, f64)]) {
    let known: HashMap<&[u32], f64> = all.iter().map(|(word, p)| (&word[..], *p)).collect();
    for beam in found {
        let expected = known[&beam.tokens[..]];
        assert!(
            (beam.log_prob - expected).abs() < 1e-4,
            "{beam:?} {expected}"
        );
    }
}

/// Of every family, prompts of different lengths and widths side by side.
#[test]
fn searches_side_by_side_find_what_each_finds_alone() {
    for (seed, shape) in shapes().iter().enumerate() {
        let policy = sharp(shape, seed as u64);
        let lengths = [5, 1, 12, 7, 3, 9];
        let prompts = lengths.map(|n| tokens(n, shape.vocab_size, n as u64));
        let prompts = [0, 1, 2, 3, 4, 5].map(|n| &prompts[n][..]);
        let width = |p: usize| [100, 1, 3, 2, 100, 7][p];
        let begin = |p: usize| Search::beams(Words::new(), width(p));
        let found = policy.search(&prompts, 1.0, &begin);
        for (p, found) in found.iter().enumerate() {
            let all = all_words(&policy, prompts[p], 1.0);
            assert_known(found, &all);
            assert_eq!(found.len(), width(p).min(all.len()));
            let alone = policy.beam_search(prompts[p], Words::new(), width(p));
            let words = |beams: &[Beam]| -> Vec<Vec<u32>> {
                beams.iter().map(|beam| beam.tokens.clone()).collect()
            };
            assert_eq!(words(found), words(&alone), "{shape:?}");
            // Wide enough, it finds all in their order.
            if width(p) == 100 {
                let expected: Vec<Vec<u32>> = all.into_iter().map(|(word, _)| word).collect();
                assert_eq!(words(found), expected);
            }
        }
    }
}

/// The first n of a long sample without replacement are the sample of n: with room for everything
/// nothing is pruned, and the same noise perturbs each word.
#[test]
fn a_sample_without_replacement_is_the_top_of_all_perturbed_words() {
    for (n, shape) in shapes().iter().enumerate() {
        let policy = sharp(shape, n as u64);
        let prompt = tokens(6, shape.vocab_size, 3);
        for (seed, temperature) in [(1, 1.0), (2, 0.6), (3, 1.7)] {
            let all = all_words(&policy, &prompt, temperature);
            let draw = |count: usize, stream: u64| {
                let begin = |_| Search::without_replacement(Words::new(), count, seed, stream);
                policy.search(&[&prompt], temperature, &begin).remove(0)
            };
            let every = draw(all.len() + 5, 0);
            assert_known(&every, &all);
            let mut words: Vec<&[u32]> = every.iter().map(|beam| &beam.tokens[..]).collect();
            for count in [1, 2, 5, 11] {
                let some = draw(count, 0);
                let some: Vec<&[u32]> = some.iter().map(|beam| &beam.tokens[..]).collect();
                assert_eq!(some, words[..count], "{shape:?}");
            }
            let others = draw(all.len(), 1);
            let others: Vec<&[u32]> = others.iter().map(|beam| &beam.tokens[..]).collect();
            assert_ne!(others, words);
            words.sort_unstable();
            words.dedup();
            assert_eq!(words.len(), all.len());
        }
    }
}

/// The first word is drawn as the policy says, and the second from what is left.
#[test]
fn draws_without_replacement_have_the_right_frequencies() {
    let shape = &configs()[0];
    let policy = sharp(shape, 8);
    let prompt = tokens(4, shape.vocab_size, 3);
    let all = all_words(&policy, &prompt, 1.0);
    let draws = 6000;
    let begin = |p: usize| Search::without_replacement(Words::new(), 2, p as u64, 0);
    let found = policy.search(&vec![&prompt[..]; draws], 1.0, &begin);
    let mut counts: HashMap<(&[u32], &[u32]), usize> = HashMap::new();
    for pair in &found {
        *counts
            .entry((&pair[0].tokens, &pair[1].tokens))
            .or_default() += 1;
    }
    let (mut square, mut cells) = (0.0, 0);
    let mut rest = (0.0, 0);
    for (first, p) in &all {
        for (second, q) in all.iter().filter(|(word, _)| word != first) {
            let expected = draws as f64 * p.exp() * q.exp() / (1.0 - p.exp());
            let count = counts.get(&(&first[..], &second[..])).copied().unwrap_or(0);
            if expected < 8.0 {
                rest = (rest.0 + expected, rest.1 + count);
                continue;
            }
            square += (count as f64 - expected).powi(2) / expected;
            cells += 1;
        }
    }
    square += (rest.1 as f64 - rest.0).powi(2) / rest.0;
    // Chi-square with as many degrees of freedom has this mean, and a deviation of sqrt(2 cells).
    let cells = f64::from(cells);
    assert!(cells > 20.0);
    assert!(
        (square - cells).abs() < 4.0 * (2.0 * cells).sqrt(),
        "{square} of {cells}"
    );
}

fn request(prompt: &[u32], search: Option<Search<'static>>) -> Request<'static> {
    let writers = match search {
        Some(_) => vec![],
        None => (0..3).map(|stream| Writer::new(5, stream)).collect(),
    };
    Request {
        prompt: Cow::Owned(prompt.to_vec()),
        sampling: Sampling::default(),
        max_new_tokens: 20,
        end_token: u32::MAX,
        writers,
        search,
        top: 0,
        client: 0,
        deadline: None,
    }
}

/// Rows that are drawn and searches share a batch, whatever room there is.
#[test]
fn company_changes_no_search() {
    let shape = &configs()[1];
    let policy = sharp(shape, 2);
    let prompts: Vec<Vec<u32>> = (0..12)
        .map(|n| tokens(3 + 2 * n, shape.vocab_size, n as u64))
        .collect();
    let of = |n: usize| match n % 3 {
        0 => request(&prompts[n], None),
        1 => request(
            &prompts[n],
            Some(Search::beams(Words::new(), 1 + n).returning(1 + n / 2)),
        ),
        _ => request(
            &prompts[n],
            Some(Search::without_replacement(Words::new(), n, n as u64, 0)),
        ),
    };
    let run = |asked: &[usize], rows: usize| {
        let limits = EngineLimits {
            rows,
            ..EngineLimits::default()
        };
        let mut engine = Engine::new(&policy, limits);
        for n in asked {
            engine.submit(of(*n)).unwrap();
            engine.step();
        }
        while !engine.is_idle() {
            engine.step();
        }
        assert_eq!((engine.load().rows, engine.load().tokens), (0, 0));
        let mut found = engine.take_finished();
        found.sort_by_key(|(ticket, _)| *ticket);
        let written = |(_, outcome): (_, Outcome)| match outcome {
            Outcome::Done(written) => written.into_iter().map(|w| w.completion.tokens).collect(),
            Outcome::Expired => panic!("there was no deadline"),
        };
        found
            .into_iter()
            .map(written)
            .collect::<Vec<Vec<Vec<u32>>>>()
    };
    let alone: Vec<_> = (0..12).map(|n| run(&[n], 64).remove(0)).collect();
    assert_eq!(alone[4].len(), 3);
    let together: Vec<usize> = (0..12).collect();
    for rows in [12, 20, 64] {
        assert_eq!(run(&together, rows), alone);
    }
}

#[test]
fn searches_that_make_no_sense_are_refused() {
    let policy = sharp(&configs()[0], 1);
    let mut engine = Engine::new(&policy, EngineLimits::default());
    let mut refused = |request: Request<'static>| engine.submit(request).unwrap_err();
    let beams = |n| Search::beams(Words::new(), n);
    let rows = refused(request(&[1], Some(beams(65))));
    assert_eq!(
        rows,
        SubmitError::Rows {
            asked: 65,
            most: 64
        }
    );
    for search in [beams(3).returning(4), beams(3).returning(0)] {
        let problem = refused(request(&[1], Some(search))).to_string();
        assert!(
            problem.contains("expected 1 to 3, the number of beams"),
            "{problem}"
        );
    }
    let mut both = request(&[1], Some(beams(2)));
    both.writers = vec![Writer::new(1, 1)];
    assert!(matches!(refused(both), SubmitError::Search(_)));
    let mut filtered = request(&[1], Some(beams(2)));
    filtered.sampling.top_k = Some(2);
    assert!(matches!(refused(filtered), SubmitError::Search(_)));
    let mut over = Words::new();
    for _ in 0..4 {
        over.push(over.allowed[0]);
    }
    assert!(over.allowed().is_empty());
    let nothing = refused(request(&[1], Some(Search::beams(over, 2))));
    assert_eq!(nothing, SubmitError::NothingAllowed);
}
