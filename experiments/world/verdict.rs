//! Turns a difference into a verdict on a claim.

use std::fmt;

use serde::Serialize;

use crate::evidence::Evidence;

/// The loss of NDCG@10 that "no worse" allows for.
pub const MARGIN: f64 = 0.01;

/// The claim about a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// It is above 0.
    Above,
    /// It is not below 0 by more than [`MARGIN`].
    NotBelow,
    /// It may have either sign: the question is which variant is ahead.
    Open,
}

/// The verdict on a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both intervals say so.
    Reproduced,
    /// Both intervals say the contrary.
    NotReproduced,
    /// The intervals allow for either.
    Unclear,
    /// A variant is missing.
    NotRun,
    /// The question is open, and the first variant is ahead.
    FirstAhead,
    /// The question is open, and the second variant is ahead.
    SecondAhead,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reproduced => "reproduced",
            Self::NotReproduced => "not reproduced",
            Self::Unclear => "unclear",
            Self::NotRun => "not run",
            Self::FirstAhead => "the first is ahead",
            Self::SecondAhead => "the second is ahead",
        })
    }
}

/// The verdict of a difference on a claim. The wider of its intervals must allow for one answer
/// alone.
pub fn verdict(expected: Expected, evidence: Option<&Evidence>) -> Verdict {
    let Some(evidence) = evidence else {
        return Verdict::NotRun;
    };
    let Some([low, high]) = evidence.bounds() else {
        return Verdict::Unclear;
    };
    let floor = if expected == Expected::NotBelow {
        -MARGIN
    } else {
        0.0
    };
    match expected {
        Expected::Open if low > 0.0 => Verdict::FirstAhead,
        Expected::Open if high < 0.0 => Verdict::SecondAhead,
        Expected::Above | Expected::NotBelow if high < 0.0 => Verdict::NotReproduced,
        Expected::Above | Expected::NotBelow if low > floor => Verdict::Reproduced,
        _ => Verdict::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use convrec_metrics::stats::Interval;

    use super::*;

    #[test]
    fn the_wider_interval_decides() {
        let evidence = |dialogs: [f64; 2], seeds: Option<[f64; 2]>| {
            let interval = |[low, high]: [f64; 2]| Interval {
                mean: (low + high) / 2.0,
                low,
                high,
            };
            let over_seeds = seeds.map(interval);
            Evidence {
                mean: 0.0,
                dialogs: Some(interval(dialogs)),
                seeds: vec![],
                over_seeds,
                p_value: None,
            }
        };
        let of = |expected, dialogs, seeds| verdict(expected, Some(&evidence(dialogs, seeds)));
        use Expected::{Above, NotBelow, Open};
        assert_eq!(of(Above, [0.01, 0.02], None), Verdict::Reproduced);
        assert_eq!(
            of(Above, [0.01, 0.02], Some([-0.01, 0.03])),
            Verdict::Unclear
        );
        assert_eq!(
            of(Above, [-0.02, -0.01], Some([-0.03, -0.001])),
            Verdict::NotReproduced
        );
        assert_eq!(
            of(NotBelow, [-0.005, 0.02], Some([-0.009, 0.03])),
            Verdict::Reproduced
        );
        assert_eq!(
            of(NotBelow, [-0.005, 0.02], Some([-0.011, 0.03])),
            Verdict::Unclear
        );
        assert_eq!(of(NotBelow, [-0.005, -0.002], None), Verdict::NotReproduced);
        assert_eq!(of(Open, [-0.02, -0.01], None), Verdict::SecondAhead);
        assert_eq!(
            verdict(Above, Some(&Evidence::of_seeds(vec![0.1]))),
            Verdict::Unclear
        );
        assert_eq!(verdict(Above, None), Verdict::NotRun);
    }
}
