//! Aggregations as a weight for each token.

use crate::workspace::Groups;
use crate::{Aggregation, BatchTotals, RankCount};

/// The weights of a row's tokens: the aggregate of l is the sum of weight times l.
#[derive(Clone, Copy)]
pub(crate) enum RowWeights {
    /// Every token has this one.
    Same(f64),
    /// One over this number times the size of the token's rank.
    ByRank(f64),
}

impl Aggregation {
    pub(crate) fn needs_ranks(&self) -> bool {
        matches!(self, Aggregation::RankMean(_))
    }

    /// The weights of a row of `length` tokens that count, divided into `ranks`, of `n_ranks` in a
    /// full list.
    pub(crate) fn weights(
        &self,
        whole: BatchTotals,
        length: usize,
        ranks: &Groups,
        n_ranks: usize,
    ) -> RowWeights {
        let rows = whole.rows as f64;
        match *self {
            Aggregation::RowSum => RowWeights::Same(1.0 / rows),
            Aggregation::TokenMean => RowWeights::Same(1.0 / whole.tokens.max(1) as f64),
            Aggregation::ConstantLength(longest) => RowWeights::Same(1.0 / (rows * longest as f64)),
            Aggregation::RowMean => RowWeights::Same(1.0 / (rows * length as f64)),
            Aggregation::RankMean(RankCount::All) => RowWeights::ByRank(rows * n_ranks as f64),
            Aggregation::RankMean(RankCount::Present) => {
                RowWeights::ByRank(rows * ranks.present() as f64)
            }
        }
    }
}

impl RowWeights {
    /// The weight of the n-th token that counts.
    pub(crate) fn of(self, n: usize, ranks: &Groups) -> f64 {
        match self {
            RowWeights::Same(weight) => weight,
            RowWeights::ByRank(divisor) => 1.0 / (divisor * ranks.sizes[ranks.of[n]]),
        }
    }
}
