use std::collections::HashSet;
use std::hash::Hash;

use super::share;

/// The number of items of `list` that repeat an item at an earlier rank.
pub fn duplicates<T: Eq + Hash>(list: &[T]) -> usize {
    list.len() - list.iter().collect::<HashSet<_>>().len()
}

/// The share of all listed items that repeat an earlier item of their own list. `None` when the
/// lists hold no item.
pub fn duplicate_share<T: Eq + Hash, L: AsRef<[T]>>(lists: &[L]) -> Option<f64> {
    let repeated = lists.iter().map(|list| duplicates(list.as_ref())).sum();
    share(repeated, lists.iter().map(|list| list.as_ref().len()).sum())
}

#[cfg(test)]
#[test]
fn repeats_count_within_a_list_only() {
    assert_eq!(duplicates(&["a", "b", "a", "a"]), 2);
    assert_eq!(
        duplicate_share(&[vec!["a", "b", "a"], vec!["a"]]),
        Some(0.25)
    );
    assert_eq!(duplicate_share::<u8, Vec<u8>>(&[]), None);
}
