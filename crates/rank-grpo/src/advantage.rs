//! From rewards to advantages, on the host in f64.

use thiserror::Error;

/// What is added to a standard deviation before dividing by it, as in TRL and the authors' code.
pub const STD_EPSILON: f64 = 1e-4;

/// What an advantage is divided by, after its group's mean is taken off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// The group's standard deviation (G - 1 in the denominator) plus [`STD_EPSILON`]: GRPO,
    /// Rank-GRPO.
    #[default]
    Group,
    /// Nothing: Dr.GRPO.
    None,
    /// The whole batch's standard deviation, for each rank, plus [`STD_EPSILON`].
    Batch,
}

/// Advantages per completion and rank.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupAdvantages {
    /// `[B][N]`, as the rewards.
    pub values: Vec<Vec<f64>>,
    /// The share of (group, rank) pairs whose rewards are all equal. They teach nothing: log it,
    /// and skip or resample such prompts where it is high.
    pub zero_variance: f64,
}

/// Rewards or advantages that do not fit together.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum AdvantageError {
    /// The completions do not divide into groups.
    #[error(
        "{rows} completions do not divide into groups of {group_size}; give all samples of every prompt"
    )]
    Groups {
        /// B.
        rows: usize,
        /// G.
        group_size: usize,
    },
    /// A row is not N wide.
    #[error(
        "row {row} has {found} ranks, expected {expected}: one number per rank, or one per completion everywhere"
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
        "the reward of row {row} at rank index {rank} is {value}; for \"no opinion\" use `combine_rewards`"
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
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
}

/// Advantages within groups: `A[i][k] = (r[i][k] - mean_i r[i][k]) / std_i r[i][k]`, each rank k by
/// itself.
///
/// `rewards` is `[B][N]`; the `group_size` samples of one prompt are adjacent. One reward per
/// completion (GRPO, GSPO) is the case N = 1.
///
/// Where the rewards of a group are all equal, the advantages are exactly 0, whatever the rounding
/// of the mean (quirk A3); so they are in a group of one, which has nothing to be compared with
/// (quirk A1: NaN in the authors' code).
///
/// # Errors
/// If the rows do not divide into groups, differ in width (quirk A2), or hold a number that is not
/// finite.
///
/// ```
/// use rank_grpo::{Scale, group_advantages};
///
/// // Two prompts, two samples each, three ranks.
/// let rewards = [vec![1.0, 0.0, 0.0], vec![0.0, 0.0, 1.0], vec![0.0, 0.0, 0.0], vec![0.0, 1.0, 0.0]];
/// let advantages = group_advantages(&rewards, 2, Scale::None)?;
/// assert_eq!(advantages.values[0], [0.5, 0.0, -0.5]);
/// assert_eq!(advantages.values[3], [0.0, 0.5, 0.0]);
/// assert_eq!(advantages.zero_variance, 0.5);
/// # Ok::<(), rank_grpo::AdvantageError>(())
/// ```
pub fn group_advantages(
    rewards: &[Vec<f64>],
    group_size: usize,
    scale: Scale,
) -> Result<GroupAdvantages, AdvantageError> {
    let n_ranks = check(rewards, group_size)?;
    let mut values = vec![vec![0.0; n_ranks]; rewards.len()];
    let mut equal = 0;
    for rank in 0..n_ranks {
        let column: Vec<f64> = rewards.iter().map(|row| row[rank]).collect();
        let batch_std = std(&column);
        for (group, rows) in column.chunks(group_size).zip(values.chunks_mut(group_size)) {
            if group.iter().all(|reward| *reward == group[0]) {
                equal += 1;
                continue;
            }
            let divisor = match scale {
                Scale::Group => std(group) + STD_EPSILON,
                Scale::None => 1.0,
                Scale::Batch => batch_std + STD_EPSILON,
            };
            let mean = mean(group);
            group
                .iter()
                .zip(rows)
                .for_each(|(reward, row)| row[rank] = (reward - mean) / divisor);
        }
    }
    let pairs = n_ranks * rewards.len() / group_size;
    Ok(GroupAdvantages {
        values,
        zero_variance: equal as f64 / pairs.max(1) as f64,
    })
}

/// The weighted sum of several reward functions' tables, each `[B][N]`. NaN means "no opinion" and
/// counts 0 (quirk A4).
///
/// # Errors
/// If the tables differ in shape.
pub fn combine_rewards(tables: &[(f64, Vec<Vec<f64>>)]) -> Result<Vec<Vec<f64>>, AdvantageError> {
    let Some((_, first)) = tables.first() else {
        return Ok(Vec::new());
    };
    let mut sum: Vec<Vec<f64>> = first.iter().map(|row| vec![0.0; row.len()]).collect();
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
            let opinions = total
                .iter_mut()
                .zip(rewards)
                .filter(|(_, reward)| !reward.is_nan());
            opinions.for_each(|(total, reward)| *total += weight * reward);
        }
    }
    Ok(sum)
}

