//! Requests that come and go while others are written.

mod common;

use std::borrow::Cow;
use std::time::{Duration, Instant};

use common::{configs, sharp, tokens};
use convrec_policy::{
    Constraint, Engine, EngineLimits, Outcome, Policy, Request, Sampling, SubmitError, Ticket,
    Writer, Written,
};

/// Tokens of one residue class, by turns of two classes.
#[derive(Clone)]
struct ByTurns {
    classes: [Vec<u32>; 2],
    at: usize,
}

impl Constraint for ByTurns {
    fn allowed(&self) -> &[u32] {
        if self.at == 9 {
            &[]
        } else {
            &self.classes[self.at % 2]
        }
    }

    fn push(&mut self, _: u32) {
        self.at += 1;
    }
}

/// Requests of every kind: greedy and drawn, constrained or not, of one completion or of several,
/// short and longer than the first room of the cache.
fn request(policy: &Policy, n: u64) -> Request<'static> {
    let vocabulary = policy.config().vocab_size;
    let class = |m: u32| (0..vocabulary as u32).filter(|t| t % 3 == m).collect();
    let constraint = ByTurns {
        classes: [class(1), class(2)],
        at: 0,
    };
    let writer = |g: u64| match n % 3 {
        0 => Writer::new(n, g).within(constraint.clone()),
        _ => Writer::new(n, g),
    };
    Request {
        prompt: Cow::Owned(tokens(1 + (n as usize * 7) % 23, vocabulary, n)),
        sampling: Sampling {
            temperature: [1.0, 0.7, 0.0][(n / 3 % 3) as usize],
            ..Sampling::default()
        },
        max_new_tokens: if n == 5 { 300 } else { 3 + n as usize % 20 },
        end_token: 2,
        writers: (0..1 + n % 4).map(writer).collect(),
        search: None,
        top: (n % 3) as usize,
        client: n % 2,
        deadline: None,
    }
}

fn finish(engine: &mut Engine<'_>, found: &mut Vec<(Ticket, Outcome)>) {
    while !engine.is_idle() {
        engine.step();
        found.extend(engine.take_finished());
    }
}

fn written(outcome: Outcome) -> Vec<Written> {
    match outcome {
        Outcome::Done(written) => written,
        Outcome::Expired => panic!("there was no deadline"),
    }
}

fn alone(policy: &Policy, n: u64) -> Vec<Written> {
    let mut engine = Engine::new(policy, EngineLimits::default());
    engine.submit(request(policy, n)).unwrap();
    let mut found = vec![];
    finish(&mut engine, &mut found);
    written(found.remove(0).1)
}

fn assert_alike(found: &[Written], expected: &[Written], n: u64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(
            found.completion.tokens, expected.completion.tokens,
            "request {n}"
        );
        assert_eq!(found.completion.ended, expected.completion.ended);
        let pairs = found
            .completion
            .log_probs
            .iter()
            .zip(&expected.completion.log_probs);
        for (a, b) in pairs {
            assert!((a - b).abs() < 1e-4, "request {n}: {a}, {b}");
        }
        let tokens = |written: &Written| -> Vec<Vec<u32>> {
            let top = written.top.iter();
            top.map(|top| top.iter().map(|(token, _)| *token).collect())
                .collect()
        };
        assert_eq!(tokens(found), tokens(expected), "request {n}");
    }
}

/// Whatever else is there, however much room there is, and whoever leaves half way.
#[test]
fn company_changes_no_token() {
    let policy = sharp(&configs()[1], 5);
    let expected: Vec<Vec<Written>> = (0..24).map(|n| alone(&policy, n)).collect();
    for (rows, prefill, free_share) in [(4, 1, usize::MAX), (16, 64, 2), (200, 10_000, 1)] {
        for backwards in [false, true] {
            let limits = EngineLimits {
                rows,
                prefill,
                free_share,
                ..EngineLimits::default()
            };
            let mut engine = Engine::new(&policy, limits);
            let mut order: Vec<u64> = (0..24).collect();
            if backwards {
                order.reverse();
            }
            let (mut tickets, mut found) = (vec![], vec![]);
            for n in order {
                tickets.push((engine.submit(request(&policy, n)).unwrap(), n));
                // Given up while it waits, or while it is written.
                let other = engine.submit(request(&policy, n + 100)).unwrap();
                for _ in 0..n % 3 {
                    engine.step();
                }
                engine.cancel(other);
                found.extend(engine.take_finished());
            }
            finish(&mut engine, &mut found);
            for (ticket, n) in tickets {
                let place = found
                    .iter()
                    .position(|(other, _)| *other == ticket)
                    .unwrap();
                let found = written(found.remove(place).1);
                assert_alike(&found, &expected[n as usize], n);
            }
            assert_eq!(engine.load(), convrec_policy::Load::default());
        }
    }
}

