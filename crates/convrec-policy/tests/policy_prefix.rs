//! Prompts that begin alike: what is kept of them, and that it changes nothing.

mod common;

use std::borrow::Cow;

use common::{configs, families, sharp, tokens};
use convrec_policy::{
    Engine, EngineLimits, Outcome, Policy, PrefixUse, Request, Sampling, Writer, Written,
};

fn request(prompt: &[u32], seed: u64) -> Request<'static> {
    Request {
        prompt: Cow::Owned(prompt.to_vec()),
        sampling: Sampling::default(),
        max_new_tokens: 12,
        end_token: 2,
        writers: (0..2).map(|stream| Writer::new(seed, stream)).collect(),
        search: None,
        top: 0,
        client: seed % 3,
        deadline: None,
    }
}

fn engine(policy: &Policy, prefix: usize) -> Engine<'_> {
    let limits = EngineLimits {
        prefix,
        ..EngineLimits::default()
    };
    Engine::new(policy, limits)
}

/// The answers to prompts that come together.
fn answers(engine: &mut Engine<'_>, prompts: &[Vec<u32>]) -> Vec<Vec<Written>> {
    for (n, prompt) in prompts.iter().enumerate() {
        engine.submit(request(prompt, n as u64)).unwrap();
    }
    while !engine.is_idle() {
        engine.step();
    }
    let mut finished = engine.take_finished();
    finished.sort_by_key(|(ticket, _)| *ticket);
    let written = finished.into_iter().map(|(_, outcome)| match outcome {
        Outcome::Done(written) => written,
        Outcome::Expired => panic!("there was no deadline"),
    });
    written.collect()
}

fn assert_alike(found: &[Vec<Written>], expected: &[Vec<Written>]) {
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        for (found, expected) in found.iter().zip(expected) {
            let (found, expected) = (&found.completion, &expected.completion);
            assert_eq!(found.tokens, expected.tokens, "prompt {n}");
            for (a, b) in found.log_probs.iter().zip(&expected.log_probs) {
                assert!((a - b).abs() < 1e-4, "prompt {n}: {a}, {b}");
            }
        }
    }
    assert_eq!(found.len(), expected.len());
}

/// Of every family, sliding windows among them: an instruction that all share, with ends of one
/// token and of several chunks; the same prompt again; and one that shares nothing.
#[test]
fn a_shared_beginning_changes_no_draw() {
    for (seed, shape) in configs().iter().chain(&families()).enumerate() {
        let policy = sharp(shape, seed as u64);
        let v = shape.vocab_size;
        let instruction = tokens(40, v, 1);
        let ended =
            |length: usize, seed: u64| [&instruction[..], &tokens(length, v, seed)].concat();
        let mut prompts: Vec<Vec<u32>> = [1, 3, 30, 64, 65, 150, 3]
            .map(|n| ended(n, n as u64))
            .into();
        prompts.push(tokens(50, v, 99));
        let expected = answers(&mut engine(&policy, 0), &prompts);
        let mut kept = engine(&policy, 4096);
        assert_alike(&answers(&mut kept, &prompts), &expected);
        let first = kept.prefixes();
        // One of the seven reads the instruction, whoever it is.
        assert_eq!((first.hits, first.misses), (6, 2), "{shape:?}");
        assert!(first.reused >= 6 * 40);
        // All of them once more: only their last tokens are read.
        assert_alike(&answers(&mut kept, &prompts), &expected);
        let second = kept.prefixes();
        let lengths: usize = prompts.iter().map(Vec::len).sum();
        assert_eq!(
            second.reused - first.reused,
            (lengths - prompts.len()) as u64
        );
        assert_eq!((second.hits, second.misses), (14, 2));
        assert_eq!(second.tokens, first.tokens);
        assert_eq!(engine(&policy, 4096).prefixes(), PrefixUse::default());
    }
}

/// The turns of a conversation take the room of the longest, and each is read on from the last.
#[test]
fn a_conversation_goes_on_from_its_earlier_turns() {
    let shape = &configs()[1];
    let policy = sharp(shape, 4);
    let (all, mut kept) = (tokens(120, shape.vocab_size, 6), engine(&policy, 4096));
    let mut reused = 0;
    for turn in 1..=4 {
        let prompt = all[..30 * turn].to_vec();
        let expected = answers(&mut engine(&policy, 0), std::slice::from_ref(&prompt));
        assert_alike(&answers(&mut kept, &[prompt]), &expected);
        let used = kept.prefixes();
        assert_eq!(used.tokens, 30 * turn);
        assert_eq!(used.reused - reused, 30 * (turn as u64 - 1));
        reused = used.reused;
    }
}

#[test]
fn what_was_not_used_for_longest_goes() {
    let shape = &configs()[1];
    let policy = sharp(shape, 4);
    let mut kept = engine(&policy, 100);
    let prompt = |n: u64| tokens(40, shape.vocab_size, 100 + n);
    let mut ask = |n: u64| {
        let before = kept.prefixes().hits;
        let found = answers(&mut kept, &[prompt(n)]);
        assert_alike(&found, &answers(&mut engine(&policy, 0), &[prompt(n)]));
        let used = kept.prefixes();
        let width = shape.num_hidden_layers * shape.num_key_value_heads * shape.head_dim;
        assert!(
            used.tokens <= 100 && used.bytes <= 100 * width * 8,
            "{used:?}"
        );
        used.hits > before
    };
    assert_eq!([0, 1, 0, 2].map(&mut ask), [false, false, true, false]);
    // The third took the place of the second.
    assert_eq!([0, 2, 1].map(&mut ask), [true, true, false]);
    // Prompts that are too long for it, or too short to be worth it.
    let (long, short) = (
        tokens(101, shape.vocab_size, 1),
        tokens(15, shape.vocab_size, 2),
    );
    for prompt in [long, short] {
        let mut kept = engine(&policy, 100);
        let twice = [prompt.clone(), prompt];
        let expected = answers(&mut engine(&policy, 0), &twice);
        assert_alike(&answers(&mut kept, &twice), &expected);
        assert_eq!((kept.prefixes().tokens, kept.prefixes().misses), (0, 2));
    }
}
