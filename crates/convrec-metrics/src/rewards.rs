//! Turns relevance into rewards: one number per rank for Rank-GRPO, one per list for GRPO and
//! others.
//!
//! All rewards per rank are *causal*: rank k is credited only for what it can still influence,
//! itself and the ranks after it (paper, section "Reward shaping"). Ranks are indexed from 0 here,
//! so rank j has the discount 1/log2(j + 2).

use serde::{Deserialize, Serialize};

/// r_k = rel_k: each rank is credited for itself alone. It is the limit of [`exp_gamma`] for Γ → ∞.
///
/// It is the paper's best and simplest reward.
pub fn exp_inf(relevant: &[bool]) -> Vec<f64> {
    gains(relevant)
}

/// r_k = Σ_{j ≥ k} rel_j / log2(j + 2): the part of the DCG that the ranks from k on earn.
///
/// The first reward is the [`dcg`] of the list. The sum is not rescaled by the discount of rank k.
pub fn log_decay(relevant: &[bool]) -> Vec<f64> {
    RankReward::LogDecay.credit(&gains(relevant))
}

/// r_k = rel_k + r_{k+1} / Γ, with no reward after the last rank; sensible for Γ > 1
/// ([`RankReward::check`]).
pub fn exp_gamma(relevant: &[bool], gamma: f64) -> Vec<f64> {
    RankReward::ExpGamma { gamma }.credit(&gains(relevant))
}

/// DCG@`n` of a list: Σ_{j < n} rel_j / log2(j + 2). The scalar reward of a sequence-level
/// baseline.
pub fn dcg(relevant: &[bool], n: usize) -> f64 {
    discounted(gains(&relevant[..n.min(relevant.len())]).as_slice())
}

/// Σ_j g_j / log2(j + 2): [`dcg`] for any gains by rank.
pub fn discounted(gains: &[f64]) -> f64 {
    gains
        .iter()
        .enumerate()
        .map(|(rank, gain)| gain * discount(rank))
        .sum()
}

/// NDCG@`n` of a list: [`dcg`] divided by that of the best list, which has all `n_relevant`
/// relevant items in front (`n` of them, where there are more). 0 without relevant items.
pub fn ndcg(relevant: &[bool], n_relevant: usize, n: usize) -> f64 {
    match ideal_dcg(n_relevant.min(n)) {
        0.0 => 0.0,
        ideal => dcg(relevant, n) / ideal,
    }
}

/// The DCG of a list with `n_relevant` relevant items in front and no others.
pub fn ideal_dcg(n_relevant: usize) -> f64 {
    (0..n_relevant).map(discount).sum()
}

/// A reward per rank, by name. In a configuration file: `"exp_inf"`, `"log_decay"` or `{ exp_gamma
/// = { gamma = 2.0 } }`.
///
/// ```
/// use convrec_metrics::rewards::RankReward;
///
/// let relevant = [false, true, false, true];
/// assert_eq!(RankReward::ExpInf.rewards(&relevant), [0.0, 1.0, 0.0, 1.0]);
/// assert_eq!(
///     RankReward::ExpGamma { gamma: 2.0 }.rewards(&relevant),
///     [0.625, 1.25, 0.5, 1.0]
/// );
/// assert!(RankReward::ExpGamma { gamma: 1.0 }.check().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum RankReward {
    /// [`exp_inf`].
    ExpInf,
    /// [`log_decay`].
    LogDecay,
    /// [`exp_gamma`].
    ExpGamma {
        /// Γ, above 1: the factor by which a hit counts less at the rank before it.
        gamma: f64,
    },
}

/// A reward's setting is wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "exp_gamma: gamma = {gamma}; expected a number above 1 (the paper's best is its limit, exp_inf)"
)]
pub struct RewardError {
    gamma: f64,
}

impl RankReward {
    /// Checks the setting.
    ///
    /// # Errors
    /// [`RewardError`] when Γ is not above 1. A hit would then count as much, or more, at the ranks
    /// before it.
    pub fn check(self) -> Result<(), RewardError> {
        match self {
            // NaN is not above 1 either.
            Self::ExpGamma { gamma } if gamma.is_nan() || gamma <= 1.0 => {
                Err(RewardError { gamma })
            }
            _ => Ok(()),
        }
    }

