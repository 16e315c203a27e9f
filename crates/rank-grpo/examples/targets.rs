//! A target for a reward: "at most 1% of the items from the block list, relevance as high as
//! possible". No tensor library; the policy is a table of logits, as in `tabular_ranking`.
//!
//! Blocked items are more relevant than others, so each of them that is left out costs relevance.
//! A [`Constraint`] finds the price of a blocked item that keeps the target. The last column is the
//! relevance that the best lists with the same share of blocked items have.
//!
//! ```text
//! cargo run --release -p rank-grpo --example targets
//! ```

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rank_grpo::{
    Bound, Constraint, LossConfig, LossSlices, ScaleRewards, Segments, Workspace, group_advantages,
    spread,
};

const CONTEXTS: usize = 8;
const ITEMS: usize = 40;
const BLOCKED: usize = 12; // items 0..BLOCKED of each context
const N: usize = 5; // ranks of a list
const GROUP: usize = 8; // lists per context and step
const STEPS: usize = 1000;
const LISTS: usize = CONTEXTS * GROUP;

/// The relevance of each item in each context.
type World = Vec<Vec<f64>>;

/// How blocked items are priced.
#[derive(Clone, Copy)]
enum Price {
    Fixed(f64),
    Target(f64),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("| blocked items | share | relevance | price | best relevance at this share |");
    println!("|---|---|---|---|---|");
    let targets = [0.3, 0.1, 0.03, 0.01].map(Price::Target);
    for price in [0.0, 0.2, 0.4].map(Price::Fixed).into_iter().chain(targets) {
        let seeds = 1..=5;
        let runs = seeds
            .map(|seed| train(price, seed))
            .collect::<Result<Vec<_>, _>>()?;
        let mean =
            |field: usize| runs.iter().map(|run| run[field]).sum::<f64>() / runs.len() as f64;
        let name = match price {
            Price::Fixed(price) => format!("cost {price}"),
            Price::Target(target) => format!("at most {target}"),
        };
        let [share, relevance, price, best] = [0, 1, 2, 3].map(mean);
        println!("| {name} | {share:.4} | {relevance:.3} | {price:.2} | {best:.3} |");
    }
    Ok(())
}

/// Means over the second half of the steps: the share of blocked items, relevance, price; and the
/// best relevance at that share. A price swings about the right one, and the policy with it.
fn train(price: Price, seed: u64) -> Result<[f64; 4], Box<dyn std::error::Error>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let bonus = |item| if item < BLOCKED { 0.3 } else { 0.0 };
    let row = |rng: &mut ChaCha8Rng| {
        (0..ITEMS)
            .map(|item| rng.random::<f64>() + bonus(item))
            .collect()
    };
    let world: World = (0..CONTEXTS).map(|_| row(&mut rng)).collect();
    let mut constraint = match price {
        Price::Fixed(_) => None,
        Price::Target(target) => Some(Constraint::new(Bound::AtMost, target, 0.01)?),
    };
    let weight = |constraint: &Option<Constraint>| match (price, constraint) {
        (_, Some(constraint)) => constraint.weight(),
        (Price::Fixed(price), None) => -price,
        (Price::Target(_), None) => 0.0,
    };

    let loss = LossConfig {
        kl: None,
        ..LossConfig::paper()
    }
    .check()?;
    let (mask, ranks) = (
        vec![true; LISTS * N],
        (0..LISTS * N).map(|place| (place % N) as i64),
    );
    let segments = Segments::ranks(&ranks.collect::<Vec<_>>(), N);
    let (mut workspace, mut gradient) = (Workspace::default(), vec![0.0; LISTS * N]);
    let mut table = vec![vec![0.0; ITEMS]; CONTEXTS];
    let mut sums = [0.0; 3];
    for step in 0..STEPS {
        let lists = sample(&table, &mut rng);
        let is_blocked = |item: usize| f64::from(item < BLOCKED);
        let weight = weight(&constraint);
        let rewards: Vec<Vec<f64>> = lists
            .iter()
            .enumerate()
            .map(|(list, items)| {
                let relevance = &world[list / GROUP];
                let reward = |item: &usize| relevance[*item] + weight * is_blocked(*item);
                items.iter().map(reward).collect()
            })
            .collect();
        if step >= STEPS / 2 {
            let measured = [share(&lists), mean_relevance(&world, &lists), -weight];
            sums.iter_mut()
                .zip(measured)
                .for_each(|(sum, measured)| *sum += measured);
        }
        if let Some(constraint) = &mut constraint {
            constraint.update(share(&lists));
        }
        let advantages = group_advantages(&rewards, GROUP, ScaleRewards::None)?;
        let advantages = spread(&advantages.values, &segments)?;
        let inputs = LossSlices::new([LISTS, N], &mask, &segments, &advantages);
        let (log_probs, slopes) = log_probs(&table, &lists);
        loss.evaluate_into(&log_probs, &inputs, &mut workspace, &mut gradient)?;
        // A step against the gradient, through the softmax over the items that were left.
        for (place, slopes) in slopes.iter().enumerate() {
            let row = &mut table[place / N / GROUP];
            for (logit, slope) in row.iter_mut().zip(slopes) {
                *logit -= 80.0 * gradient[place] * slope;
            }
        }
    }
    let [share, relevance, price] = sums.map(|sum| sum / (STEPS - STEPS / 2) as f64);
    Ok([share, relevance, price, best(&world, share)])
}

