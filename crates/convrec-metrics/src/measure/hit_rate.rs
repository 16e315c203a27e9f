use crate::JudgedList;

/// HitRate@k: 1 when any of the first `k` ranks hits, else 0.
///
/// Deshpande and Karypis, "Item-based top-N recommendation algorithms", ACM TOIS 22(1), 2004.
pub fn hit_rate(list: &JudgedList, k: usize) -> f64 {
    if list.found(k) > 0 { 1.0 } else { 0.0 }
}

#[cfg(test)]
#[test]
fn one_hit_is_enough() {
    let list = JudgedList::new(vec![false, true, true], 5);
    assert_eq!([1, 2, 3].map(|k| hit_rate(&list, k)), [0.0, 1.0, 1.0]);
}