#[test]
fn what_is_written_is_told_as_it_comes() {
    let policy = sharp(&configs()[0], 5);
    let mut engine = Engine::new(&policy, EngineLimits::default());
    let ticket = engine.submit(request(&policy, 7)).unwrap();
    let mut told: Vec<u32> = vec![];
    let mut growth = 0;
    while !engine.is_idle() {
        engine.step();
        let (tokens, log_probs) = engine.written(ticket, 0);
        assert_eq!(tokens.len(), log_probs.len());
        if !tokens.is_empty() {
            assert!(tokens.starts_with(&told));
            growth += usize::from(tokens.len() > told.len());
            told = tokens.to_vec();
        }
    }
    let written = written(engine.take_finished().remove(0).1);
    assert!(growth > 1 && written[0].completion.tokens.starts_with(&told));
    assert!(engine.written(ticket, 0).0.is_empty());
}

#[test]
fn limits_hold() {
    let policy = sharp(&configs()[0], 5);
    let limits = EngineLimits {
        rows: 4,
        tokens: 200,
        waiting: 3,
        ..EngineLimits::default()
    };
    let mut engine = Engine::new(&policy, limits);
    let of = |rows: u64, max_new_tokens: usize| Request {
        writers: (0..rows).map(|g| Writer::new(1, g)).collect(),
        max_new_tokens,
        end_token: u32::MAX,
        ..request(&policy, 1)
    };
    let refused = |engine: &mut Engine<'_>, request| engine.submit(request).unwrap_err();
    assert_eq!(
        refused(&mut engine, of(5, 2)),
        SubmitError::Rows { asked: 5, most: 4 }
    );
    assert_eq!(
        refused(&mut engine, of(0, 2)),
        SubmitError::Rows { asked: 0, most: 4 }
    );
    assert!(matches!(
        refused(&mut engine, of(4, 50)),
        SubmitError::Tokens { most: 200, .. }
    ));
    assert!(matches!(
        refused(&mut engine, of(4, usize::MAX)),
        SubmitError::Tokens { .. }
    ));
    assert_eq!(
        refused(&mut engine, of(1, 0)),
        SubmitError::Empty("max_new_tokens")
    );
    let mut bad = of(1, 2);
    bad.prompt = Cow::Borrowed(&[]);
    assert_eq!(refused(&mut engine, bad), SubmitError::Empty("prompt"));
    let mut bad = of(1, 2);
    bad.prompt = Cow::Borrowed(&[3, 5000]);
    assert!(matches!(
        refused(&mut engine, bad),
        SubmitError::Token { token: 5000, .. }
    ));
    let mut bad = of(1, 2);
    bad.sampling.temperature = -1.0;
    assert!(matches!(
        refused(&mut engine, bad),
        SubmitError::Sampling(_)
    ));
    let mut bad = of(1, 2);
    bad.writers[0].constraint = Some(Box::new(ByTurns {
        classes: [vec![], vec![]],
        at: 9,
    }));
    assert_eq!(refused(&mut engine, bad), SubmitError::NothingAllowed);
    for _ in 0..3 {
        engine.submit(of(2, 30)).unwrap();
    }
    assert_eq!(
        refused(&mut engine, of(1, 2)),
        SubmitError::Full { waiting: 3 }
    );
    while !engine.is_idle() {
        engine.step();
        let load = engine.load();
        assert!(load.rows <= 4 && load.tokens <= 200, "{load:?}");
    }
    assert_eq!(engine.take_finished().len(), 3);
}

/// A client with many requests does not keep another one waiting.
#[test]
fn turns_are_taken() {
    let policy = sharp(&configs()[0], 5);
    let limits = EngineLimits {
        rows: 2,
        ..EngineLimits::default()
    };
    let mut engine = Engine::new(&policy, limits);
    let of = |client: u64| Request {
        writers: vec![Writer::new(1, 0)],
        max_new_tokens: 8,
        end_token: u32::MAX,
        client,
        ..request(&policy, 1)
    };
    let greedy: Vec<Ticket> = (0..20).map(|_| engine.submit(of(1)).unwrap()).collect();
    let patient = engine.submit(of(2)).unwrap();
    let mut found = vec![];
    finish(&mut engine, &mut found);
    let place = |ticket: Ticket| {
        found
            .iter()
            .position(|(other, _)| *other == ticket)
            .unwrap()
    };
    assert!(place(patient) < 3, "{}", place(patient));
    assert!(greedy.windows(2).all(|two| place(two[0]) < place(two[1])));
}

