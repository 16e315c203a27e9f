//! Rewards with conditions, and targets that rewards must keep.

use serde::{Deserialize, Serialize};

use crate::AdvantageError;
use crate::check::{ConfigError, not_negative, positive, require};

/// Rewards that count only where another reward is met (the conditioned rewards of GDPO, arXiv
/// 2601.05242): `r` where `given >= threshold`, else 0.
///
/// Both tables are `[B][N]`. Condition an easy reward on a hard one, such as novelty on relevance:
/// a policy then cannot earn the easy one alone.
///
/// # Errors
/// [`AdvantageError::Count`] or [`AdvantageError::Width`] if the tables differ in shape,
/// [`AdvantageError::NotFinite`] if a number of `given` is NaN: it is neither met nor missed.
///
/// ```
/// use rank_grpo::condition_rewards;
///
/// let (novelty, relevance) = ([vec![0.3, 0.9, 0.2]], [vec![1.0, 0.0, 1.0]]);
/// let conditioned = condition_rewards(&novelty, &relevance, 0.5)?;
/// assert_eq!(conditioned, [[0.3, 0.0, 0.2]]);
/// # Ok::<(), rank_grpo::AdvantageError>(())
/// ```
pub fn condition_rewards(
    rewards: &[Vec<f64>],
    given: &[Vec<f64>],
    threshold: f64,
) -> Result<Vec<Vec<f64>>, AdvantageError> {
    if rewards.len() != given.len() {
        return Err(AdvantageError::Count {
            what: "rows of the reward that is the condition",
            found: given.len(),
            expected: rewards.len(),
        });
    }
    let row = |(row, (rewards, given)): (usize, (&Vec<f64>, &Vec<f64>))| {
        if rewards.len() != given.len() {
            return Err(AdvantageError::Width {
                row,
                found: given.len(),
                expected: rewards.len(),
            });
        }
        if let Some(rank) = given.iter().position(|x| x.is_nan()) {
            let value = given[rank];
            return Err(AdvantageError::NotFinite { row, rank, value });
        }
        let cells = rewards.iter().zip(given);
        Ok(cells
            .map(|(reward, given)| if *given >= threshold { *reward } else { 0.0 })
            .collect())
    };
    rewards.iter().zip(given).enumerate().map(row).collect()
}

/// The side of its target on which a measure must stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The measure must not exceed the target.
    AtMost,
    /// The measure must not fall below the target.
    AtLeast,
}

/// A target for the mean of one reward, kept by a Lagrange multiplier.
///
/// The policy maximises the other rewards plus [`weight`](Self::weight) times this one. After each
/// step, [`update`](Self::update) moves the multiplier by dual ascent:
/// `lambda <- clip(lambda + learning_rate * violation, 0, largest)`. The multiplier grows while the
/// target is missed and shrinks while there is slack. It is the whole state: log it, and keep the
/// struct in the checkpoint.
///
/// Let the policy learn faster than the multiplier: they swing otherwise. `examples/targets.rs`
/// shows what several targets cost.
///
/// ```
/// use rank_grpo::{Bound, Constraint};
///
/// // At most 1% of the items may be on the block list.
/// let mut blocked = Constraint::new(Bound::AtMost, 0.01, 10.0)?;
/// blocked.update(0.05);
/// assert!((blocked.weight() + 0.4).abs() < 1e-12); // each blocked item now costs 0.4
/// blocked.update(0.0);
/// assert!((blocked.multiplier - 0.3).abs() < 1e-12);
/// # Ok::<(), rank_grpo::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    /// The side on which the measure must stay.
    pub bound: Bound,
    /// The target, in units of the measure.
    pub target: f64,
    /// The step of the multiplier for each unit of violation.
    pub learning_rate: f64,
    /// The largest multiplier. It bounds the loss where a target cannot be kept.
    #[serde(default = "no_limit")]
    pub largest: f64,
    /// The multiplier lambda, 0 or more.
    #[serde(default)]
    pub multiplier: f64,
}

