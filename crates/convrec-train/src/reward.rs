//! What lists earn: gains by rank from several sources, and how a rank is credited for them.

use std::collections::{BTreeMap, HashSet};

use convrec_catalog::Catalog;
use convrec_config::ConfigError;
use convrec_core::ItemId;
use convrec_metrics::rewards::{self, RankReward};
use rank_grpo::{
    AdvantageError, GroupAdvantages, Scale, combine_rewards, decoupled_advantages, group_advantages,
};
use serde::{Deserialize, Serialize};

use crate::task::Sample;

/// How gains by rank become rewards, and so at which level advantages are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reward {
    /// A reward per rank: Rank-GRPO.
    Rank(RankReward),
    /// DCG@N of the list, one number for all of its tokens: GRPO and its kin.
    Dcg,
    /// NDCG@N of the list, likewise: DCG divided by that of a list with all right items in front; 0
    /// where nothing is right.
    Ndcg,
}

impl Reward {
    /// One row of rewards, N of them or a single one, from the gains of N ranks. `n_relevant` items
    /// would have been right.
    pub fn credit(self, gains: &[f64], n_relevant: usize) -> Vec<f64> {
        match self {
            Reward::Rank(reward) => reward.credit(gains),
            Reward::Dcg => vec![rewards::discounted(gains)],
            Reward::Ndcg => match rewards::ideal_dcg(n_relevant.min(gains.len())) {
                0.0 => vec![0.0],
                ideal => vec![rewards::discounted(gains) / ideal],
            },
        }
    }

    /// Whether advantages are per rank.
    pub fn is_ranked(self) -> bool {
        matches!(self, Reward::Rank(_))
    }
}

/// A list that is to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// What was asked.
    pub sample: &'a Sample,
    /// N items by rank; `None` where there is none, or none of the catalog.
    pub items: &'a [Option<ItemId>],
    /// rel_k: whether the item at each rank is right, and for the first time.
    pub relevant: &'a [bool],
}

/// What the item at each rank of a list is worth, in one respect. Implement it to reward what
/// matters to you.
///
/// ```
/// use convrec_train::{Gain, Listed};
///
/// /// Prefers items that entered the catalog late.
/// struct Fresh;
///
/// impl Gain for Fresh {
///     fn name(&self) -> &str {
///         "fresh"
///     }
///
///     fn gains(&self, list: &Listed<'_>) -> Vec<f64> {
///         list.items.iter().map(|item| item.map_or(0.0, |id| if id.0 > 5000 { 1.0 } else { 0.0 })).collect()
///     }
/// }
/// ```
pub trait Gain {
    /// Its name in settings and logs.
    fn name(&self) -> &str;

    /// One finite number for each of the N ranks. The gain of a rank may depend on the ranks before
    /// it, not on those after.
    fn gains(&self, list: &Listed<'_>) -> Vec<f64>;
}

/// rel_k, the paper's reward.
#[derive(Debug, Clone, Copy)]
pub struct Relevance;

impl Gain for Relevance {
    fn name(&self) -> &str {
        "relevance"
    }

    fn gains(&self, list: &Listed<'_>) -> Vec<f64> {
        rewards::gains(list.relevant)
    }
}

/// How often each catalog item is right in the training samples.
#[derive(Debug, Clone)]
pub struct Popularity {
    counts: Vec<usize>,
    largest: usize,
}

impl Popularity {
    /// Counted in `samples`; the catalog has `n_items`.
    pub fn of(samples: &[Sample], n_items: usize) -> Self {
        let mut counts = vec![0; n_items];
        samples
            .iter()
            .flat_map(|sample| &sample.ground_truth)
            .for_each(|id| counts[id.0 as usize] += 1);
        let largest = counts.iter().copied().max().unwrap_or(0).max(1);
        Self { counts, largest }
    }

    /// From 0, never right, to 1, the most popular item.
    pub fn share(&self, item: ItemId) -> f64 {
        self.counts[item.0 as usize] as f64 / self.largest as f64
    }

