//! Chooses tools for a request: a list of five from a registry of 240, by Rank-GRPO.
//!
//! A tool is described in words of its own. People ask in other words, so counting the words that
//! request and description share finds few tools. The policy learns which word of a request calls
//! for which word of a description, from a reward at each rank: did this tool help?
//!
//! ```text
//! cargo run --release --example choose_tools
//! ```

mod ranking;

use std::error::Error;

use convrec::metrics::stats::paired_test;
use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use ranking::registry::{ACTIONS, KINDS, THINGS, parts};
use ranking::{Policy, Ranking, print};

const N: usize = 5;

/// A request in words, and what it is about.
struct Request {
    action: usize,
    thing: usize,
    words: [usize; 2],
}

struct Registry(Vec<Request>);

impl Registry {
    fn new(n: usize, rng: &mut ChaCha8Rng) -> Self {
        let request = |_| Request {
            action: rng.random_range(0..ACTIONS.len()),
            thing: rng.random_range(0..THINGS.len()),
            words: [(); 2].map(|()| *[0, 1, 2, 3, 1, 2, 3].choose(rng).expect("words")),
        };
        Self((0..n).map(request).collect())
    }
}

impl Ranking for Registry {
    fn n_items(&self, _: usize) -> usize {
        ACTIONS.len() * THINGS.len() * KINDS
    }

    /// A weight for each pair of a word that is said and a word of a description.
    fn features(&self, request: usize, _: &[usize], tool: usize) -> Vec<(usize, f64)> {
        let Request {
            action,
            thing,
            words,
        } = &self.0[request];
        let (of_action, of_thing) = parts(tool);
        let actions = (action * 4 + words[0]) * ACTIONS.len() + of_action;
        let things = (thing * 4 + words[1]) * THINGS.len() + of_thing;
        vec![
            (actions, 1.0),
            (4 * ACTIONS.len() * ACTIONS.len() + things, 1.0),
        ]
    }

    /// 1 where the tool does what is asked for, a tenth where it does it to something else.
    fn rewards(&self, request: usize, list: &[usize]) -> Vec<f64> {
        let Request { action, thing, .. } = self.0[request];
        let reward = |tool: &usize| match parts(*tool) {
            found if found == (action, thing) => 1.0,
            (found, _) if found == action => 0.1,
            _ => 0.0,
        };
        list.iter().map(reward).collect()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (train, test) = (Registry::new(400, &mut rng), Registry::new(300, &mut rng));
    let n_weights = 4 * (ACTIONS.len() * ACTIONS.len() + THINGS.len() * THINGS.len());

    // The baseline: a word counts where request and description share it.
    let mut shared = vec![0.0; n_weights];
    (0..ACTIONS.len()).for_each(|a| shared[a * 4 * ACTIONS.len() + a] = 1.0);
    let things = 4 * ACTIONS.len() * ACTIONS.len();
    (0..THINGS.len()).for_each(|t| shared[things + t * 4 * THINGS.len() + t] = 1.0);
    let baseline = Policy::new(shared.clone());

    let mut policy = Policy::new(shared);
    for step in 1..=120 {
        let batch: Vec<usize> = (0..16)
            .map(|_| rng.random_range(0..train.0.len()))
            .collect();
        let reward = policy.step(&train, &batch, (8, N), 0.05, &mut rng)?;
        if step % 30 == 0 {
            println!("step {step}: reward of a list {reward:.3}");
        }
    }

    let requests: Vec<usize> = (0..test.0.len()).collect();
    // The share of the two right tools that are among the five.
    let recall = |policy: &Policy| -> Vec<f64> {
        let of_request = |request: &usize| {
            let rewards = test.rewards(*request, &policy.list(&test, *request, N, None));
            rewards.iter().filter(|r| **r == 1.0).count() as f64 / KINDS as f64
        };
        requests.iter().map(of_request).collect()
    };
    let (words, learned) = (recall(&baseline), recall(&policy));
    print("shared words  Recall@5", &words, &requests)?;
    print("Rank-GRPO     Recall@5", &learned, &requests)?;
    let test = paired_test(&learned, &words, &requests, 1, 2000)?;
    let (difference, p) = (test.difference.mean, test.p_value.max(0.001));
    println!("difference    {difference:+.3}, p at most {p:.3}");
    Ok(())
}
