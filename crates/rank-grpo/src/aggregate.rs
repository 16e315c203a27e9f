//! Segments as groups of tokens, and aggregations as a weight per token.

use crate::{Aggregation, LossInputs, RankCount, RatioLevel};

/// The tokens that count, divided into the segments of one level.
pub(crate) struct Partition {
    /// The group of each token of the batch; meaningless for tokens that do not count.
    pub of: Vec<usize>,
    /// The number of tokens in each group.
    pub sizes: Vec<f64>,
}

impl Partition {
    /// # Panics
    /// At rank level, if a token that counts has no rank.
    pub fn new(level: RatioLevel, tokens: &[usize], inputs: &LossInputs) -> Self {
        let [n_rows, n_tokens] = inputs.shape;
        let segments = inputs.segments.count();
        let (n_groups, group): (usize, &dyn Fn(usize) -> usize) = match level {
            RatioLevel::Token => (n_rows * n_tokens, &|t| t),
            RatioLevel::Sequence => (n_rows, &|t| t / n_tokens),
            RatioLevel::Rank => (n_rows * segments, &|t| {
                t / n_tokens * segments + inputs.segments.get(t).expect("tokens with a rank")
            }),
        };
        let mut partition = Partition {
            of: vec![0; n_rows * n_tokens],
            sizes: vec![0.0; n_groups],
        };
        for &t in tokens {
            let g = group(t);
            partition.of[t] = g;
            partition.sizes[g] += 1.0;
        }
        partition
    }

    /// The sum of each group, 0 for an empty one.
    pub fn sums(&self, tokens: &[usize], value: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.sizes.len()];
        for &t in tokens {
            sums[self.of[t]] += value(t);
        }
        sums
    }

    /// The mean of each group, 0 for an empty one.
    pub fn means(&self, tokens: &[usize], value: impl Fn(usize) -> f64) -> Vec<f64> {
        self.sums(tokens, value)
            .iter()
            .zip(&self.sizes)
            .map(|(sum, size)| sum / size.max(1.0))
            .collect()
    }
}

impl Aggregation {
    pub(crate) fn needs_ranks(&self) -> bool {
        matches!(self, Aggregation::RankMean(_))
    }

    /// The weight of each token that counts, 0 for the others: the aggregate of l is the sum of
    /// weight times l.
    pub(crate) fn weights(&self, tokens: &[usize], inputs: &LossInputs) -> Vec<f64> {
        let (rows, all_tokens) = match inputs.whole_batch {
            Some(whole) => (whole.rows, whole.tokens),
            None => (inputs.shape[0], tokens.len()),
        };
        let rows = rows as f64;
        let share: Box<dyn Fn(usize) -> f64> = match *self {
            Aggregation::RowSum => Box::new(move |_| 1.0 / rows),
            Aggregation::TokenMean => Box::new(move |_| 1.0 / all_tokens.max(1) as f64),
            Aggregation::ConstantLength(length) => Box::new(move |_| 1.0 / (rows * length as f64)),
            Aggregation::RowMean => {
                let sequences = Partition::new(RatioLevel::Sequence, tokens, inputs);
                Box::new(move |t| 1.0 / (rows * sequences.sizes[sequences.of[t]]))
            }
            Aggregation::RankMean(count) => {
                let ranks = Partition::new(RatioLevel::Rank, tokens, inputs);
                let counts = rank_counts(count, &ranks, inputs);
                let n_tokens = inputs.shape[1];
                Box::new(move |t| 1.0 / (rows * counts[t / n_tokens] * ranks.sizes[ranks.of[t]]))
            }
        };
        let mut weights = vec![0.0; inputs.mask.len()];
        tokens.iter().for_each(|&t| weights[t] = share(t));
        weights
    }
}

/// D of each row.
fn rank_counts(count: RankCount, ranks: &Partition, inputs: &LossInputs) -> Vec<f64> {
    let row = |sizes: &[f64]| match count {
        RankCount::All => inputs.segments.n_ranks() as f64,
        RankCount::Present => sizes.iter().filter(|size| **size > 0.0).count() as f64,
    };
    ranks
        .sizes
        .chunks(inputs.segments.count())
        .map(row)
        .collect()
}
