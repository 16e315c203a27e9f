use convrec_catalog::{Catalog, YEAR_TOLERANCE};
use convrec_core::{Example, ItemId};
use itertools::Itertools;

/// The text by which a conversation is compared with items: all turns, a line each, the latest first, as models that read
/// so many tokens only cut the end.
pub(crate) fn conversation_text(example: &Example) -> String {
    example.dialog.iter().rev().map(|turn| turn.content.as_str()).join("\n")
}

/// Every catalog item that was, or may have been, seen.
pub(crate) fn seen_ids(catalog: &Catalog, example: &Example) -> Vec<ItemId> {
    example.seen.iter().flat_map(|item| catalog.may_mean(item, YEAR_TOLERANCE)).unique().collect()
}
