use crate::JudgedList;

/// Recall@k: the hits within the first `k` ranks, over all relevant items.
///
/// With more than `k` relevant items it cannot reach 1.
///
/// Manning, Raghavan, Schütze, *Introduction to Information Retrieval* (2008), section 8.3.
pub fn recall(list: &JudgedList, k: usize) -> f64 {
    if list.relevant() == 0 {
        0.0
    } else {
        list.found(k) as f64 / list.relevant() as f64
    }
}

#[cfg(test)]
#[test]
fn hits_over_all_relevant_items() {
    let list = JudgedList::new(vec![false, true, true, false], 4);
    assert_eq!(
        [1, 2, 3, 9].map(|k| recall(&list, k)),
        [0.0, 0.25, 0.5, 0.5]
    );
}
