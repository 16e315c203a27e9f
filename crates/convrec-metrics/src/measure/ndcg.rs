use crate::{JudgedList, rewards};

/// NDCG@k with binary gains: each hit within the first `k` ranks earns `1 / log2(rank + 1)`. The
/// sum is divided by what the ideal list earns, whose first `min(k, relevant)` ranks all hit.
///
/// Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4),
/// 2002; with the discount of Burges et al., "Learning to rank using gradient descent", ICML 2005.
#[must_use]
pub fn ndcg(list: &JudgedList, k: usize) -> f64 {
    rewards::ndcg(list.hits(), list.relevant(), k)
}

#[cfg(test)]
#[test]
fn an_ideal_list_scores_one_and_later_hits_less() {
    assert_eq!(ndcg(&JudgedList::new(vec![true, true, false], 2), 3), 1.0);
    assert_eq!(ndcg(&JudgedList::new(vec![true; 3], 9), 3), 1.0);
    assert_eq!(ndcg(&JudgedList::new(vec![false, false, true], 1), 3), 0.5);
    assert_eq!(ndcg(&JudgedList::new(vec![false, false, true], 1), 2), 0.0);
}