/// A request that fills the batch is followed by another client's, whatever else the first one
/// asks.
#[test]
fn large_requests_take_turns_too() {
    let policy = sharp(&configs()[0], 5);
    let limits = EngineLimits {
        rows: 2,
        ..EngineLimits::default()
    };
    let mut engine = Engine::new(&policy, limits);
    let of = |client: u64| Request {
        writers: vec![Writer::new(1, 0), Writer::new(1, 1)],
        max_new_tokens: 8,
        end_token: u32::MAX,
        client,
        ..request(&policy, 1)
    };
    let mut all: Vec<Ticket> = (0..6).map(|_| engine.submit(of(1)).unwrap()).collect();
    engine.step();
    all.extend((0..2).map(|_| engine.submit(of(2)).unwrap()));
    let mut found = vec![];
    finish(&mut engine, &mut found);
    let order: Vec<usize> = found
        .iter()
        .map(|(ticket, _)| all.iter().position(|other| other == ticket).unwrap())
        .collect();
    assert_eq!(order, [0, 6, 1, 7, 2, 3, 4, 5]);
}

/// Requests that come together are taken on together, and count as one that waits.
#[test]
fn parts_of_a_request_count_once() {
    let policy = sharp(&configs()[0], 5);
    let limits = EngineLimits {
        waiting: 2,
        ..EngineLimits::default()
    };
    let mut engine = Engine::new(&policy, limits);
    let parts = |n: u64| (0..n).map(|n| request(&policy, n)).collect::<Vec<_>>();
    assert_eq!(engine.submit_all(parts(5)).unwrap().len(), 5);
    let mut bad = parts(3);
    bad[2].max_new_tokens = 0;
    assert_eq!(
        engine.submit_all(bad).unwrap_err(),
        SubmitError::Empty("max_new_tokens")
    );
    assert_eq!(engine.load().waiting, 1);
    engine.submit(request(&policy, 9)).unwrap();
    assert_eq!(
        engine.submit_all(parts(2)).unwrap_err(),
        SubmitError::Full { waiting: 2 }
    );
    let mut found = vec![];
    finish(&mut engine, &mut found);
    assert_eq!(found.len(), 6);
}

#[test]
fn deadlines_end_requests() {
    let policy = sharp(&configs()[0], 5);
    let limits = EngineLimits {
        rows: 1,
        ..EngineLimits::default()
    };
    let mut engine = Engine::new(&policy, limits);
    let of = |deadline| Request {
        writers: vec![Writer::new(1, 0)],
        max_new_tokens: 20,
        end_token: u32::MAX,
        deadline: Some(deadline),
        ..request(&policy, 1)
    };
    let late = Instant::now() + Duration::from_secs(600);
    let under_way = engine
        .submit(of(Instant::now() + Duration::from_millis(50)))
        .unwrap();
    engine.step();
    let waiting = engine.submit(of(Instant::now())).unwrap();
    let kept = engine.submit(of(late)).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let mut found = vec![];
    finish(&mut engine, &mut found);
    let of = |ticket: Ticket| &found.iter().find(|(other, _)| *other == ticket).unwrap().1;
    assert_eq!(
        (of(under_way), of(waiting)),
        (&Outcome::Expired, &Outcome::Expired)
    );
    assert!(matches!(of(kept), Outcome::Done(_)));
}

#[test]
fn a_writer_may_stop() {
    let policy = sharp(&configs()[0], 5);
    let mut engine = Engine::new(&policy, EngineLimits::default());
    let mut left = 3;
    let stop = move |_| {
        left -= 1;
        left == 0
    };
    let stopping = Writer {
        stop: Some(Box::new(stop)),
        ..Writer::new(1, 0)
    };
    let request = Request {
        writers: vec![stopping, Writer::new(1, 1)],
        max_new_tokens: 12,
        end_token: u32::MAX,
        ..request(&policy, 1)
    };
    engine.submit(request).unwrap();
    let mut found = vec![];
    finish(&mut engine, &mut found);
    let written = written(found.remove(0).1);
    let ends: Vec<(usize, bool)> = written
        .iter()
        .map(|w| (w.completion.tokens.len(), w.completion.ended))
        .collect();
    assert_eq!(ends, [(3, true), (12, false)]);
}
