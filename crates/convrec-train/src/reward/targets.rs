//! Settings of rewards that a run must keep within a bound, and of rewards with a condition.

use std::collections::BTreeMap;

use convrec_config::ConfigError;
use rank_grpo::{Bound, Constraint};
use serde::{Deserialize, Serialize};

use super::LARGEST_REWARD;
use super::built_in::GENRE;

/// What is expected of a target for a reward of 1 for some items, and 0 for others.
const SHARE: &str = "0 to 1, a share of the items";

/// A target for the mean of a reward function over all ranks of all sampled lists, such as "at
/// most 1% of the items are blocked".
///
/// A Lagrange multiplier keeps it ([`Constraint`]). The policy is rewarded with the weighted
/// rewards minus (`at_most`) or plus (`at_least`) the multiplier times this one. The multiplier
/// grows after a step that missed the target, and shrinks after one with slack.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardTarget {
    /// The largest mean. Give either this or `at_least`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// The smallest mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// The step of the multiplier for each unit of violation. The default is 1: a share that is
    /// missed by a tenth raises the multiplier by a tenth in each step.
    #[serde(default = "usual_rate")]
    pub learning_rate: f64,
    /// The multiplier of the first step.
    #[serde(default)]
    pub multiplier: f64,
    /// The largest multiplier. It bounds the price of a target that cannot be kept.
    #[serde(default = "usual_limit")]
    pub largest: f64,
}

fn usual_rate() -> f64 {
    1.0
}

fn usual_limit() -> f64 {
    10.0
}

impl RewardTarget {
    /// A target with the usual learning rate and limit.
    #[must_use]
    pub fn at_most(mean: f64) -> Self {
        Self {
            at_most: Some(mean),
            at_least: None,
            learning_rate: usual_rate(),
            multiplier: 0.0,
            largest: usual_limit(),
        }
    }

    /// As [`at_most`](Self::at_most), for a mean that must not be smaller.
    #[must_use]
    pub fn at_least(mean: f64) -> Self {
        Self {
            at_most: None,
            at_least: Some(mean),
            ..Self::at_most(mean)
        }
    }

    /// The constraint of the first step.
    pub(crate) fn constraint(&self) -> Constraint {
        let (bound, target) = match (self.at_most, self.at_least) {
            (Some(mean), _) => (Bound::AtMost, mean),
            (None, mean) => (Bound::AtLeast, mean.unwrap_or(f64::NEG_INFINITY)),
        };
        Constraint {
            bound,
            target,
            learning_rate: self.learning_rate,
            largest: self.largest,
            multiplier: self.multiplier,
        }
    }

    fn check(&self, name: &str) -> Result<(), ConfigError> {
        let error = |field: &str, found: String, expected: &str| {
            Err(ConfigError::new(
                format!("reward_targets.{name}{field}"),
                found,
                expected,
            ))
        };
        let size = |x: Option<f64>| x.is_none_or(|x| x.abs() <= LARGEST_REWARD);
        let shown = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
        if self.at_most.is_some() == self.at_least.is_some() {
            return error("", String::new(), "either `at_most` or `at_least`");
        }
        if !size(self.at_most) {
            return error(".at_most", shown(self.at_most), "a number of at most 1e9");
        }
        if !size(self.at_least) {
            let expected = "a number of at most 1e9 in size";
            return error(".at_least", shown(self.at_least), expected);
        }
        // The mean of such a reward is a share of items, and that of the other one is a negative
        // share, so that other targets are never kept or always.
        let (values, expected) = match name {
            "blocklist" => (
                -1.0..=0.0,
                "-1 to 0, as blocked items earn -1; the share of blocked items is `blocked`",
            ),
            "blocked" => (0.0..=1.0, SHARE),
            name if name.starts_with(GENRE) => (0.0..=1.0, SHARE),
            _ => (-LARGEST_REWARD..=LARGEST_REWARD, ""),
        };
        for (field, value) in [(".at_most", self.at_most), (".at_least", self.at_least)] {
            if value.is_some_and(|value| !values.contains(&value)) {
                return error(field, shown(value), expected);
            }
        }
        let limits = 0.0..=LARGEST_REWARD;
        for (field, value) in [
            (".learning_rate", self.learning_rate),
            (".largest", self.largest),
        ] {
            if !limits.contains(&value) || value == 0.0 {
                return error(field, value.to_string(), "a number above 0, at most 1e9");
            }
        }
        if !(0.0..=self.largest).contains(&self.multiplier) {
            let expected = format!("0 to `largest`, which is {}", self.largest);
            return error(".multiplier", self.multiplier.to_string(), &expected);
        }
        Ok(())
    }
}

