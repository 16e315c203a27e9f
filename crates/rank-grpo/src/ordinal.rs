//! GOPO: advantages from the order of rewards alone.

use crate::advantage::check;
use crate::{AdvantageError, GroupAdvantages};

/// Advantages from the order of the rewards of a group (GOPO: Choi et al., *GOPO: Policy
/// Optimization using Ranked Rewards*, arXiv 2602.03876).
///
/// `A[i][k] = 2 - 4 (rho - 1) / (G - 1)`, where rho is the place of completion i in its group by
/// its reward at rank k, and 1 is the best. The best completion gets 2, the worst -2, whatever the
/// rewards are. Take it where rewards are scores of a judge, whose order means more than their
/// size.
///
/// The paper has no ties. Here equal rewards share the mean of their places, so a group of equal
/// rewards gets exactly 0; so does a group of one. `rewards` is `[B][N]`; the `group_size` samples
/// of one prompt are adjacent.
///
/// # Errors
/// [`AdvantageError::Groups`] if the rows do not divide into groups, [`AdvantageError::Width`] if
/// they differ in width, [`AdvantageError::NotFinite`] if a number is not finite.
///
/// ```
/// use rank_grpo::ordinal_advantages;
///
/// let rewards = [vec![0.1], vec![70.0], vec![0.2], vec![0.2], vec![-3.0]];
/// let advantages = ordinal_advantages(&rewards, 5)?;
/// assert_eq!(advantages.values.concat(), [-1.0, 2.0, 0.5, 0.5, -2.0]);
/// # Ok::<(), rank_grpo::AdvantageError>(())
/// ```
pub fn ordinal_advantages(
    rewards: &[Vec<f64>],
    group_size: usize,
) -> Result<GroupAdvantages, AdvantageError> {
    let n_ranks = check(rewards, group_size)?;
    let mut values = vec![vec![0.0; n_ranks]; rewards.len()];
    let mut equal = 0;
    for (group, rows) in rewards
        .chunks(group_size)
        .zip(values.chunks_mut(group_size))
    {
        for rank in 0..n_ranks {
            let better = |i: usize| group.iter().filter(|r| r[rank] > group[i][rank]).count();
            let same = |i: usize| group.iter().filter(|r| r[rank] == group[i][rank]).count();
            if same(0) == group_size {
                equal += 1;
                continue;
            }
            for (i, row) in rows.iter_mut().enumerate() {
                // The mean place of those that share it, less 1.
                let place = better(i) as f64 + (same(i) - 1) as f64 / 2.0;
                row[rank] = 2.0 - 4.0 * place / (group_size - 1) as f64;
            }
        }
    }
    let pairs = n_ranks * rewards.len() / group_size;
    Ok(GroupAdvantages {
        values,
        frac_reward_zero_std: equal as f64 / pairs.max(1) as f64,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The slow version sorts where the function counts.
        #[test]
        fn the_places_are_those_of_a_sorted_group(rewards in prop::collection::vec(-3_i8..3, 6)) {
            let rows: Vec<Vec<f64>> = rewards.iter().map(|r| vec![f64::from(*r)]).collect();
            let found = ordinal_advantages(&rows, 3).unwrap().values;
            for (group, found) in rewards.chunks(3).zip(found.chunks(3)) {
                let mut sorted = group.to_vec();
                sorted.sort_by(|a, b| b.cmp(a));
                for (reward, found) in group.iter().zip(found) {
                    let places: Vec<f64> = (0..3)
                        .filter(|place| sorted[*place] == *reward)
                        .map(|place| 2.0 - (place as f64) * 2.0)
                        .collect();
                    let mean = places.iter().sum::<f64>() / places.len() as f64;
                    prop_assert!((found[0] - mean).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn rewards_that_do_not_fit_are_refused() {
        assert!(ordinal_advantages(&[vec![1.0], vec![f64::NAN]], 2).is_err());
        assert!(ordinal_advantages(&[vec![1.0], vec![1.0]], 3).is_err());
        let alone = ordinal_advantages(&[vec![7.0]], 1).unwrap();
        assert_eq!(
            (alone.values, alone.frac_reward_zero_std),
            (vec![vec![0.0]], 1.0)
        );
    }
}
