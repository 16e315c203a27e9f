use convrec_catalog::Catalog;
use convrec_core::{CatalogItem, Item, ItemId};
use convrec_text::{ListFormat, Style, Years};
use serde::{Deserialize, Serialize};

/// An item of a teacher's answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TeacherItem {
    /// As the teacher wrote it.
    pub item: Item,
    /// The catalog item that it is, where it is one.
    pub id: Option<ItemId>,
}

/// The first `n` items of an answer, in order. A line that names no year is an item where the catalog knows its title or
/// `years` are optional; other lines are talk.
pub(super) fn read_answer(text: &str, n: usize, catalog: &Catalog, years: Years) -> Vec<TeacherItem> {
    let list = ListFormat { style: Style::Numbered, years: Years::Optional }.parse(text);
    let items = list.entries.into_iter().map(|entry| {
        // A year that is off makes another item: Remap finds the near ones.
        let id = catalog.find_within(&entry.item, 0);
        TeacherItem { item: entry.item, id }
    });
    items.filter(|named| named.id.is_some() || named.item.year.is_some() || years == Years::Optional).take(n).collect()
}

/// The text by which an item outside the catalog is compared with the items inside.
pub(super) fn text_of(item: &Item, metadata: Option<String>) -> String {
    let Item { title, year } = item.clone();
    CatalogItem { title, year, genres: Vec::new(), metadata: metadata.unwrap_or_default() }.text()
}
