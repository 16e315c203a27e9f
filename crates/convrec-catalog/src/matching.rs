use convrec_core::{Item, ItemId};

use crate::Catalog;

/// The relevance of each rank of a list, the paper's rel_k. It is 1 at rank k where the item is in
/// the ground truth and in the catalog, not seen, and not credited at an earlier rank.
///
/// `list` is the list in order, `None` where a rank names no catalog item. Each relevant item is
/// credited once, at its first rank. An item that is in `ground_truth` or `seen` twice counts once;
/// an item in both counts as seen.
///
/// Names become ids by [`Catalog::find_within`] (the list, the ground truth) and
/// [`Catalog::may_mean`] (what was seen); [`relevance_of_names`] does both. In training the ids of
/// an example are looked up once for all its completions.
///
/// # Shapes
/// One value for each rank of `list`. For N values, cut the list to N or fill it up with `None`.
pub fn relevance(list: &[Option<ItemId>], ground_truth: &[ItemId], seen: &[ItemId]) -> Vec<bool> {
    let mut wanted: Vec<ItemId> = ground_truth
        .iter()
        .copied()
        .filter(|id| !seen.contains(id))
        .collect();
    let credit = |id: &Option<ItemId>| {
        let Some(id) = *id else { return false };
        let before = wanted.len();
        wanted.retain(|&w| w != id);
        wanted.len() < before
    };
    list.iter().map(credit).collect()
}

/// [`relevance`] of names: each side is resolved to catalog items, then items are compared with
/// items.
///
/// A title's case and spacing therefore do not matter. A year may be off by `year_tolerance` where
/// the catalog has no nearer one ([`Catalog::resolve`]). A remake of a seen film may be relevant,
/// and the match is one to one. Names that mean no item of the catalog, or several, are never
/// relevant. [`reference::hits`](crate::reference::hits) is the rule of the paper's public code,
/// which differs.
///
/// ```
/// use convrec_catalog::{Catalog, YEAR_TOLERANCE, relevance_of_names};
/// use convrec_core::{Item, jsonl};
///
/// let lines = r#"
///     {"title": "Jumanji", "year": 1995}
///     {"title": "Jumanji", "year": 2017}
///     {"title": "Heat", "year": 1995}"#;
/// let catalog = Catalog::new(jsonl::read(lines.as_bytes(), "films.jsonl")?)?;
///
/// let list = [
///     Item::new("HEAT", 1996),
///     Item::new("Jumanji", 1995),
///     Item::new("Jumanji", 2017),
///     Item::new("Heat", 1995),
/// ];
/// let ground_truth = [Item::new("Jumanji", 2017), Item::new("Heat", 1995)];
/// let seen = [Item::new("Jumanji", 1995)];
/// let relevant = relevance_of_names(&catalog, &list, &ground_truth, &seen, YEAR_TOLERANCE);
/// assert_eq!(relevant, [true, false, true, false]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn relevance_of_names(
    catalog: &Catalog,
    list: &[Item],
    ground_truth: &[Item],
    seen: &[Item],
    year_tolerance: u32,
) -> Vec<bool> {
    let find = |item| catalog.find_within(item, year_tolerance);
    let list: Vec<_> = list.iter().map(find).collect();
    let ground_truth: Vec<_> = ground_truth.iter().filter_map(find).collect();
    let seen: Vec<_> = seen
        .iter()
        .flat_map(|item| catalog.may_mean(item, year_tolerance))
        .collect();
    relevance(&list, &ground_truth, &seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_goes_once_to_the_first_rank() {
        let ids = |ids: &[u32]| ids.iter().map(|&id| ItemId(id)).collect::<Vec<_>>();
        let list = [3, 9, 3, 5, 7, 5].map(|id| (id != 9).then_some(ItemId(id)));
        assert_eq!(
            relevance(&list, &ids(&[5, 3, 5, 7]), &ids(&[7, 8])),
            [true, false, false, true, false, false]
        );
        assert_eq!(relevance(&list, &[], &[]), [false; 6]);
        assert!(relevance(&[], &ids(&[1]), &[]).is_empty());
    }
}