    /// From 0, the most popular item, to 1, one that was never right: -log of its smoothed share of
    /// all counts, scaled.
    pub fn novelty(&self, item: ItemId) -> f64 {
        let largest = (self.largest as f64 + 1.0).ln();
        1.0 - (self.counts[item.0 as usize] as f64 + 1.0).ln() / largest
    }
}

/// Self-information of an item, from 0 for the most popular to 1 ([`Popularity::novelty`]); 0 where
/// there is no item.
#[derive(Debug, Clone)]
pub struct Novelty(pub Popularity);

impl Gain for Novelty {
    fn name(&self) -> &str {
        "novelty"
    }

    fn gains(&self, list: &Listed<'_>) -> Vec<f64> {
        each(list, |id| self.0.novelty(id))
    }
}

/// The popularity of an item, from 0 to 1 ([`Popularity::share`]): with a negative weight, a
/// penalty.
#[derive(Debug, Clone)]
pub struct Popular(pub Popularity);

impl Gain for Popular {
    fn name(&self) -> &str {
        "popularity"
    }

    fn gains(&self, list: &Listed<'_>) -> Vec<f64> {
        each(list, |id| self.0.share(id))
    }
}

/// How unlike the items before it an item is: 1 less the largest Jaccard similarity of genres to
/// one of them (maximal marginal relevance: Carbonell and Goldstein, SIGIR 1998). A repeated item
/// gains 0.
#[derive(Debug, Clone)]
pub struct Diversity {
    genres: Vec<HashSet<String>>,
}

impl Diversity {
    /// By the catalog's genres.
    pub fn of(catalog: &Catalog) -> Self {
        Self {
            genres: catalog
                .iter()
                .map(|(_, item)| item.genres.iter().cloned().collect())
                .collect(),
        }
    }

    fn similarity(&self, a: ItemId, b: ItemId) -> f64 {
        if a == b {
            return 1.0;
        }
        let (a, b) = (&self.genres[a.0 as usize], &self.genres[b.0 as usize]);
        let shared = a.intersection(b).count();
        shared as f64 / (a.len() + b.len() - shared).max(1) as f64
    }
}

impl Gain for Diversity {
    fn name(&self) -> &str {
        "diversity"
    }

    fn gains(&self, list: &Listed<'_>) -> Vec<f64> {
        let mut before: Vec<ItemId> = Vec::new();
        let mut gain = |id: ItemId| {
            let nearest = before
                .iter()
                .map(|other| self.similarity(id, *other))
                .fold(0.0, f64::max);
            before.push(id);
            1.0 - nearest
        };
        list.items
            .iter()
            .map(|item| item.map_or(0.0, &mut gain))
            .collect()
    }
}

/// -1 for an item that should not be recommended, as from a safety list; with a weight of 1, a
/// penalty of one hit.
#[derive(Debug, Clone)]
pub struct Unsafe(pub HashSet<ItemId>);

impl Gain for Unsafe {
    fn name(&self) -> &str {
        "safety"
    }

    fn gains(&self, list: &Listed<'_>) -> Vec<f64> {
        each(list, |id| if self.0.contains(&id) { -1.0 } else { 0.0 })
    }
}

fn each(list: &Listed<'_>, gain: impl Fn(ItemId) -> f64) -> Vec<f64> {
    list.items
        .iter()
        .map(|item| item.map_or(0.0, &gain))
        .collect()
}

/// How several gains become one advantage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// The weighted sum of the rewards is compared within the group: GRPO.
    #[default]
    Together,
    /// Each reward is compared within the group by itself, and these are added: GDPO
    /// ([`decoupled_advantages`]).
    Separately,
}

/// The largest gain, and the largest weight of one, in size: with these no sum of them leaves the
/// range of numbers.
pub(crate) const LARGEST_GAIN: f64 = 1e9;

/// The gains that a run rewards, with their weights.
pub(crate) struct Rewards<'a> {
    credit: Reward,
    normalization: Normalization,
    scale: Scale,
    terms: Vec<(f64, &'a dyn Gain)>,
}

