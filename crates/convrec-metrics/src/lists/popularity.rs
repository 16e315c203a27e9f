/// Average recommendation popularity (ARP): the mean popularity of each list's items, averaged over
/// the lists that hold any. `None` when none does.
///
/// `popularity` is the caller's, usually how often the item is a ground truth of the training set.
///
/// Yin, Cui, Li, Yao, Chen, "Challenging the long tail recommendation", PVLDB 5(9), 2012.
pub fn average_popularity<T, L: AsRef<[T]>>(
    lists: &[L],
    popularity: impl Fn(&T) -> f64,
) -> Option<f64> {
    let full = || {
        lists
            .iter()
            .map(|list| list.as_ref())
            .filter(|list| !list.is_empty())
    };
    let mean_of = |list: &[T]| list.iter().map(&popularity).sum::<f64>() / list.len() as f64;
    let n_lists = full().count();
    (n_lists > 0).then(|| full().map(mean_of).sum::<f64>() / n_lists as f64)
}

#[cfg(test)]
#[test]
fn lists_weigh_the_same() {
    let popularity = |&item: &u32| f64::from(item);
    assert_eq!(
        average_popularity(&[vec![1, 1, 1, 1], vec![3], vec![]], popularity),
        Some(2.0)
    );
    assert_eq!(average_popularity(&[vec![]], popularity), None);
}
