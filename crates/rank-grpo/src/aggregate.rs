//! Aggregations as a weight for each token.

use crate::groups::Groups;
use crate::{Aggregation, BatchTotals, RankCount};

/// The weights of a row's tokens: the aggregate of l is the sum of weight times l.
#[derive(Clone, Copy)]
pub(crate) enum RowWeights<'a> {
    /// Every token has this one.
    Same(f64),
    /// Every token has that of its rank.
    ByRank(&'a [f64]),
}

impl Aggregation {
    pub(crate) fn needs_ranks(&self) -> bool {
        matches!(self, Aggregation::RankMean(_))
    }

    /// The weights of a row of `length` tokens that count, divided into `ranks`, of `n_ranks` in a
    /// full list. Weights of ranks are written into `by_rank`.
    pub(crate) fn weights<'a>(
        &self,
        whole: BatchTotals,
        length: usize,
        ranks: &Groups,
        n_ranks: usize,
        by_rank: &'a mut Vec<f64>,
    ) -> RowWeights<'a> {
        let rows = whole.rows as f64;
        let count = match *self {
            Aggregation::RowSum => return RowWeights::Same(1.0 / rows),
            Aggregation::TokenMean => return RowWeights::Same(1.0 / whole.tokens.max(1) as f64),
            Aggregation::ConstantLength(longest) => {
                return RowWeights::Same(1.0 / (rows * longest as f64));
            }
            Aggregation::RowMean => return RowWeights::Same(1.0 / (rows * length as f64)),
            Aggregation::RankMean(RankCount::All) => n_ranks,
            Aggregation::RankMean(RankCount::Present) => ranks.present(),
        };
        let divisor = rows * count as f64;
        by_rank.clear();
        by_rank.extend(ranks.sizes.iter().map(|size| 1.0 / (divisor * size)));
        RowWeights::ByRank(by_rank)
    }
}

impl RowWeights<'_> {
    /// The weight of the n-th token that counts.
    pub(crate) fn of(self, n: usize, ranks: &Groups) -> f64 {
        match self {
            RowWeights::Same(weight) => weight,
            RowWeights::ByRank(weights) => weights[ranks.of[n]],
        }
    }
}
