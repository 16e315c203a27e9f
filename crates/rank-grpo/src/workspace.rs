//! The buffers that one evaluation of the loss needs, kept for the next one.

use crate::lanes::Lanes;
use crate::terms::Ratio;
use crate::{RatioLevel, Segments};

/// The buffers of [`Loss::evaluate_into`](crate::Loss::evaluate_into).
///
/// Make one with [`Workspace::default`] and keep it. It grows at the first call: by one byte for
/// each token of the batch (two numbers more with entropies), and some numbers for each token and
/// rank of one row.
/// A later call of the same shape allocates nothing. One workspace serves any loss and both element
/// types.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    /// Whether each token of the batch counts.
    pub(crate) keep: Vec<bool>,
    /// The columns of the tokens of a row that count.
    pub(crate) columns: Vec<usize>,
    /// The segments of the importance ratios.
    pub(crate) ratio: Groups,
    /// The importance ratio of each of these segments.
    pub(crate) ratios: Vec<Ratio>,
    /// VESPO's weights of each of them, for advantages of 0 or more and for negative ones.
    pub(crate) phi: Vec<[f64; 2]>,
    /// The importance ratios of the segments of a row without options, and its tokens.
    pub(crate) group_ratios: Vec<f64>,
    pub(crate) lanes: Lanes,
    /// The segments of the correction.
    pub(crate) correction: Groups,
    /// The weight of each of these segments, and whether it was out of bounds.
    pub(crate) corrections: Vec<(f64, bool)>,
    /// The ranks of a row.
    pub(crate) ranks: Groups,
    /// The weight of a token of each rank in the policy loss and in the KL, where they differ by
    /// rank.
    pub(crate) rank_weights: [Vec<f64>; 2],
    /// The derivative of each token's loss by its own log-probability.
    pub(crate) direct: Vec<f64>,
    /// The derivative of each token's loss by the log ratio of its segment.
    pub(crate) by_log_ratio: Vec<f64>,
    /// All entropies, in order of size, where a quantile of them is wanted.
    pub(crate) sorted: Vec<f64>,
    /// The derivative of the loss by each entropy.
    pub(crate) entropy_gradient: Vec<f64>,
}

impl Workspace {
    /// The derivative of the last loss by each entropy, `[B, T]`.
    ///
    /// It is empty where the loss had no entropy bonus.
    #[must_use]
    pub fn entropy_gradient(&self) -> &[f64] {
        &self.entropy_gradient
    }
}

/// The tokens of a row that count, divided into the segments of one level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    /// The segment of each token.
    pub of: Vec<usize>,
    /// The number of tokens in each segment.
    pub sizes: Vec<f64>,
    /// The sum of the last values over each segment.
    pub sums: Vec<f64>,
    /// The mean of the last values over each segment; 0 for an empty one.
    pub means: Vec<f64>,
}

impl Groups {
    /// Divides the tokens at `columns` of the row that begins at token `first`.
    ///
    /// At rank level, every token must have a rank.
    pub fn assign(
        &mut self,
        level: RatioLevel,
        columns: &[usize],
        first: usize,
        segments: &Segments,
    ) {
        let Groups { of, sizes, .. } = self;
        of.clear();
        sizes.clear();
        match level {
            RatioLevel::Token => {
                of.extend(0..columns.len());
                sizes.resize(columns.len(), 1.0);
            }
            RatioLevel::Sequence => {
                of.resize(columns.len(), 0);
                sizes.push(columns.len() as f64);
            }
            RatioLevel::Rank => {
                sizes.resize(segments.count(), 0.0);
                of.extend(
                    columns
                        .iter()
                        .map(|column| segments.get(first + column).unwrap_or(0)),
                );
                for run in of.chunk_by(|a, b| a == b) {
                    sizes[run[0]] += run.len() as f64;
                }
            }
        }
    }

    /// Sums the values of the tokens over each segment.
    pub fn sum(&mut self, values: impl Iterator<Item = f64>) {
        self.sums.clear();
        self.sums.resize(self.sizes.len(), 0.0);
        // Neighbours mostly share a segment, whose sum then need not go through memory.
        let (mut last, mut sum) = (0, 0.0);
        for (&group, value) in self.of.iter().zip(values) {
            if group != last {
                self.sums[last] = sum;
                (last, sum) = (group, self.sums[group]);
            }
            sum += value;
        }
        if let Some(total) = self.sums.get_mut(last) {
            *total = sum;
        }
        let means = self.sums.iter().zip(&self.sizes);
        self.means.clear();
        self.means
            .extend(means.map(|(sum, size)| sum / size.max(1.0)));
    }

    /// The number of segments that hold tokens.
    pub fn present(&self) -> usize {
        self.sizes.iter().filter(|size| **size > 0.0).count()
    }
}
