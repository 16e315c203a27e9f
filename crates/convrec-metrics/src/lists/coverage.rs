use std::collections::HashSet;
use std::hash::Hash;

use super::share;

/// Catalog coverage: the share of the catalog that appears in at least one list. Items outside the
/// catalog do not count. `None` for an empty catalog.
///
/// Ge, Delgado-Battenfeld, Jannach, "Beyond accuracy: evaluating recommender systems by coverage
/// and serendipity", RecSys 2010.
pub fn catalog_coverage<T: Eq + Hash, L: AsRef<[T]>>(
    lists: &[L],
    catalog: &HashSet<T>,
) -> Option<f64> {
    let listed: HashSet<&T> = lists
        .iter()
        .flat_map(|list| list.as_ref())
        .filter(|item| catalog.contains(item))
        .collect();
    share(listed.len(), catalog.len())
}

#[cfg(test)]
#[test]
fn each_item_covers_once() {
    let catalog = HashSet::from([1, 2, 3, 4]);
    assert_eq!(catalog_coverage(&[[1, 2], [1, 9]], &catalog), Some(0.5));
    assert_eq!(catalog_coverage(&[[1]], &HashSet::new()), None);
}
