//! Several reward functions as one: their weighted sum, and the advantages.

use std::collections::{BTreeMap, BTreeSet};

use convrec_config::ConfigError;
use rank_grpo::{
    AdvantageError, Constraint, GroupAdvantages, ScaleRewards, condition_rewards, group_advantages,
    normalize_then_sum, ordinal_advantages,
};
use serde::{Deserialize, Serialize};

use super::{Listed, Reward, RewardFunction, RewardTarget};
use crate::rl::RlConfig;

pub use rank_grpo::MultiObjectiveAggregation;

/// The way in which the rewards of a group become advantages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AdvantageEstimator {
    /// The distance from the group's mean, divided as `scale_rewards` says: GRPO, Rank-GRPO.
    #[default]
    Group,
    /// The place in the group by size of reward ([`ordinal_advantages`]): GOPO. `scale_rewards`
    /// does nothing.
    Ordinal,
}

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
    /// The mean over the N ranks of each function's numbers, before they are credited.
    means: Vec<f64>,
}

/// A reward function of a run.
struct Term<'a> {
    function: &'a dyn RewardFunction,
    /// The weight that settings give.
    fixed: f64,
    /// The constraint of a target, with the multiplier of the step at hand.
    constraint: Option<Constraint>,
    /// The function and the threshold on which the numbers depend.
    condition: Option<(&'a dyn RewardFunction, f64)>,
}

/// The mean of a reward with a target, and its constraint with the multiplier of the step.
pub(crate) struct Measured<'s> {
    pub(crate) name: &'s str,
    pub(crate) mean: f64,
    pub(crate) constraint: Constraint,
}

/// The reward functions of a run, with their weights.
pub(crate) struct WeightedRewards<'a> {
    credit: Reward,
    aggregation: MultiObjectiveAggregation,
    estimator: AdvantageEstimator,
    scale: ScaleRewards,
    /// By name.
    terms: Vec<Term<'a>>,
}

impl<'a> WeightedRewards<'a> {
    /// Takes those of `functions` that have a weight or a target.
    ///
    /// # Errors
    /// [`ConfigError`] when settings name another one.
    pub(crate) fn new(
        functions: &'a [Box<dyn RewardFunction + 'a>],
        config: &RlConfig,
    ) -> Result<Self, ConfigError> {
        let find = |name: &str| functions.iter().find(|function| function.name() == name);
        for (field, name) in config.named_rewards() {
            if find(name).is_none() {
                let known: Vec<&str> = functions.iter().map(|function| function.name()).collect();
                let expected = format!("some of {}", known.join(", "));
                return Err(ConfigError {
                    found: "there is no such reward function".into(),
                    ..ConfigError::new(field, "", expected)
                });
            }
        }
        let weights = &config.reward_weights;
        let names: BTreeSet<&String> = weights.keys().chain(config.reward_targets.keys()).collect();
        let term = |name: &String| {
            let condition = config.reward_conditions.get(name);
            Some(Term {
                function: find(name)?.as_ref(),
                fixed: weights.get(name).copied().unwrap_or(0.0),
                constraint: config
                    .reward_targets
                    .get(name)
                    .map(RewardTarget::constraint),
                condition: condition
                    .and_then(|condition| Some((find(&condition.given)?.as_ref(), condition)))
                    .map(|(given, condition)| (given, condition.threshold)),
            })
        };
        Ok(Self {
            credit: config.reward,
            aggregation: config.multi_objective_aggregation,
            estimator: config.advantage_estimator,
            scale: config.scale_rewards,
            terms: names.into_iter().filter_map(term).collect(),
        })
    }

    /// Returns the names of the functions.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|term| term.function.name())
    }

    /// Takes the multipliers of a step, by name.
    pub(crate) fn set_multipliers(&mut self, multipliers: &BTreeMap<String, f64>) {
        for term in &mut self.terms {
            let multiplier = multipliers.get(term.function.name());
            if let (Some(constraint), Some(multiplier)) = (&mut term.constraint, multiplier) {
                constraint.multiplier = *multiplier;
            }
        }
    }

    /// Measures the rewards that have a target, over the lists of a step.
    pub(crate) fn measure(&self, rows: &[&RowRewards]) -> Vec<Measured<'_>> {
        let measured = |(n, term): (usize, &'_ Term<'a>)| {
            let sum: f64 = rows.iter().map(|row| row.means[n]).sum();
            Some(Measured {
                name: term.function.name(),
                mean: sum / rows.len().max(1) as f64,
                constraint: term.constraint?,
            })
        };
        self.terms.iter().enumerate().filter_map(measured).collect()
    }

    /// Rewards one list.
    ///
    /// # Errors
    /// [`RewardError`] when a function does not give one usable number to each rank.
    pub(crate) fn of(&self, list: &Listed<'_>) -> Result<RowRewards, RewardError> {
        let n_relevant = list.sample.ground_truth.len();
        let mut rewards = RowRewards::default();
        for term in &self.terms {
            let ranks = term.ranks(list)?;
            let mean = ranks.iter().sum::<f64>() / ranks.len().max(1) as f64;
            let credited = self.credit.credit(&ranks, n_relevant);
            rewards.total.resize(credited.len(), 0.0);
            for (total, reward) in rewards.total.iter_mut().zip(&credited) {
                *total += term.weight() * reward;
            }
            rewards.each.push(credited);
            rewards.means.push(mean);
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
                match self.estimator {
                    AdvantageEstimator::Group => group_advantages(&totals, group_size, self.scale),
                    AdvantageEstimator::Ordinal => ordinal_advantages(&totals, group_size),
                }
            }
            MultiObjectiveAggregation::NormalizeThenSum => {
                let table = |term: usize| rows.clone().map(|row| row.each[term].clone()).collect();
                let tables: Vec<(f64, Vec<Vec<f64>>)> = self
                    .terms
                    .iter()
                    .enumerate()
                    .map(|(n, term)| (term.weight(), table(n)))
                    .collect();
                normalize_then_sum(&tables, group_size)
            }
        }
    }
}

