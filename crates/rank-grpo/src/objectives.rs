//! Several reward functions, one advantage.

use serde::{Deserialize, Serialize};

use crate::advantage::{STD_EPSILON, check_shape, known, std, within_groups};
use crate::{AdvantageError, GroupAdvantages, ScaleRewards};

/// The rewards of one function `[B][N]`, with its weight. NaN means "no opinion".
pub type WeightedRewards = (f64, Vec<Vec<f64>>);

/// The way in which several reward functions become one advantage (TRL's
/// `multi_objective_aggregation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MultiObjectiveAggregation {
    /// [`sum_then_normalize`]: GRPO.
    #[default]
    SumThenNormalize,
    /// [`normalize_then_sum`]: GDPO.
    NormalizeThenSum,
}

impl MultiObjectiveAggregation {
    /// The advantages `[B][N]` of several tables of rewards. `scale` counts only where rewards are
    /// summed first.
    ///
    /// # Errors
    /// As [`sum_then_normalize`].
    pub fn advantages(
        self,
        tables: &[WeightedRewards],
        group_size: usize,
        scale: ScaleRewards,
    ) -> Result<GroupAdvantages, AdvantageError> {
        match self {
            Self::SumThenNormalize => sum_then_normalize(tables, group_size, scale),
            Self::NormalizeThenSum => normalize_then_sum(tables, group_size),
        }
    }
}

/// The weighted sum of several reward functions' tables, each `[B][N]`. NaN counts 0 (quirk A4).
///
/// # Errors
/// [`AdvantageError::Count`] or [`AdvantageError::Width`] if the tables differ in shape.
pub fn sum_rewards(tables: &[WeightedRewards]) -> Result<Vec<Vec<f64>>, AdvantageError> {
    let mut sum = sum_known(tables)?;
    let missing = sum.iter_mut().flatten().filter(|total| total.is_nan());
    missing.for_each(|total| *total = 0.0);
    Ok(sum)
}

/// Advantages of the weighted sum of several reward functions: the sum is compared within groups.
///
/// Each table is `[B][N]`; the `group_size` samples of one prompt are adjacent. NaN means "no
/// opinion" and counts 0 in the sum. A cell on which no function has an opinion is no part of its
/// group and gets advantage 0, as in TRL 1.16.0.
///
/// # Errors
/// [`AdvantageError::Count`] or [`AdvantageError::Width`] if the tables differ in shape,
/// [`AdvantageError::Groups`] if they do not divide into groups, [`AdvantageError::NotFinite`] if a
/// sum is infinite.
pub fn sum_then_normalize(
    tables: &[WeightedRewards],
    group_size: usize,
    scale: ScaleRewards,
) -> Result<GroupAdvantages, AdvantageError> {
    let sum = sum_known(tables)?;
    check_shape(&sum, group_size)?;
    no_infinity(&sum)?;
    Ok(within_groups(&sum, group_size, scale))
}

/// Advantages of several reward functions, each of which is compared within its groups by itself
/// (GDPO: Liu et al., *GDPO: Group reward-Decoupled Normalization Policy Optimization*, arXiv
/// 2601.05242).
///
/// `A = S / (std S + eps)` for each rank, over the batch, with `S = sum_f w_f A_f` and `A_f` the
/// advantages of function f as [`group_advantages`](crate::group_advantages) has them.
///
/// Rewards of a larger spread drown the others where they are added up before they are compared.
/// Here each counts as its weight says. [`GroupAdvantages::frac_reward_zero_std`] counts the
/// (group, rank) pairs that no reward tells apart. NaN means "no opinion", as in
/// [`sum_then_normalize`].
///
/// # Errors
/// As [`sum_then_normalize`].
///
/// ```
/// use rank_grpo::normalize_then_sum;
///
/// // One prompt, two lists of one rank. Relevance likes the first. A novelty of a tenth of its size
/// // likes the second and is to count twice as much. The sum would prefer the first by 1 to 0.2.
/// let (relevance, novelty) = (vec![vec![1.0], vec![0.0]], vec![vec![0.0], vec![0.1]]);
/// let advantages = normalize_then_sum(&[(1.0, relevance), (2.0, novelty)], 2)?;
/// assert!(advantages.values[1][0] > 0.5 && advantages.values[0][0] < -0.5);
/// # Ok::<(), rank_grpo::AdvantageError>(())
/// ```
pub fn normalize_then_sum(
    tables: &[WeightedRewards],
    group_size: usize,
) -> Result<GroupAdvantages, AdvantageError> {
    let mut each = Vec::with_capacity(tables.len());
    for (weight, table) in tables {
        check_shape(table, group_size)?;
        no_infinity(table)?;
        let values = within_groups(table, group_size, ScaleRewards::Group).values;
        each.push((*weight, values));
    }
    let scored = sum_known(tables)?; // NaN where no function has an opinion
    let mut values = sum_rewards(&each)?;
    let n_ranks = check_shape(&values, group_size)?;
    let mut silent = 0;
    for rank in 0..n_ranks {
        let column: Vec<f64> = values.iter().map(|row| row[rank]).collect();
        silent += column
            .chunks(group_size)
            .filter(|group| group.iter().all(|value| *value == 0.0))
            .count();
        let mut of_batch = column;
        let unscored = of_batch.iter_mut().zip(&scored);
        unscored
            .filter(|(_, row)| row[rank].is_nan())
            .for_each(|(value, _)| *value = f64::NAN);
        let divisor = std(&known(&of_batch)) + STD_EPSILON;
        if divisor.is_finite() {
            values.iter_mut().for_each(|row| row[rank] /= divisor);
        }
    }
    let pairs = n_ranks * values.len() / group_size;
    Ok(GroupAdvantages {
        values,
        frac_reward_zero_std: silent as f64 / pairs.max(1) as f64,
    })
}

