//! A small policy over lists, trained by Rank-GRPO without a tensor library.
//!
//! The policy draws a list item by item (a Plackett-Luce model). The log-odds of an item are a sum
//! of weights, one for each of its features, so gradients take a few lines.

#![allow(dead_code, reason = "each program uses a part")]

pub mod documents;
pub mod registry;

use convrec::loss::{
    LossConfig, LossSlices, ScaleRewards, Segments, Workspace, group_advantages, spread,
};
use convrec::metrics::stats::cluster_bootstrap;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// What is ranked. Items are numbers below [`n_items`](Self::n_items).
pub trait Ranking {
    /// The number of candidates in a context.
    fn n_items(&self, context: usize) -> usize;

    /// Features of an item behind the items of `prefix`: places in the weights, with values.
    fn features(&self, context: usize, prefix: &[usize], item: usize) -> Vec<(usize, f64)>;

    /// The reward of each rank of a list.
    fn rewards(&self, context: usize, list: &[usize]) -> Vec<f64>;
}

/// Is given a rank, an item, its features and its probability.
type Visit<'a> = &'a mut dyn FnMut(usize, usize, &[(usize, f64)], f64);

/// The weights of the features, and the moments of Adam.
pub struct Policy {
    pub weights: Vec<f64>,
    moments: Vec<[f64; 2]>,
}

impl Policy {
    /// A policy that ranks by these weights.
    pub fn new(weights: Vec<f64>) -> Self {
        Self {
            moments: vec![[0.0; 2]; weights.len()],
            weights,
        }
    }

    /// The best list of n items, or a drawn one.
    pub fn list(
        &self,
        task: &dyn Ranking,
        context: usize,
        n: usize,
        mut rng: Option<&mut ChaCha8Rng>,
    ) -> Vec<usize> {
        let mut list = vec![];
        while list.len() < n {
            let mut best = (f64::NEG_INFINITY, 0);
            for item in (0..task.n_items(context)).filter(|item| !list.contains(item)) {
                // The largest logit with Gumbel noise is a draw from the softmax.
                let noise = rng
                    .as_mut()
                    .map_or(0.0, |rng| -(-rng.random::<f64>().ln()).ln());
                let key = self.logit(&task.features(context, &list, item)) + noise;
                if key > best.0 {
                    best = (key, item);
                }
            }
            list.push(best.1);
        }
        list
    }

    fn logit(&self, features: &[(usize, f64)]) -> f64 {
        features
            .iter()
            .map(|(place, value)| self.weights[*place] * value)
            .sum()
    }

    /// The log-probability of each rank. `visit` is given each rank's candidates with their
    /// features and probabilities, for gradients.
    fn log_probs(
        &self,
        task: &dyn Ranking,
        context: usize,
        list: &[usize],
        visit: Visit<'_>,
    ) -> Vec<f64> {
        let of_rank = |rank: usize| {
            let prefix = &list[..rank];
            let open = (0..task.n_items(context)).filter(|item| !prefix.contains(item));
            let open: Vec<(usize, Vec<(usize, f64)>)> = open
                .map(|item| (item, task.features(context, prefix, item)))
                .collect();
            let logits: Vec<f64> = open
                .iter()
                .map(|(_, features)| self.logit(features))
                .collect();
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|x| (x - largest).exp()).sum();
            let log_sum = largest + sum.ln();
            let mut chosen = 0.0;
            for ((item, features), logit) in open.iter().zip(logits) {
                visit(rank, *item, features, (logit - log_sum).exp());
                if *item == list[rank] {
                    chosen = logit - log_sum;
                }
            }
            chosen
        };
        (0..list.len()).map(of_rank).collect()
    }

    /// One step of Rank-GRPO: `group` lists of n items for each context. Returns the mean reward of
    /// a list.
    pub fn step(
        &mut self,
        task: &dyn Ranking,
        contexts: &[usize],
        (group, n): (usize, usize),
        learning_rate: f64,
        rng: &mut ChaCha8Rng,
    ) -> Result<f64, Box<dyn std::error::Error>> {
        let contexts: Vec<usize> = contexts.iter().flat_map(|c| vec![*c; group]).collect();
        let lists = contexts.iter().map(|c| self.list(task, *c, n, Some(rng)));
        let lists: Vec<Vec<usize>> = lists.collect();
        let rows = contexts.iter().zip(&lists);
        let rewards: Vec<Vec<f64>> = rows
            .clone()
            .map(|(c, list)| task.rewards(*c, list))
            .collect();
        let log_probs = rows
            .clone()
            .map(|(c, list)| self.log_probs(task, *c, list, &mut |_, _, _, _| ()));
        let log_probs: Vec<f64> = log_probs.flatten().collect();

        // The loss. A rank is one token here, so the tables are [B, N].
        let ranks: Vec<i64> = (0..log_probs.len())
            .map(|place| (place % n) as i64)
            .collect();
        let segments = Segments::ranks(&ranks, n);
        let advantages = group_advantages(&rewards, group, ScaleRewards::Group)?;
        let advantages = spread(&advantages.values, &segments)?;
        let mask = vec![true; ranks.len()];
        let inputs = LossSlices::new([lists.len(), n], &mask, &segments, &advantages);
        let loss = LossConfig {
            kl: None,
            ..LossConfig::paper()
        }
        .check()?;
        let mut by_log_prob = vec![0.0; ranks.len()];
        loss.evaluate_into(
            &log_probs,
            &inputs,
            &mut Workspace::default(),
            &mut by_log_prob,
        )?;

        // The chain rule: a feature's gradient is its value less the mean over the candidates.
        let mut gradient = vec![0.0; self.weights.len()];
        for (row, (context, list)) in rows.enumerate() {
            let of_row = &by_log_prob[row * n..][..n];
            self.log_probs(
                task,
                *context,
                list,
                &mut |rank, item, features, probability| {
                    let chosen = f64::from(u8::from(item == list[rank]));
                    for (place, value) in features {
                        gradient[*place] += of_row[rank] * value * (chosen - probability);
                    }
                },
            );
        }
        self.adam(&gradient, learning_rate);
        Ok(rewards.iter().flatten().sum::<f64>() / lists.len() as f64)
    }

    fn adam(&mut self, gradient: &[f64], learning_rate: f64) {
        for ((weight, [m, v]), g) in self.weights.iter_mut().zip(&mut self.moments).zip(gradient) {
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.99 * *v + 0.01 * g * g;
            *weight -= learning_rate * *m / (v.sqrt() + 1e-12);
        }
    }
}

/// Prints the mean of values with its 95% interval, contexts resampled.
pub fn print(
    name: &str,
    values: &[f64],
    contexts: &[usize],
) -> Result<(), Box<dyn std::error::Error>> {
    let found = cluster_bootstrap(values, contexts, 1, 2000)?;
    let (mean, low, high) = (found.mean, found.low, found.high);
    println!("{name} {mean:.3} [{low:.3}, {high:.3}]");
    Ok(())
}