    /// The rewards of a list, one for each rank of `relevant`.
    pub fn rewards(self, relevant: &[bool]) -> Vec<f64> {
        self.credit(&gains(relevant))
    }

    /// As [`rewards`](Self::rewards), for any gains by rank in place of relevance, such as novelty
    /// or a penalty.
    pub fn credit(self, gains: &[f64]) -> Vec<f64> {
        match self {
            Self::ExpInf => gains.to_vec(),
            Self::LogDecay => {
                from_the_end(gains, |rank, gain, later| gain * discount(rank) + later)
            }
            Self::ExpGamma { gamma } => from_the_end(gains, |_, gain, later| gain + later / gamma),
        }
    }
}

/// 1 where a rank is relevant, else 0.
pub fn gains(relevant: &[bool]) -> Vec<f64> {
    relevant
        .iter()
        .map(|&relevant| f64::from(u8::from(relevant)))
        .collect()
}

/// The discount of a rank, from 0: 1 / log2(rank + 2).
#[must_use]
pub fn discount(rank: usize) -> f64 {
    1.0 / ((rank + 2) as f64).log2()
}

/// Rewards by recursion from the last rank: `reward(rank, gain, reward of the next rank)`.
fn from_the_end(gains: &[f64], reward: impl Fn(usize, f64, f64) -> f64) -> Vec<f64> {
    let mut rewards = vec![0.0; gains.len()];
    let mut later = 0.0;
    for rank in (0..gains.len()).rev() {
        later = reward(rank, gains[rank], later);
        rewards[rank] = later;
    }
    rewards
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn identities(relevant in prop::collection::vec(any::<bool>(), 0..30), gamma in 1.01_f64..5.0) {
            let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
            let n = relevant.len();
            let hits = relevant.iter().filter(|&&r| r).count();
            prop_assert!(close(log_decay(&relevant).first().copied().unwrap_or(0.0), dcg(&relevant, n)));
            prop_assert_eq!(exp_gamma(&relevant, f64::INFINITY), exp_inf(&relevant));
            prop_assert_eq!(exp_inf(&relevant).iter().sum::<f64>(), hits as f64);
            // The recursion, written out as a sum.
            for k in 0..n {
                let direct: f64 = (k..n).filter(|&j| relevant[j]).map(|j| gamma.powi(-((j - k) as i32))).sum();
                prop_assert!(close(exp_gamma(&relevant, gamma)[k], direct));
            }
            let mut best = relevant.clone();
            best.sort_by(|a, b| b.cmp(a));
            prop_assert!(ndcg(&relevant, hits, n) <= ndcg(&best, hits, n) + 1e-12);
            prop_assert!(close(ndcg(&best, hits, n), f64::from(hits.min(1) as u32)));
            prop_assert!(close(dcg(&relevant, n + 3), dcg(&relevant, n)));
        }
    }

    #[test]
    fn the_ideal_list_is_cut_at_n_but_not_at_the_list() {
        let third = 1.0 / 3.0_f64.log2();
        assert!((ndcg(&[true], 2, 5) - 1.0 / (1.0 + third)).abs() < 1e-15);
        assert_eq!(ndcg(&[true, false, false], 3, 1), 1.0);
        assert_eq!(ndcg(&[true, true], 0, 2), 0.0);
    }

    #[test]
    fn settings_are_checked_and_named_as_in_files() {
        let read = |text| serde_json::from_str::<RankReward>(text);
        assert_eq!(read("\"exp_inf\"").unwrap(), RankReward::ExpInf);
        assert_eq!(read("\"log_decay\"").unwrap(), RankReward::LogDecay);
        assert_eq!(
            read("{\"exp_gamma\":{\"gamma\":2}}").unwrap(),
            RankReward::ExpGamma { gamma: 2.0 }
        );
        assert!(read("{\"exp_gamma\":{\"gamma\":2,\"delta\":1}}").is_err());
        for gamma in [1.0, 0.5, -3.0, f64::NAN] {
            let message = RankReward::ExpGamma { gamma }
                .check()
                .unwrap_err()
                .to_string();
            assert!(message.contains("expected a number above 1"), "{message}");
        }
        assert_eq!(RankReward::ExpGamma { gamma: 1.5 }.check(), Ok(()));
        assert_eq!(RankReward::LogDecay.check(), Ok(()));
    }
}