/// Advantages from several reward functions, each compared within its groups by itself (GDPO: Liu
/// et al., *GDPO: Group reward-Decoupled Normalization Policy Optimization*, arXiv 2601.05242): the
/// weighted sum of [`group_advantages`] of each table, `[B][N]`, then divided by its standard
/// deviation over the batch for each rank.
///
/// Added up before they are compared, rewards of a larger spread drown the others; so each counts
/// as its weight says. [`GroupAdvantages::zero_variance`] counts the (group, rank) pairs that no
/// reward tells apart.
///
/// # Errors
/// If the tables differ in shape, do not divide into groups, or hold a number that is not finite.
///
/// ```
/// use rank_grpo::decoupled_advantages;
///
/// // One prompt, two lists of one rank: relevance likes the first, a novelty of a tenth of its size the second, and it is to
/// // count twice as much. Added up before they are compared, relevance would win by 1 to 0.2.
/// let (relevance, novelty) = (vec![vec![1.0], vec![0.0]], vec![vec![0.0], vec![0.1]]);
/// let advantages = decoupled_advantages(&[(1.0, relevance), (2.0, novelty)], 2)?;
/// assert!(advantages.values[1][0] > 0.5 && advantages.values[0][0] < -0.5);
/// # Ok::<(), rank_grpo::AdvantageError>(())
/// ```
pub fn decoupled_advantages(
    tables: &[(f64, Vec<Vec<f64>>)],
    group_size: usize,
) -> Result<GroupAdvantages, AdvantageError> {
    let each = tables.iter().map(|(weight, table)| {
        Ok((
            *weight,
            group_advantages(table, group_size, Scale::Group)?.values,
        ))
    });
    let mut values = combine_rewards(&each.collect::<Result<Vec<_>, AdvantageError>>()?)?;
    let n_ranks = check(&values, group_size)?;
    let mut silent = 0;
    for rank in 0..n_ranks {
        let column: Vec<f64> = values.iter().map(|row| row[rank]).collect();
        silent += column
            .chunks(group_size)
            .filter(|group| group.iter().all(|value| *value == 0.0))
            .count();
        let divisor = std(&column) + STD_EPSILON;
        if divisor.is_finite() {
            values.iter_mut().for_each(|row| row[rank] /= divisor);
        }
    }
    let pairs = n_ranks * values.len() / group_size;
    Ok(GroupAdvantages {
        values,
        zero_variance: silent as f64 / pairs.max(1) as f64,
    })
}

/// Returns N.
pub(crate) fn check(rewards: &[Vec<f64>], group_size: usize) -> Result<usize, AdvantageError> {
    if group_size == 0 || !rewards.len().is_multiple_of(group_size) {
        return Err(AdvantageError::Groups {
            rows: rewards.len(),
            group_size,
        });
    }
    let expected = rewards.first().map_or(0, Vec::len);
    for (row, ranks) in rewards.iter().enumerate() {
        if ranks.len() != expected {
            return Err(AdvantageError::Width {
                row,
                found: ranks.len(),
                expected,
            });
        }
        if let Some(rank) = ranks.iter().position(|reward| !reward.is_finite()) {
            return Err(AdvantageError::NotFinite {
                row,
                rank,
                value: ranks[rank],
            });
        }
    }
    Ok(expected)
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// With n - 1: NaN for one value.
pub(crate) fn std(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the definition, one number at a time.
        #[test]
        fn decoupled_advantages_are_what_the_paper_defines(
            cells in prop::collection::vec((0_u8..3, -2.0_f64..2.0), 2 * 3 * 4),
            weights in (0.1_f64..2.0, -2.0_f64..-0.1),
        ) {
            let (group, n_ranks) = (3, 4);
            let table = |of: &dyn Fn(&(u8, f64)) -> f64| -> Vec<Vec<f64>> {
                cells.chunks(n_ranks).map(|row| row.iter().map(of).collect()).collect()
            };
            let tables = [(weights.0, table(&|cell| f64::from(cell.0))), (weights.1, table(&|cell| cell.1))];
            let found = decoupled_advantages(&tables, group).unwrap();
            let spread = |values: &[f64]| {
                let centre = values.iter().sum::<f64>() / values.len() as f64;
                (values.iter().map(|x| (x - centre).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
            };
            for rank in 0..n_ranks {
                let mut sums = vec![0.0; cells.len() / n_ranks];
                for (weight, table) in &tables {
                    for (row, sum) in sums.iter_mut().enumerate() {
                        let first = row / group * group;
                        let values: Vec<f64> = (first..first + group).map(|row| table[row][rank]).collect();
                        let centre = values.iter().sum::<f64>() / group as f64;
                        *sum += weight * (table[row][rank] - centre) / (spread(&values) + 1e-4);
                    }
                }
                let whole = spread(&sums) + 1e-4;
                for (row, sum) in sums.iter().enumerate() {
                    prop_assert!((found.values[row][rank] - sum / whole).abs() < 1e-9);
                }
            }
            // Multiplying one reward by a number changes next to nothing: it is compared with itself only.
            let louder = [(weights.0, tables[0].1.iter().map(|row| row.iter().map(|x| x * 1000.0).collect()).collect()), tables[1].clone()];
            for (row, other) in decoupled_advantages(&louder, group).unwrap().values.iter().zip(&found.values) {
                prop_assert!(row.iter().zip(other).all(|(a, b)| (a - b).abs() < 2e-3));
            }
        }
    }
}
