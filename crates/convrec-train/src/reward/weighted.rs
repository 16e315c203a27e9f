//! Several reward functions as one: their weighted sum, and the advantages.

use std::collections::BTreeMap;

use convrec_config::ConfigError;
use rank_grpo::{
    AdvantageError, GroupAdvantages, ScaleRewards, group_advantages, normalize_then_sum,
};
use serde::{Deserialize, Serialize};

use super::{Listed, Reward, RewardFunction};

pub use rank_grpo::MultiObjectiveAggregation;

/// A reward function did not give one usable number to each rank.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RewardError {
    /// It gave too few or too many numbers.
    #[error(
        "reward `{function}` of sample `{sample}`: {found} numbers; expected {expected}, one a rank"
    )]
    Count {
        /// The function's name.
        function: String,
        /// The sample's id.
        sample: String,
        /// The numbers that it gave.
        found: usize,
        /// N.
        expected: usize,
    },
    /// It gave a number that cannot be added up.
    #[error(
        "reward `{function}` of sample `{sample}`: {value} at rank {rank}; expected a finite \
         number of at most 1e9 in size"
    )]
    Value {
        /// The function's name.
        function: String,
        /// The sample's id.
        sample: String,
        /// The rank, from 1.
        rank: usize,
        /// The number.
        value: f64,
    },
}

/// The largest reward and the largest weight, in size: no sum of their products overflows.
pub(crate) const LARGEST_REWARD: f64 = 1e9;

/// The rewards of one completion.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct RowRewards {
    /// `[functions][N]`, or `[functions][1]` where lists as a whole are rewarded.
    pub(crate) each: Vec<Vec<f64>>,
    /// Their weighted sum, `[N]` or `[1]`.
    pub(crate) total: Vec<f64>,
}

/// The reward functions of a run, with their weights.
pub(crate) struct WeightedRewards<'a> {
    credit: Reward,
    aggregation: MultiObjectiveAggregation,
    scale: ScaleRewards,
    /// Weight and function, by name.
    terms: Vec<(f64, &'a dyn RewardFunction)>,
}

impl<'a> WeightedRewards<'a> {
    /// Takes those of `functions` that have a weight.
    ///
    /// # Errors
    /// [`ConfigError`] when a weight names none of them.
    pub(crate) fn new(
        functions: &'a [Box<dyn RewardFunction + 'a>],
        weights: &BTreeMap<String, f64>,
        credit: Reward,
        aggregation: MultiObjectiveAggregation,
        scale: ScaleRewards,
    ) -> Result<Self, ConfigError> {
        let find = |(name, weight): (&String, &f64)| {
            let function = functions.iter().find(|function| function.name() == name);
            let unknown = || {
                let known: Vec<&str> = functions.iter().map(|function| function.name()).collect();
                ConfigError {
                    found: "there is no such reward function".into(),
                    ..ConfigError::new(
                        format!("reward_weights.{name}"),
                        "",
                        format!("some of {}", known.join(", ")),
                    )
                }
            };
            Ok((*weight, function.ok_or_else(unknown)?.as_ref()))
        };
        Ok(Self {
            credit,
            aggregation,
            scale,
            terms: weights
                .iter()
                .map(find)
                .collect::<Result<_, ConfigError>>()?,
        })
    }

    /// Returns the names of the functions.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|(_, function)| function.name())
    }

    /// Rewards one list.
    ///
    /// # Errors
    /// [`RewardError`] when a function does not give one usable number to each rank.
    pub(crate) fn of(&self, list: &Listed<'_>) -> Result<RowRewards, RewardError> {
        let n_relevant = list.sample.ground_truth.len();
        let mut rewards = RowRewards::default();
        for (weight, function) in &self.terms {
            let credited = self.credit.credit(&checked(*function, list)?, n_relevant);
            rewards.total.resize(credited.len(), 0.0);
            for (total, reward) in rewards.total.iter_mut().zip(&credited) {
                *total += weight * reward;
            }
            rewards.each.push(credited);
        }
        Ok(rewards)
    }

    /// Returns the advantages `[B][N]` of `rows`; the completions of a prompt are adjacent.
    ///
    /// # Errors
    /// [`AdvantageError`] when the rows do not divide into groups.
    pub(crate) fn advantages<'r>(
        &self,
        rows: impl Iterator<Item = &'r RowRewards> + Clone,
        group_size: usize,
    ) -> Result<GroupAdvantages, AdvantageError> {
        match self.aggregation {
            MultiObjectiveAggregation::SumThenNormalize => {
                let totals: Vec<Vec<f64>> = rows.map(|row| row.total.clone()).collect();
                group_advantages(&totals, group_size, self.scale)
            }
            MultiObjectiveAggregation::NormalizeThenSum => {
                let table = |term: usize| rows.clone().map(|row| row.each[term].clone()).collect();
                let tables: Vec<(f64, Vec<Vec<f64>>)> = self
                    .terms
                    .iter()
                    .enumerate()
                    .map(|(term, (weight, _))| (*weight, table(term)))
                    .collect();
                normalize_then_sum(&tables, group_size)
            }
        }
    }
}

