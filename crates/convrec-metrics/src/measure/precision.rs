use crate::JudgedList;

/// Precision@k: the hits within the first `k` ranks, over `k`. A shorter list is not divided by its
/// own length: the missing ranks count as misses.
///
/// Manning, Raghavan, Schütze, *Introduction to Information Retrieval* (2008), section 8.4.
pub fn precision(list: &JudgedList, k: usize) -> f64 {
    if k == 0 {
        0.0
    } else {
        list.found(k) as f64 / k as f64
    }
}

#[cfg(test)]
#[test]
fn missing_ranks_are_misses() {
    let list = JudgedList::new(vec![true, false], 2);
    assert_eq!([1, 2, 4].map(|k| precision(&list, k)), [1.0, 0.5, 0.25]);
}