impl<'a> Rewards<'a> {
    /// Of the gains at hand, those that have a weight.
    pub(crate) fn new(
        gains: &'a [Box<dyn Gain + 'a>],
        weights: &BTreeMap<String, f64>,
        credit: Reward,
        normalization: Normalization,
        scale: Scale,
    ) -> Result<Self, ConfigError> {
        let find = |(name, weight): (&String, &f64)| {
            let gain = gains
                .iter()
                .find(|gain| gain.name() == name)
                .ok_or_else(|| {
                    let known: Vec<&str> = gains.iter().map(|gain| gain.name()).collect();
                    let expected = format!("some of {}", known.join(", "));
                    ConfigError {
                        found: "nothing rewards this".into(),
                        ..ConfigError::new(format!("gains.{name}"), "", expected)
                    }
                })?;
            Ok((*weight, gain.as_ref()))
        };
        let terms = weights.iter().map(find).collect::<Result<_, _>>()?;
        Ok(Self {
            credit,
            normalization,
            scale,
            terms,
        })
    }

    /// A row of rewards for each gain; or what is wrong with a gain.
    pub(crate) fn of(&self, list: &Listed<'_>) -> Result<Vec<Vec<f64>>, String> {
        let credit = |gain: &dyn Gain| {
            let (gains, expected) = (gain.gains(list), list.items.len());
            match gains
                .iter()
                .position(|x| !(-LARGEST_GAIN..=LARGEST_GAIN).contains(x))
            {
                _ if gains.len() != expected => {
                    Err(format!("{} ranks; expected {expected}", gains.len()))
                }
                Some(rank) => Err(format!(
                    "{} at rank {}; expected a number of at most 1e9",
                    gains[rank],
                    rank + 1
                )),
                None => Ok(self.credit.credit(&gains, list.sample.ground_truth.len())),
            }
        };
        let named = |gain: &dyn Gain, problem| {
            format!(
                "gain `{}` of sample `{}`: {problem}",
                gain.name(),
                list.sample.id
            )
        };
        self.terms
            .iter()
            .map(|(_, gain)| credit(*gain).map_err(|problem| named(*gain, problem)))
            .collect()
    }

    /// The weighted sum of [`of`](Self::of).
    pub(crate) fn total(&self, rewards: &[Vec<f64>]) -> Vec<f64> {
        let mut total = vec![0.0; rewards.first().map_or(0, Vec::len)];
        for ((weight, _), rewards) in self.terms.iter().zip(rewards) {
            total
                .iter_mut()
                .zip(rewards)
                .for_each(|(total, reward)| *total += weight * reward);
        }
        total
    }

    /// The names of the gains.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|(_, gain)| gain.name())
    }

    /// Advantages `[B][N]` from the rewards `[B]` of each gain; the completions of a prompt are
    /// adjacent.
    pub(crate) fn advantages(
        &self,
        rows: &[&[Vec<f64>]],
        group_size: usize,
    ) -> Result<GroupAdvantages, AdvantageError> {
        let table = |term: usize| rows.iter().map(|rewards| rewards[term].clone()).collect();
        let tables: Vec<(f64, Vec<Vec<f64>>)> = self
            .terms
            .iter()
            .enumerate()
            .map(|(term, (weight, _))| (*weight, table(term)))
            .collect();
        match self.normalization {
            Normalization::Together => {
                group_advantages(&combine_rewards(&tables)?, group_size, self.scale)
            }
            Normalization::Separately => decoupled_advantages(&tables, group_size),
        }
    }
}

/// The gains that need nothing but the catalog and the training samples.
pub(crate) fn built_in(catalog: &Catalog, samples: &[Sample]) -> Vec<Box<dyn Gain>> {
    let popularity = Popularity::of(samples, catalog.len());
    vec![
        Box::new(Relevance),
        Box::new(Novelty(popularity.clone())),
        Box::new(Popular(popularity)),
        Box::new(Diversity::of(catalog)),
    ]
}

#[cfg(test)]
mod tests {
    use convrec_core::CatalogItem;

    use super::*;

    fn catalog() -> Catalog {
        let item = |(title, genres): (&str, &[&str])| CatalogItem {
            title: title.into(),
            year: Some(2000),
            genres: genres.iter().map(|genre| genre.to_string()).collect(),
            metadata: String::new(),
        };
        let items: [(&str, &[&str]); 4] = [
            ("A", &["crime", "drama"]),
            ("B", &["crime"]),
            ("C", &["comedy"]),
            ("D", &[]),
        ];
        Catalog::new(items.map(item).into()).unwrap()
    }