/// The numbers of `function`, checked. Functions may be a user's own, so the numbers cannot be
/// trusted.
fn checked(function: &dyn RewardFunction, list: &Listed<'_>) -> Result<Vec<f64>, RewardError> {
    let (ranks, expected) = (function.rewards(list), list.items.len());
    let named = || (function.name().to_owned(), list.sample.id.clone());
    if ranks.len() != expected {
        let (function, sample) = named();
        return Err(RewardError::Count {
            function,
            sample,
            found: ranks.len(),
            expected,
        });
    }
    let usable = -LARGEST_REWARD..=LARGEST_REWARD;
    match ranks.iter().position(|reward| !usable.contains(reward)) {
        None => Ok(ranks),
        Some(rank) => {
            let (function, sample) = named();
            Err(RewardError::Value {
                function,
                sample,
                rank: rank + 1,
                value: ranks[rank],
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use convrec_core::ItemId;
    use convrec_metrics::rewards::RankReward;

    use super::super::built_in::tests::{catalog, sample};
    use super::super::{Popularity, built_in};
    use super::*;

    #[test]
    fn weights_name_functions_and_add_up() {
        let popularity = Popularity::of(&[sample(&[0])], catalog().len());
        let functions = built_in(&catalog(), &popularity);
        let weighted = |weights: &[(&str, f64)], aggregation| {
            let weights = weights
                .iter()
                .map(|(name, weight)| (name.to_string(), *weight))
                .collect();
            let credit = Reward::Rank(RankReward::LogDecay);
            WeightedRewards::new(
                &functions,
                &weights,
                credit,
                aggregation,
                ScaleRewards::Group,
            )
        };
        let error = weighted(
            &[("relevance", 1.0), ("fun", 1.0)],
            MultiObjectiveAggregation::SumThenNormalize,
        )
        .err()
        .unwrap()
        .to_string();
        assert!(
            error.contains("`reward_weights.fun`") && error.contains("novelty"),
            "{error}"
        );
        let rewards = weighted(
            &[("relevance", 1.0), ("popularity", -0.5)],
            MultiObjectiveAggregation::NormalizeThenSum,
        )
        .unwrap();
        let items = [Some(ItemId(2)), Some(ItemId(0))];
        let listed = Listed {
            sample: &sample(&[2]),
            items: &items,
            relevant: &[true, false],
        };
        let row = rewards.of(&listed).unwrap(); // by name: popularity, relevance
        assert_eq!(row.each[1], [1.0, 0.0]);
        let later = 1.0 / 3.0_f64.log2();
        assert_eq!(row.each[0], [later, later]);
        assert_eq!(row.total, [1.0 - 0.5 * later, -0.5 * later]);
        // One completion as above, one with nothing: both rewards differ at rank 0, one of them at
        // rank 1.
        let nothing = RowRewards {
            each: vec![vec![0.0, 0.0]; 2],
            total: vec![0.0, 0.0],
        };
        let advantages = rewards.advantages([&row, &nothing].into_iter(), 2).unwrap();
        assert_eq!(advantages.frac_reward_zero_std, 0.0);
        assert!(advantages.values[0][0] > 0.0 && advantages.values[0][1] < 0.0);
    }
}