/// The weighted sum, with NaN where no function has an opinion.
fn sum_known(tables: &[WeightedRewards]) -> Result<Vec<Vec<f64>>, AdvantageError> {
    let Some((_, first)) = tables.first() else {
        return Ok(Vec::new());
    };
    let mut sum: Vec<Vec<f64>> = first.iter().map(|row| vec![f64::NAN; row.len()]).collect();
    for (weight, table) in tables {
        if table.len() != sum.len() {
            return Err(AdvantageError::Count {
                what: "rows of rewards",
                found: table.len(),
                expected: sum.len(),
            });
        }
        for (row, (total, rewards)) in sum.iter_mut().zip(table).enumerate() {
            if rewards.len() != total.len() {
                return Err(AdvantageError::Width {
                    row,
                    found: rewards.len(),
                    expected: total.len(),
                });
            }
            let cells = total.iter_mut().zip(rewards);
            for (total, reward) in cells.filter(|(_, reward)| !reward.is_nan()) {
                let before = if total.is_nan() { 0.0 } else { *total };
                *total = before + weight * reward;
            }
        }
    }
    Ok(sum)
}

fn no_infinity(rewards: &[Vec<f64>]) -> Result<(), AdvantageError> {
    for (row, ranks) in rewards.iter().enumerate() {
        if let Some(rank) = ranks.iter().position(|reward| reward.is_infinite()) {
            return Err(AdvantageError::NotFinite {
                row,
                rank,
                value: ranks[rank],
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the definition, one number at a time.
        #[test]
        fn normalize_then_sum_is_what_the_paper_defines(
            cells in prop::collection::vec((0_u8..3, -2.0_f64..2.0), 2 * 3 * 4),
            weights in (0.1_f64..2.0, -2.0_f64..-0.1),
        ) {
            let (group, n_ranks) = (3, 4);
            let table = |of: &dyn Fn(&(u8, f64)) -> f64| -> Vec<Vec<f64>> {
                cells.chunks(n_ranks).map(|row| row.iter().map(of).collect()).collect()
            };
            let tables = [
                (weights.0, table(&|cell| f64::from(cell.0))),
                (weights.1, table(&|cell| cell.1)),
            ];
            let found = normalize_then_sum(&tables, group).unwrap();
            let spread = |values: &[f64]| {
                let centre = values.iter().sum::<f64>() / values.len() as f64;
                (values.iter().map(|x| (x - centre).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
            };
            let louder = table(&|cell| 1000.0 * f64::from(cell.0));
            let louder = [(weights.0, louder), tables[1].clone()];
            let of_louder = normalize_then_sum(&louder, group).unwrap();
            for rank in 0..n_ranks {
                let mut spreads = vec![];
                for (tables, found) in [(&tables, &found), (&louder, &of_louder)] {
                    let mut sums = vec![0.0; cells.len() / n_ranks];
                    for (weight, table) in tables {
                        for (row, sum) in sums.iter_mut().enumerate() {
                            let first = row / group * group;
                            let values: Vec<f64> =
                                (first..first + group).map(|row| table[row][rank]).collect();
                            let centre = values.iter().sum::<f64>() / group as f64;
                            *sum += weight * (table[row][rank] - centre) / (spread(&values) + 1e-4);
                        }
                    }
                    let whole = spread(&sums) + 1e-4;
                    for (row, sum) in sums.iter().enumerate() {
                        prop_assert!((found.values[row][rank] - sum / whole).abs() < 1e-9);
                    }
                    spreads.push(whole);
                }
                // Multiplying one reward by a number changes next to nothing: it is compared with
                // itself only. Sums that nearly cancel show what little it does.
                if spreads.iter().all(|spread| *spread > 0.3) {
                    for (a, b) in of_louder.values.iter().zip(&found.values) {
                        prop_assert!((a[rank] - b[rank]).abs() < 2e-3);
                    }
                }
            }
        }
    }
}