impl Term<'_> {
    /// The weight in the step at hand.
    fn weight(&self) -> f64 {
        self.fixed
            + self
                .constraint
                .map_or(0.0, |constraint| constraint.weight())
    }

    /// The numbers of the ranks, 0 where the condition is not met.
    fn ranks(&self, list: &Listed<'_>) -> Result<Vec<f64>, RewardError> {
        let ranks = checked(self.function, list)?;
        let Some((given, threshold)) = self.condition else {
            return Ok(ranks);
        };
        let given = checked(given, list)?;
        let conditioned = condition_rewards(&[ranks], &[given], threshold);
        Ok(conditioned.expect("both are N finite numbers").remove(0))
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
    use super::super::{Popularity, RewardCondition, built_in};
    use super::*;
    use crate::task::Sample;

    fn functions() -> Vec<Box<dyn RewardFunction>> {
        let popularity = Popularity::of(&[sample(&[0])], catalog().len());
        built_in(&catalog(), &popularity, &[]).unwrap()
    }

    fn config(weights: &[(&str, f64)], aggregation: MultiObjectiveAggregation) -> RlConfig {
        RlConfig {
            reward: Reward::Rank(RankReward::LogDecay),
            reward_weights: weights
                .iter()
                .map(|(name, weight)| (name.to_string(), *weight))
                .collect(),
            multi_objective_aggregation: aggregation,
            ..RlConfig::default()
        }
    }

    const ITEMS: [Option<ItemId>; 2] = [Some(ItemId(2)), Some(ItemId(0))];

    fn listed(sample: &Sample) -> Listed<'_> {
        Listed {
            sample,
            items: &ITEMS,
            relevant: &[true, false],
        }
    }

    #[test]
    fn weights_name_functions_and_add_up() {
        let functions = functions();
        let sum = MultiObjectiveAggregation::SumThenNormalize;
        let wrong = config(&[("relevance", 1.0), ("fun", 1.0)], sum);
        let error = WeightedRewards::new(&functions, &wrong).err().unwrap();
        let error = error.to_string();
        assert!(
            error.contains("`reward_weights.fun`") && error.contains("novelty"),
            "{error}"
        );
        let config = config(
            &[("relevance", 1.0), ("popularity", -0.5)],
            MultiObjectiveAggregation::NormalizeThenSum,
        );
        let rewards = WeightedRewards::new(&functions, &config).unwrap();
        let sample = sample(&[2]);
        let row = rewards.of(&listed(&sample)).unwrap(); // by name: popularity, relevance
        assert_eq!(row.each[1], [1.0, 0.0]);
        let later = 1.0 / 3.0_f64.log2();
        assert_eq!(row.each[0], [later, later]);
        assert_eq!(row.total, [1.0 - 0.5 * later, -0.5 * later]);
        // One completion as above, one with nothing: both rewards differ at rank 0, one of them at
        // rank 1.
        let nothing = RowRewards {
            each: vec![vec![0.0, 0.0]; 2],
            total: vec![0.0, 0.0],
            means: vec![0.0; 2],
        };
        let advantages = rewards.advantages([&row, &nothing].into_iter(), 2).unwrap();
        assert_eq!(advantages.frac_reward_zero_std, 0.0);
        assert!(advantages.values[0][0] > 0.0 && advantages.values[0][1] < 0.0);
    }

    #[test]
    fn a_target_adds_its_multiplier_to_the_weight() {
        let functions = functions();
        let sum = MultiObjectiveAggregation::SumThenNormalize;
        let config = RlConfig {
            reward: Reward::Rank(RankReward::ExpInf),
            reward_targets: BTreeMap::from([
                ("popularity".into(), RewardTarget::at_most(0.25)),
                (
                    "diversity".into(),
                    RewardTarget {
                        multiplier: 2.0,
                        ..RewardTarget::at_least(0.5)
                    },
                ),
            ]),
            ..config(&[("relevance", 1.0), ("popularity", 0.5)], sum)
        };
        let mut rewards = WeightedRewards::new(&functions, &config).unwrap();
        let sample = sample(&[2]);
        // By rank: relevance 1 and 0, popularity 0 and 1, diversity 1 and 1.
        let total = |rewards: &WeightedRewards<'_>| rewards.of(&listed(&sample)).unwrap().total;
        assert_eq!(total(&rewards), [3.0, 2.5]);
        rewards.set_multipliers(&BTreeMap::from([("popularity".to_string(), 4.0)]));
        assert_eq!(total(&rewards), [3.0, -1.5]);
        let row = rewards.of(&listed(&sample)).unwrap();
        let measured = rewards.measure(&[&row, &row]);
        let shown: Vec<_> = measured
            .iter()
            .map(|found| (found.name, found.mean, found.constraint.multiplier))
            .collect();
        assert_eq!(shown, [("diversity", 1.0, 2.0), ("popularity", 0.5, 4.0)]);
        let next = measured.into_iter().map(|mut found| {
            found.constraint.update(found.mean);
            found.constraint.multiplier
        });
        assert_eq!(next.collect::<Vec<_>>(), [1.5, 4.25]);
    }

    #[test]
    fn ordinal_advantages_see_the_order_alone() {
        let functions = functions();
        let sum = MultiObjectiveAggregation::SumThenNormalize;
        let config = RlConfig {
            advantage_estimator: AdvantageEstimator::Ordinal,
            ..config(&[("relevance", 1.0)], sum)
        };
        let rewards = WeightedRewards::new(&functions, &config).unwrap();
        let row = |total: f64| RowRewards {
            total: vec![total],
            ..RowRewards::default()
        };
        let rows = [row(0.1), row(70.0), row(0.2)];
        let advantages = rewards.advantages(rows.iter(), 3).unwrap();
        assert_eq!(advantages.values.concat(), [-2.0, 2.0, 0.0]);
    }

    #[test]
    fn a_condition_leaves_out_the_ranks_that_miss_it() {
        let functions = functions();
        let condition = |given: &str| RewardCondition {
            given: given.into(),
            threshold: 1.0,
        };
        let sum = MultiObjectiveAggregation::SumThenNormalize;
        let weighted = |given: &str| {
            let config = RlConfig {
                reward: Reward::Rank(RankReward::ExpInf),
                reward_conditions: BTreeMap::from([("diversity".into(), condition(given))]),
                ..config(&[("diversity", 1.0)], sum)
            };
            WeightedRewards::new(&functions, &config)
        };
        let sample = sample(&[2]);
        let row = weighted("relevance").unwrap().of(&listed(&sample)).unwrap();
        assert_eq!((row.total, row.means), (vec![1.0, 0.0], vec![0.5]));
        let error = weighted("fun").err().unwrap().to_string();
        let field = "`reward_conditions.diversity.given`";
        assert!(error.contains(field), "{error}");
    }
}
