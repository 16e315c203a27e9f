use convrec_catalog::{Catalog, YEAR_TOLERANCE};
use convrec_core::{Example, ItemId};
use itertools::Itertools;

/// Every catalog item that was, or may have been, seen.
pub(crate) fn seen_ids(catalog: &Catalog, example: &Example) -> Vec<ItemId> {
    example
        .seen
        .iter()
        .flat_map(|item| catalog.may_mean(item, YEAR_TOLERANCE))
        .unique()
        .collect()
}
