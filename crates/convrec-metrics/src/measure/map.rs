use crate::JudgedList;

/// AP@k, whose mean is MAP@k: the sum of the precisions at the hits within the first `k` ranks,
/// divided by the number of *all* relevant items. `trec_eval` does the same; some recommender
/// papers divide by `min(k, relevant)`.
///
/// Buckley and Voorhees, "Evaluating evaluation measure stability", SIGIR 2000.
pub fn average_precision(list: &JudgedList, k: usize) -> f64 {
    if list.relevant() == 0 {
        return 0.0;
    }
    let hit_indices = list
        .hits()
        .iter()
        .take(k)
        .enumerate()
        .filter(|&(_, &hit)| hit)
        .map(|(index, _)| index);
    let precisions = hit_indices
        .enumerate()
        .map(|(earlier, index)| (earlier + 1) as f64 / (index + 1) as f64);
    precisions.sum::<f64>() / list.relevant() as f64
}

#[cfg(test)]
#[test]
fn precisions_at_the_hits() {
    let list = JudgedList::new(vec![true, false, true], 4);
    assert_eq!(
        [1, 2, 3].map(|k| average_precision(&list, k)),
        [0.25, 0.25, (1.0 + 2.0 / 3.0) / 4.0]
    );
}