/// A condition on a reward: at each rank it counts only where another reward is large enough, else
/// it is 0 (the conditioned rewards of GDPO, arXiv 2601.05242).
///
/// Condition an easy reward on a hard one, such as novelty on relevance. A policy cannot earn the
/// easy one alone then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardCondition {
    /// The name of the other reward function. It needs no weight.
    pub given: String,
    /// The smallest number of the other reward at which this one counts.
    pub threshold: f64,
}

/// The reward functions that settings name, each with its field.
pub(crate) fn named<'c>(
    weights: &'c BTreeMap<String, f64>,
    targets: &'c BTreeMap<String, RewardTarget>,
    conditions: &'c BTreeMap<String, RewardCondition>,
) -> Vec<(String, &'c str)> {
    let of = |table: &str, name: &'c String| (format!("{table}.{name}"), name.as_str());
    let given = conditions.iter().map(|(name, condition)| {
        let field = format!("reward_conditions.{name}.given");
        (field, condition.given.as_str())
    });
    let weights = weights.keys().map(|name| of("reward_weights", name));
    let targets = targets.keys().map(|name| of("reward_targets", name));
    weights.chain(targets).chain(given).collect()
}

/// Checks the tables `[reward_targets]` and `[reward_conditions]` against the names with a weight.
pub(crate) fn check_tables(
    weights: &BTreeMap<String, f64>,
    targets: &BTreeMap<String, RewardTarget>,
    conditions: &BTreeMap<String, RewardCondition>,
) -> Result<(), ConfigError> {
    for (name, target) in targets {
        target.check(name)?;
    }
    for (name, condition) in conditions {
        let error = |field: &str, found: &str, expected: &str| {
            let field = format!("reward_conditions.{name}{field}");
            Err(ConfigError::new(field, found, expected))
        };
        if !weights.contains_key(name) && !targets.contains_key(name) {
            let expected = "a name with a weight or a target: this reward does not count at all";
            return error("", "", expected);
        }
        if condition.given == *name {
            return error(".given", name, "another reward function");
        }
        if !condition.threshold.is_finite() {
            let found = condition.threshold.to_string();
            return error(".threshold", &found, "a finite number");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_targets_and_conditions_are_named() {
        let weights = BTreeMap::from([("relevance".to_string(), 1.0)]);
        let check = |name: &str, target: RewardTarget| {
            let targets = BTreeMap::from([(name.to_string(), target)]);
            check_tables(&weights, &targets, &BTreeMap::new())
        };
        let target = |target| check("blocked", target);
        let good = RewardTarget::at_most(0.01);
        assert!(target(good).is_ok() && target(RewardTarget::at_least(1.0)).is_ok());
        // Blocked items earn -1 there.
        assert!(check("blocklist", RewardTarget::at_least(-0.01)).is_ok());
        assert!(check("blocklist", good).is_err());
        assert!(check("genre:crime", RewardTarget::at_least(1.5)).is_err());
        assert!(check("novelty", RewardTarget::at_least(1.5)).is_ok());
        for (field, wrong) in [
            (
                "",
                RewardTarget {
                    at_most: None,
                    ..good
                },
            ),
            (
                "",
                RewardTarget {
                    at_least: Some(0.0),
                    ..good
                },
            ),
            (".at_most", RewardTarget::at_most(f64::NAN)),
            (".at_most", RewardTarget::at_most(-0.01)),
            (".at_least", RewardTarget::at_least(1.5)),
            (".at_least", RewardTarget::at_least(-1e10)),
            (
                ".learning_rate",
                RewardTarget {
                    learning_rate: 0.0,
                    ..good
                },
            ),
            (
                ".largest",
                RewardTarget {
                    largest: f64::INFINITY,
                    ..good
                },
            ),
            (
                ".multiplier",
                RewardTarget {
                    multiplier: 10.5,
                    ..good
                },
            ),
        ] {
            let error = target(wrong).unwrap_err();
            assert_eq!(error.field, format!("reward_targets.blocked{field}"));
        }
        let condition = |name: &str, given: &str, threshold: f64| {
            let condition = RewardCondition {
                given: given.into(),
                threshold,
            };
            let conditions = BTreeMap::from([(name.to_string(), condition)]);
            let checked = check_tables(&weights, &BTreeMap::new(), &conditions);
            checked.map_err(|error| error.field)
        };
        let field = |field: &str| Err(format!("reward_conditions.{field}"));
        assert_eq!(condition("relevance", "novelty", 0.5), Ok(()));
        assert_eq!(condition("novelty", "relevance", 0.5), field("novelty"));
        assert_eq!(
            condition("relevance", "relevance", 0.5),
            field("relevance.given")
        );
        assert_eq!(
            condition("relevance", "novelty", f64::NAN),
            field("relevance.threshold")
        );
    }
}
