use crate::JudgedList;

/// Per-rank relevance: for each of the first `n_ranks` ranks, the share of lists that hit there. A
/// list that ends earlier counts as a miss; without lists all shares are 0.
///
/// The curve shows where a policy earns its score; Rank-GRPO's gain over GRPO grows with the rank
/// (Zhu et al., arXiv 2510.20150).
pub fn hits_per_rank(lists: &[JudgedList], n_ranks: usize) -> Vec<f64> {
    let hits_at = |index| {
        lists
            .iter()
            .filter(|list| list.hits().get(index) == Some(&true))
            .count()
    };
    (0..n_ranks)
        .map(|index| hits_at(index) as f64 / lists.len().max(1) as f64)
        .collect()
}

#[cfg(test)]
#[test]
fn short_lists_miss() {
    let lists = [
        JudgedList::new(vec![true, false, true], 2),
        JudgedList::new(vec![true], 1),
    ];
    assert_eq!(hits_per_rank(&lists, 3), [1.0, 0.0, 0.5]);
    assert_eq!(hits_per_rank(&[], 2), [0.0, 0.0]);
}