fn mean_relevance(world: &World, lists: &[Vec<usize>]) -> f64 {
    let relevance = |(list, items): (usize, &Vec<usize>)| -> f64 {
        let context = &world[list / GROUP];
        items.iter().map(|item| context[*item]).sum()
    };
    lists.iter().enumerate().map(relevance).sum::<f64>() / (LISTS * N) as f64
}

fn share(lists: &[Vec<usize>]) -> f64 {
    let blocked = lists
        .concat()
        .iter()
        .filter(|item| **item < BLOCKED)
        .count();
    blocked as f64 / (lists.len() * N) as f64
}

/// Draws `GROUP` lists per context without replacement: by logit plus Gumbel noise.
fn sample(table: &[Vec<f64>], rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
    let mut draw = |logits: &Vec<f64>| {
        let noise = logits.iter().map(|x| x - (-rng.random::<f64>().ln()).ln());
        let keys: Vec<f64> = noise.collect();
        let mut items: Vec<usize> = (0..ITEMS).collect();
        items.sort_by(|a, b| keys[*b].total_cmp(&keys[*a]));
        items.truncate(N);
        items
    };
    let groups = table
        .iter()
        .flat_map(|logits| (0..GROUP).map(move |_| logits));
    groups.map(&mut draw).collect()
}

/// log P(item at rank k | items above it), and its derivative by each logit, of each list and rank.
fn log_probs(table: &[Vec<f64>], lists: &[Vec<usize>]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let (mut values, mut slopes) = (vec![], vec![]);
    for (list, items) in lists.iter().enumerate() {
        let mut powers: Vec<f64> = table[list / GROUP].iter().map(|x| x.exp()).collect();
        for item in items {
            let all: f64 = powers.iter().sum();
            values.push((powers[*item] / all).ln());
            let mut slope: Vec<f64> = powers.iter().map(|power| -power / all).collect();
            slope[*item] += 1.0;
            slopes.push(slope);
            powers[*item] = 0.0;
        }
    }
    (values, slopes)
}

/// The mean relevance of the best lists of which `share` of the items are blocked at most: the
/// blocked items that gain most over the others that they replace, one after the other.
fn best(world: &World, share: f64) -> f64 {
    let (mut sum, mut gains) = (0.0, vec![]);
    for context in world {
        let (mut blocked, mut free) = (context[..BLOCKED].to_vec(), context[BLOCKED..].to_vec());
        blocked.sort_by(|a, b| b.total_cmp(a));
        free.sort_by(|a, b| b.total_cmp(a));
        sum += free[..N].iter().sum::<f64>();
        gains.extend((0..N).map(|k| blocked[k] - free[N - 1 - k]));
    }
    gains.sort_by(|a, b| b.total_cmp(a));
    let mut left = share * (CONTEXTS * N) as f64;
    for gain in gains {
        sum += gain.max(0.0) * left.clamp(0.0, 1.0);
        left -= 1.0;
    }
    sum / (CONTEXTS * N) as f64
}
