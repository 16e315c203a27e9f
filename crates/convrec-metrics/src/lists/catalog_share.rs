use super::share;

/// The share of all listed items that are in the catalog, which `in_catalog` knows; repeated items
/// count each time. `None` when the lists hold no item.
///
/// After supervised fine-tuning the paper has more than 0.99 (Zhu et al., arXiv 2510.20150).
pub fn catalog_share<T, L: AsRef<[T]>>(
    lists: &[L],
    in_catalog: impl Fn(&T) -> bool,
) -> Option<f64> {
    let items = || lists.iter().flat_map(|list| list.as_ref());
    share(
        items().filter(|item| in_catalog(item)).count(),
        items().count(),
    )
}

#[cfg(test)]
#[test]
fn counts_items_not_lists() {
    assert_eq!(
        catalog_share(&[vec![1, 2, 3], vec![9]], |&item| item < 3),
        Some(0.5)
    );
    assert_eq!(catalog_share(&[[0; 0]], |_| true), None);
}