fn no_limit() -> f64 {
    1e6
}

impl Constraint {
    /// A constraint with a multiplier of 0 and no limit but 1e6.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn new(bound: Bound, target: f64, learning_rate: f64) -> Result<Self, ConfigError> {
        let constraint = Constraint {
            bound,
            target,
            learning_rate,
            largest: no_limit(),
            multiplier: 0.0,
        };
        constraint.check().map(|()| constraint)
    }

    /// Checks the numbers, as after reading them from a file.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        require(
            self.target.is_finite(),
            "constraint.target",
            self.target,
            "a finite number",
        )?;
        positive("constraint.learning_rate", self.learning_rate)?;
        positive("constraint.largest", self.largest)?;
        not_negative("constraint.multiplier", self.multiplier)
    }

    /// The amount by which a measure misses the target; negative where there is slack.
    #[must_use]
    pub fn violation(&self, measured: f64) -> f64 {
        match self.bound {
            Bound::AtMost => measured - self.target,
            Bound::AtLeast => self.target - measured,
        }
    }

    /// The weight of the measured reward among the rewards: minus the multiplier for
    /// [`Bound::AtMost`], plus the multiplier for [`Bound::AtLeast`].
    #[must_use]
    pub fn weight(&self) -> f64 {
        match self.bound {
            Bound::AtMost => -self.multiplier,
            Bound::AtLeast => self.multiplier,
        }
    }

    /// Moves the multiplier after a step whose mean was `measured`. A measure that is not finite
    /// moves nothing.
    pub fn update(&mut self, measured: f64) {
        if measured.is_finite() {
            let moved = self.multiplier + self.learning_rate * self.violation(measured);
            self.multiplier = moved.clamp(0.0, self.largest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_that_do_not_fit_are_refused() {
        let rewards = [vec![1.0, 2.0]];
        assert!(condition_rewards(&rewards, &[], 0.0).is_err());
        assert!(condition_rewards(&rewards, &[vec![1.0]], 0.0).is_err());
        assert!(condition_rewards(&rewards, &[vec![1.0, f64::NAN]], 0.0).is_err());
        assert_eq!(
            condition_rewards(&rewards, &[vec![1.0, 0.9]], 1.0).unwrap(),
            [[1.0, 0.0]]
        );
    }

    /// Maximise x - x^2 / 2 under x <= 0.25 (and -x under x >= 0.25) by gradient steps on the sum.
    #[test]
    fn a_multiplier_finds_the_constrained_optimum() {
        for (bound, slope, expected) in [(Bound::AtMost, 1.0, 0.75), (Bound::AtLeast, -1.0, 1.25)] {
            let mut constraint = Constraint::new(bound, 0.25, 0.05).unwrap();
            let mut x = 0.0_f64;
            for _ in 0..5000 {
                x += 0.05 * (slope - x + constraint.weight());
                constraint.update(x);
            }
            assert!((x - 0.25).abs() < 1e-6, "{bound:?}: {x}");
            assert!(
                (constraint.multiplier - expected).abs() < 1e-5,
                "{constraint:?}"
            );
        }
    }

    #[test]
    fn a_multiplier_stays_in_its_range_and_survives_a_checkpoint() {
        let mut constraint = Constraint::new(Bound::AtLeast, 1.0, 1.0).unwrap();
        constraint.largest = 2.0;
        constraint.update(f64::NAN);
        assert_eq!(constraint.multiplier, 0.0);
        constraint.update(-9.0);
        assert_eq!(constraint.weight(), 2.0);
        let text = serde_json::to_string(&constraint).unwrap();
        assert_eq!(
            serde_json::from_str::<Constraint>(&text).unwrap(),
            constraint
        );
        constraint.update(9.0);
        assert_eq!(constraint.weight(), 0.0);
        for wrong in [(f64::NAN, 1.0), (0.0, 0.0), (0.0, f64::INFINITY)] {
            assert!(Constraint::new(Bound::AtMost, wrong.0, wrong.1).is_err());
        }
    }
}
