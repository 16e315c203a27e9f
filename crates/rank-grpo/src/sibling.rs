//! Sibling-GRPO: advantages among the children of a node of a trie.

use std::collections::BTreeMap;

use crate::AdvantageError;
use crate::advantage::{STD_EPSILON, check_groups, mean};

/// Advantages of each decision among its siblings (Sibling-GRPO: Jiang et al., *Spend Search Where
/// It Pays*, V-STAR, arXiv 2602.10699, section 4.3, equations 15 to 18).
///
/// A completion is a path through a trie: its ids at depth 0, 1, and so on. For a node h and its
/// children v in the paths of one group, `R(h, v)` is the mean reward of the paths through v. Then
/// `A(h, v) = (R(h, v) - mean_v R) / (std_v R + eps)` over the children of h. The standard
/// deviation has n in the denominator, as in the authors' code. A node with a single child in the
/// group gives advantage 0, as the group shows no other choice.
///
/// `paths` is `[B][depths]`, of any lengths, and `rewards` is `[B]`. The `group_size` samples of
/// one prompt are adjacent. The result has the shape of `paths`. Such advantages compare paths of
/// one prefix, about which the advantage of whole completions says little.
/// [`LossConfig::sibling_grpo`](crate::LossConfig::sibling_grpo) is the loss that goes with them.
///
/// # Errors
/// [`AdvantageError::Count`] if there is not one reward per path, [`AdvantageError::Groups`] if
/// they do not divide into groups, [`AdvantageError::NotFinite`] if a reward is not finite.
///
/// ```
/// use rank_grpo::sibling_advantages;
///
/// // Three paths begin with 7; only the last step tells the good one from the others.
/// let paths = [vec![7, 1], vec![7, 2], vec![7, 3], vec![8, 1]];
/// let advantages = sibling_advantages(&paths, &[1.0, 0.0, 0.0, 0.0], 4)?;
/// assert!(advantages[0][0] > 0.9 && advantages[3][0] < -0.9); // 7 is better than 8
/// assert!(advantages[0][1] > 1.4 && advantages[1][1] < -0.7); // and 7, 1 better than 7, 2
/// assert_eq!(advantages[3][1], 0.0); // 8 has one child
///
/// # Ok::<(), rank_grpo::AdvantageError>(())
/// ```
pub fn sibling_advantages<Id: Ord>(
    paths: &[Vec<Id>],
    rewards: &[f64],
    group_size: usize,
) -> Result<Vec<Vec<f64>>, AdvantageError> {
    if rewards.len() != paths.len() {
        return Err(AdvantageError::Count {
            what: "rewards of paths",
            found: rewards.len(),
            expected: paths.len(),
        });
    }
    check_groups(paths.len(), group_size)?;
    if let Some(row) = rewards.iter().position(|reward| !reward.is_finite()) {
        return Err(AdvantageError::NotFinite {
            row,
            rank: 0,
            value: rewards[row],
        });
    }
    let groups = paths.chunks(group_size).zip(rewards.chunks(group_size));
    Ok(groups
        .flat_map(|(paths, rewards)| of_group(paths, rewards))
        .collect())
}

fn of_group<Id: Ord>(paths: &[Vec<Id>], rewards: &[f64]) -> Vec<Vec<f64>> {
    // For each node, by its path, the sum of the rewards through it, and their number.
    let mut nodes: BTreeMap<&[Id], (f64, f64)> = BTreeMap::new();
    for (path, reward) in paths.iter().zip(rewards) {
        for depth in 1..=path.len() {
            let (sum, n) = nodes.entry(&path[..depth]).or_default();
            (*sum, *n) = (*sum + reward, *n + 1.0);
        }
    }
    let mut children: BTreeMap<&[Id], Vec<f64>> = BTreeMap::new();
    for (node, (sum, n)) in &nodes {
        let parent = &node[..node.len() - 1];
        children.entry(parent).or_default().push(sum / n);
    }
    let advantage = |path: &[Id], depth: usize| {
        let (sum, n) = nodes[&path[..=depth]];
        let siblings = &children[&path[..depth]];
        if siblings.iter().all(|reward| *reward == siblings[0]) {
            return 0.0;
        }
        let centre = mean(siblings);
        let squares = siblings.iter().map(|reward| (reward - centre).powi(2));
        let std = (squares.sum::<f64>() / siblings.len() as f64).sqrt();
        (sum / n - centre) / (std + STD_EPSILON)
    };
    paths
        .iter()
        .map(|path| {
            (0..path.len())
                .map(|depth| advantage(path, depth))
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition for one path and one depth, with all loops written out.
    fn slow(paths: &[Vec<u8>], rewards: &[f64], row: usize, depth: usize) -> f64 {
        let through = |node: &[u8]| {
            let all = paths.iter().zip(rewards);
            let some: Vec<f64> = all
                .filter(|(path, _)| path.starts_with(node))
                .map(|(_, reward)| *reward)
                .collect();
            some.iter().sum::<f64>() / some.len() as f64
        };
        let mut siblings: Vec<&[u8]> = paths
            .iter()
            .filter(|path| path.len() > depth && path[..depth] == paths[row][..depth])
            .map(|path| &path[..=depth])
            .collect();
        siblings.sort();
        siblings.dedup();
        let n = siblings.len() as f64;
        let centre = siblings.iter().map(|node| through(node)).sum::<f64>() / n;
        let variance = siblings
            .iter()
            .map(|node| (through(node) - centre).powi(2))
            .sum::<f64>()
            / n;
        (through(&paths[row][..=depth]) - centre) / (variance.sqrt() + 1e-4)
    }

    proptest! {
        #[test]
        fn they_are_what_the_paper_defines(
            group in prop::collection::vec(
                (prop::collection::vec(0_u8..3, 0..4), -1.0_f64..1.0), 5),
            twin in any::<bool>(),
        ) {
            let paths: Vec<Vec<u8>> = group.iter().map(|(path, _)| path.clone()).collect();
            let rewards: Vec<f64> = group.iter().map(|(_, reward)| *reward).collect();
            let groups = if twin { 2 } else { 1 };
            let twice: Vec<Vec<u8>> = paths.iter().cloned().cycle().take(5 * groups).collect();
            let all = sibling_advantages(&twice, &rewards.repeat(groups), 5).unwrap();
            for (row, path) in paths.iter().enumerate() {
                prop_assert_eq!(all[row].len(), path.len());
                for (depth, found) in all[row].iter().enumerate() {
                    let expected = slow(&paths, &rewards, row, depth);
                    prop_assert!((found - expected).abs() < 1e-6);
                }
            }
            prop_assert_eq!(&all[..5], &all[all.len() - 5..]); // groups do not see each other
        }
    }

    #[test]
    fn rewards_that_do_not_fit_are_refused() {
        let paths = [vec![1], vec![2]];
        assert!(sibling_advantages(&paths, &[1.0], 2).is_err());
        assert!(sibling_advantages(&paths, &[1.0, 2.0], 0).is_err());
        assert!(sibling_advantages(&paths, &[1.0, f64::INFINITY], 2).is_err());
    }
}
