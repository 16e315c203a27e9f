use convrec_catalog::{Catalog, YEAR_TOLERANCE};
use convrec_core::{Example, ItemId, Role};
use itertools::Itertools;

/// Characters of a conversation that are compared with items. Encoders read fewer.
const LONGEST: usize = 8000;

/// The text by which a conversation is compared with items. It has a line for each turn of user and
/// assistant. The latest turn comes first, as models cut the end of long texts.
pub(crate) fn conversation_text(example: &Example) -> String {
    let said = example
        .dialog
        .iter()
        .rev()
        .filter(|turn| turn.role != Role::System);
    let text = said.map(|turn| turn.content.as_str()).join("\n");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => text[..end].to_string(),
        None => text,
    }
}

/// Every catalog item that was, or may have been, seen.
pub(crate) fn seen_ids(catalog: &Catalog, example: &Example) -> Vec<ItemId> {
    example
        .seen
        .iter()
        .flat_map(|item| catalog.may_mean(item, YEAR_TOLERANCE))
        .unique()
        .collect()
}
