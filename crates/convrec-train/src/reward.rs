//! The rewards of lists. Reward functions give a number to each rank, [`Reward`] credits ranks with
//! them, and weights add them up.

mod built_in;
mod targets;
mod weighted;

use convrec_core::ItemId;
use convrec_metrics::rewards::{self, RankReward};
use serde::{Deserialize, Serialize};

use crate::task::Sample;

pub use built_in::{
    BlockedReward, BlocklistReward, DiversityReward, GenreReward, NoveltyReward, Popularity,
    PopularityReward, RelevanceReward,
};
pub(crate) use built_in::{GENRE, built_in};
pub use targets::{RewardCondition, RewardTarget};
pub(crate) use targets::{check_tables, named};
pub use weighted::{AdvantageEstimator, MultiObjectiveAggregation, RewardError};
pub(crate) use weighted::{LARGEST_REWARD, Measured, RowRewards, WeightedRewards};

/// A list that is to be rewarded.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// The sample that it answers.
    pub sample: &'a Sample,
    /// The N items by rank. A rank is `None` where the list has ended or names no catalog item.
    pub items: &'a [Option<ItemId>],
    /// rel_k: whether the item at each rank is relevant and was not listed before.
    pub relevant: &'a [bool],
}

/// A reward function, which gives a number to each rank of a list. Implement it for a reward of
/// your own.
///
/// ```
/// use convrec_train::{Listed, RewardFunction};
///
/// /// Prefers items that entered the catalog late.
/// struct Fresh;
///
/// impl RewardFunction for Fresh {
///     fn name(&self) -> &str {
///         "fresh"
///     }
///
///     fn rewards(&self, list: &Listed<'_>) -> Vec<f64> {
///         let of_rank = |item: &Option<_>| item.map_or(0.0, |id: convrec_core::ItemId| f64::from(id.0 > 5000));
///         list.items.iter().map(of_rank).collect()
///     }
/// }
/// ```
pub trait RewardFunction: Send {
    /// Returns the function's name in settings and logs.
    fn name(&self) -> &str;

    /// Returns one finite number for each of the N ranks, at most 1e9 in size. The number of a rank
    /// may depend on the ranks before it, but not on those after it.
    fn rewards(&self, list: &Listed<'_>) -> Vec<f64>;
}

/// The rule by which the numbers of the reward functions become rewards of ranks or lists. It also
/// decides whether advantages are per rank or per list.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Reward {
    /// Each rank has a reward: Rank-GRPO.
    Rank(RankReward),
    /// The list has one reward, its DCG@N, which all of its tokens share: GRPO and similar losses.
    Dcg,
    /// The list has one reward, its NDCG@N: the DCG divided by that of a list with all relevant
    /// items in front. It is 0 where no item is relevant.
    Ndcg,
}

impl Reward {
    /// Returns a row of rewards, N of them or a single one, from the numbers of the N ranks.
    /// `n_relevant` is the number of items that are relevant, listed or not.
    #[must_use]
    pub fn credit(self, ranks: &[f64], n_relevant: usize) -> Vec<f64> {
        match self {
            Reward::Rank(reward) => reward.credit(ranks),
            Reward::Dcg => vec![rewards::discounted(ranks)],
            Reward::Ndcg => match rewards::ideal_dcg(n_relevant.min(ranks.len())) {
                0.0 => vec![0.0],
                ideal => vec![rewards::discounted(ranks) / ideal],
            },
        }
    }

    /// Whether advantages are per rank.
    #[must_use]
    pub fn is_ranked(self) -> bool {
        matches!(self, Reward::Rank(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_as_a_whole_is_credited_by_discount() {
        let third = 1.0 / 3.0_f64.log2();
        assert_eq!(Reward::Dcg.credit(&[0.0, 1.0], 1), [third]);
        assert_eq!(Reward::Ndcg.credit(&[0.0, 1.0], 1), [third]);
        assert_eq!(Reward::Ndcg.credit(&[1.0, 1.0], 2), [1.0]);
        assert_eq!(Reward::Ndcg.credit(&[1.0, 1.0], 0), [0.0]);
    }
}
