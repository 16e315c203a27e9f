use crate::JudgedList;

/// RR@k, whose mean is MRR@k: 1 over the rank of the first hit, 0 when the first `k` ranks hold
/// none.
///
/// Voorhees, "The TREC-8 question answering track report", TREC 1999.
pub fn reciprocal_rank(list: &JudgedList, k: usize) -> f64 {
    let first = list.hits().iter().take(k).position(|&hit| hit);
    first.map_or(0.0, |index| 1.0 / (index + 1) as f64)
}

#[cfg(test)]
#[test]
fn only_the_first_hit_counts() {
    let list = JudgedList::new(vec![false, false, true, true], 2);
    assert_eq!(
        [2, 3, 4].map(|k| reciprocal_rank(&list, k)),
        [0.0, 1.0 / 3.0, 1.0 / 3.0]
    );
}
