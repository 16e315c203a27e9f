use convrec_catalog::{Catalog, FuzzyIndex, YEAR_TOLERANCE};
use convrec_core::{CatalogItem, Item, ItemId};
use convrec_text::{ListFormat, Style, Years};
use serde::{Deserialize, Serialize};

use super::PipelineConfig;

/// An item of a teacher's answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TeacherItem {
    /// As the teacher wrote it.
    pub item: Item,
    /// The catalog item that it is, where it is one.
    pub id: Option<ItemId>,
    /// The catalog item that it most likely means, where it is none ([`PipelineConfig::fuzzy`](super::PipelineConfig)).
    pub guess: Option<ItemId>,
}

impl TeacherItem {
    /// The catalog item that it counts as.
    pub(super) fn meant(&self) -> Option<ItemId> {
        self.id.or(self.guess)
    }
}

/// Reads answers by a catalog.
pub(super) struct Reader<'a> {
    catalog: &'a Catalog,
    years: Years,
    n: usize,
    fuzzy: Option<(FuzzyIndex<'a>, f64)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(catalog: &'a Catalog, config: &PipelineConfig) -> Self {
        let fuzzy = config.fuzzy.map(|confidence| (FuzzyIndex::new(catalog), confidence));
        Self { catalog, years: config.years, n: config.n, fuzzy }
    }

    /// The first n items of an answer, in order. A line that names no year is an item where the catalog knows its title or
    /// `years` are optional; other lines are talk.
    pub(super) fn read(&self, text: &str) -> Vec<TeacherItem> {
        let list = ListFormat { style: Style::Numbered, years: Years::Optional }.parse(text);
        let items = list.entries.into_iter().map(|entry| {
            // A year that is off makes another item: Remap finds the near ones.
            TeacherItem { id: self.catalog.find_within(&entry.item, 0), item: entry.item, guess: None }
        });
        let is_item =
            |named: &TeacherItem| named.id.is_some() || named.item.year.is_some() || self.years == Years::Optional;
        items.filter(is_item).take(self.n).map(|named| self.with_guess(named)).collect()
    }

    fn with_guess(&self, named: TeacherItem) -> TeacherItem {
        match &self.fuzzy {
            Some((index, confidence)) if named.id.is_none() => {
                let guess = index.resolve(&named.item, YEAR_TOLERANCE).at_least(*confidence);
                TeacherItem { guess, ..named }
            }
            _ => named,
        }
    }
}

/// The text by which an item outside the catalog is compared with the items inside.
pub(super) fn text_of(item: &Item, metadata: Option<String>) -> String {
    let Item { title, year } = item.clone();
    CatalogItem { title, year, genres: Vec::new(), metadata: metadata.unwrap_or_default() }.text()
}