    fn sample(ground_truth: &[u32]) -> Sample {
        let ground_truth = ground_truth.iter().copied().map(ItemId).collect();
        Sample {
            id: "a-1".into(),
            prompt: vec![1],
            seen: vec![],
            ground_truth,
        }
    }

    fn gains(gain: &dyn Gain, items: &[Option<u32>]) -> Vec<f64> {
        let items: Vec<Option<ItemId>> = items.iter().map(|item| item.map(ItemId)).collect();
        let relevant: Vec<bool> = items.iter().map(|item| *item == Some(ItemId(2))).collect();
        gain.gains(&Listed {
            sample: &sample(&[2]),
            items: &items,
            relevant: &relevant,
        })
    }

    #[test]
    fn each_gain_is_what_it_says() {
        let samples = [sample(&[0]), sample(&[0, 1]), sample(&[0])];
        let popularity = Popularity::of(&samples, 4);
        let list = [Some(0), Some(1), None, Some(2), Some(1)];
        assert_eq!(gains(&Relevance, &list), [0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(
            gains(&Popular(popularity.clone()), &list),
            [1.0, 1.0 / 3.0, 0.0, 0.0, 1.0 / 3.0]
        );
        let novelty = gains(&Novelty(popularity), &list);
        assert_eq!([novelty[0], novelty[2], novelty[3]], [0.0, 0.0, 1.0]);
        assert!((novelty[1] - 0.5).abs() < 1e-12, "{novelty:?}"); // ln 2 / ln 4
        // B shares one of two genres with A; the second B is no news at all; D has no genre to
        // share.
        assert_eq!(
            gains(&Diversity::of(&catalog()), &list),
            [1.0, 0.5, 0.0, 1.0, 0.0]
        );
        assert_eq!(
            gains(&Diversity::of(&catalog()), &[Some(3), Some(0)]),
            [1.0, 1.0]
        );
        assert_eq!(
            gains(&Unsafe(HashSet::from([ItemId(1)])), &list),
            [0.0, -1.0, 0.0, 0.0, -1.0]
        );
    }

    #[test]
    fn weights_name_gains_and_add_up() {
        let gains = built_in(&catalog(), &[sample(&[0])]);
        let rewards = |weights: &[(&str, f64)], normalization| {
            let weights = weights
                .iter()
                .map(|(name, weight)| (name.to_string(), *weight))
                .collect();
            Rewards::new(
                &gains,
                &weights,
                Reward::Rank(RankReward::LogDecay),
                normalization,
                Scale::Group,
            )
        };
        let error = rewards(&[("relevance", 1.0), ("fun", 1.0)], Normalization::Together)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("`gains.fun`") && error.contains("novelty"),
            "{error}"
        );
        let rewards = rewards(
            &[("relevance", 1.0), ("popularity", -0.5)],
            Normalization::Separately,
        )
        .unwrap();
        let items = [Some(ItemId(2)), Some(ItemId(0))];
        let listed = Listed {
            sample: &sample(&[2]),
            items: &items,
            relevant: &[true, false],
        };
        let each = rewards.of(&listed).unwrap(); // by name: popularity, relevance
        assert_eq!(each[1], [1.0, 0.0]);
        let later = 1.0 / 3.0_f64.log2();
        assert_eq!(each[0], [later, later]);
        assert_eq!(rewards.total(&each), [1.0 - 0.5 * later, -0.5 * later]);
        // One completion as above, one with nothing: both rewards differ at rank 0, one of them at
        // rank 1.
        let none = vec![vec![0.0, 0.0]; 2];
        let advantages = rewards.advantages(&[&each, &none], 2).unwrap();
        assert_eq!(advantages.zero_variance, 0.0);
        assert!(advantages.values[0][0] > 0.0 && advantages.values[0][1] < 0.0);
    }

    #[test]
    fn a_list_as_a_whole_is_credited_by_discount() {
        let third = 1.0 / 3.0_f64.log2();
        assert_eq!(Reward::Dcg.credit(&[0.0, 1.0], 1), [third]);
        assert_eq!(Reward::Ndcg.credit(&[0.0, 1.0], 1), [third]);
        assert_eq!(Reward::Ndcg.credit(&[1.0, 1.0], 2), [1.0]);
        assert_eq!(Reward::Ndcg.credit(&[1.0, 1.0], 0), [0.0]);
    }
}
