use super::share;

/// The mean number of items of a list. `None` without lists.
pub fn mean_length<T, L: AsRef<[T]>>(lists: &[L]) -> Option<f64> {
    share(
        lists.iter().map(|list| list.as_ref().len()).sum(),
        lists.len(),
    )
}

#[cfg(test)]
#[test]
fn empty_lists_count() {
    assert_eq!(mean_length(&[vec![1, 2, 3], vec![]]), Some(1.5));
    assert_eq!(mean_length::<u8, Vec<u8>>(&[]), None);
}
