//! From rewards to advantages, on the host in f64.

use thiserror::Error;

/// The number that is added to a standard deviation before dividing by it, as in TRL and the
/// authors' code.
pub const STD_EPSILON: f64 = 1e-4;

/// The divisor of an advantage, after its group's mean is taken off (TRL's `scale_rewards`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScaleRewards {
    /// The group's standard deviation (G - 1 in the denominator) plus [`STD_EPSILON`]: GRPO,
    /// Rank-GRPO.
    #[default]
    Group,
    /// No divisor: Dr.GRPO.
    None,
    /// The whole batch's standard deviation, for each rank, plus [`STD_EPSILON`].
    Batch,
}

/// Advantages per completion and rank.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupAdvantages {
    /// The advantages `[B][N]`, as the rewards.
    pub values: Vec<Vec<f64>>,
    /// The share of (group, rank) pairs whose rewards are all equal (TRL's metric of this name, per
    /// rank). They teach nothing. Log it, and skip or resample such prompts where it is high.
    pub frac_reward_zero_std: f64,
}

/// Rewards or advantages that do not fit together.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum AdvantageError {
    /// The completions do not divide into groups.
    #[error(
        "{rows} completions do not divide into groups of {group_size}; give all samples of every \
         prompt"
    )]
    Groups {
        /// B.
        rows: usize,
        /// G.
        group_size: usize,
    },
    /// A row is not N wide.
    #[error(
        "row {row} has {found} ranks, expected {expected}: one number per rank, or one per \
         completion everywhere"
    )]
    Width {
        /// The completion, from 0.
        row: usize,
        /// Its width.
        found: usize,
        /// N.
        expected: usize,
    },
    /// A reward is NaN or infinite.
    #[error(
        "the reward of row {row} at rank index {rank} is {value}; for \"no opinion\" use \
         `sum_then_normalize` or `normalize_then_sum`"
    )]
    NotFinite {
        /// The completion, from 0.
        row: usize,
        /// The rank, from 0.
        rank: usize,
        /// The reward.
        value: f64,
    },
    /// A table has another number of rows.
    #[error("{what}: {found}, expected {expected}")]
    Count {
        /// The thing that was counted.
        what: &'static str,
        /// The number that was found.
        found: usize,
        /// The number that is expected.
        expected: usize,
    },
}

/// Advantages within groups: `A[i][k] = (r[i][k] - mean_i r[i][k]) / std_i r[i][k]`, each rank k by
/// itself.
///
/// `rewards` is `[B][N]`; the `group_size` samples of one prompt are adjacent. One reward per
/// completion (GRPO, GSPO) is the case N = 1.
///
/// Where the rewards of a group are all equal, the advantages are exactly 0, independent of the
/// rounding of the mean (quirk A3). A group of one has nothing to be compared with, so its
/// advantages are 0 too (quirk A1: NaN in the authors' code).
///
/// # Errors
/// [`AdvantageError::Groups`] if the rows do not divide into groups, [`AdvantageError::Width`] if
/// they differ in width (quirk A2), [`AdvantageError::NotFinite`] if a number is not finite.
///
/// ```
/// use rank_grpo::{ScaleRewards, group_advantages};
///
/// // Two prompts, two samples each, three ranks.
/// let rewards = [
///     vec![1.0, 0.0, 0.0],
///     vec![0.0, 0.0, 1.0],
///     vec![0.0, 0.0, 0.0],
///     vec![0.0, 1.0, 0.0],
/// ];
/// let advantages = group_advantages(&rewards, 2, ScaleRewards::None)?;
/// assert_eq!(advantages.values[0], [0.5, 0.0, -0.5]);
/// assert_eq!(advantages.values[3], [0.0, 0.5, 0.0]);
/// assert_eq!(advantages.frac_reward_zero_std, 0.5);
/// # Ok::<(), rank_grpo::AdvantageError>(())
/// ```
pub fn group_advantages(
    rewards: &[Vec<f64>],
    group_size: usize,
    scale: ScaleRewards,
) -> Result<GroupAdvantages, AdvantageError> {
    check(rewards, group_size)?;
    Ok(within_groups(rewards, group_size, scale))
}

/// As [`group_advantages`] on checked rewards, where NaN is a reward that is not there: it is no
/// part of its group, and its advantage is 0.
pub(crate) fn within_groups(
    rewards: &[Vec<f64>],
    group_size: usize,
    scale: ScaleRewards,
) -> GroupAdvantages {
    let n_ranks = rewards.first().map_or(0, Vec::len);
    let mut values = vec![vec![0.0; n_ranks]; rewards.len()];
    let mut equal = 0;
    for rank in 0..n_ranks {
        let column: Vec<f64> = rewards.iter().map(|row| row[rank]).collect();
        let batch_std = std(&known(&column));
        for (all, rows) in column.chunks(group_size).zip(values.chunks_mut(group_size)) {
            let group = known(all);
            if group.iter().all(|reward| *reward == group[0]) {
                equal += 1;
                continue;
            }
            let divisor = match scale {
                ScaleRewards::Group => std(&group) + STD_EPSILON,
                ScaleRewards::None => 1.0,
                ScaleRewards::Batch => batch_std + STD_EPSILON,
            };
            let mean = mean(&group);
            let scored = all.iter().zip(rows).filter(|(reward, _)| !reward.is_nan());
            scored.for_each(|(reward, row)| row[rank] = (reward - mean) / divisor);
        }
    }
    let pairs = n_ranks * rewards.len() / group_size;
    GroupAdvantages {
        values,
        frac_reward_zero_std: equal as f64 / pairs.max(1) as f64,
    }
}

/// The numbers that are there.
pub(crate) fn known(values: &[f64]) -> Vec<f64> {
    values.iter().copied().filter(|x| !x.is_nan()).collect()
}

/// Returns N.
pub(crate) fn check(rewards: &[Vec<f64>], group_size: usize) -> Result<usize, AdvantageError> {
    let expected = check_shape(rewards, group_size)?;
    let finite = |ranks: &Vec<f64>| ranks.iter().position(|reward| !reward.is_finite());
    let found = rewards.iter().enumerate();
    let mut found = found.filter_map(|(row, ranks)| finite(ranks).map(|rank| (row, rank)));
    match found.next() {
        None => Ok(expected),
        Some((row, rank)) => Err(AdvantageError::NotFinite {
            row,
            rank,
            value: rewards[row][rank],
        }),
    }
}

/// Returns N.
pub(crate) fn check_shape(
    rewards: &[Vec<f64>],
    group_size: usize,
) -> Result<usize, AdvantageError> {
    check_groups(rewards.len(), group_size)?;
    let expected = rewards.first().map_or(0, Vec::len);
    match rewards.iter().position(|ranks| ranks.len() != expected) {
        None => Ok(expected),
        Some(row) => Err(AdvantageError::Width {
            row,
            found: rewards[row].len(),
            expected,
        }),
    }
}

pub(crate) fn check_groups(rows: usize, group_size: usize) -> Result<(), AdvantageError> {
    if group_size == 0 || !rows.is_multiple_of(group_size) {
        return Err(AdvantageError::Groups { rows, group_size });
    }
    Ok(())
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard deviation with n - 1; NaN for one value.
pub(crate) fn std(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)).sqrt()
}
