use std::ops::Index;
use std::path::Path;

use convrec_core::jsonl::{self, Check};
use convrec_core::{CatalogItem, Item, ItemId};

use crate::Twins;
use crate::normalise::fold;
use crate::reading::reading;
use crate::title_index::TitleIndex;

/// The largest distance between a named year and the catalog's: two years, as in the paper's
/// evaluation.
pub const YEAR_TOLERANCE: u32 = 2;

/// The items make no catalog.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The file cannot be read, or a line of it is bad.
    #[error(transparent)]
    Read(#[from] jsonl::Error),
    /// The lines of the file are good, but together they make no catalog.
    #[error("{file}: {problem}")]
    File {
        /// The file, as the caller named it.
        file: String,
        /// What is wrong with its items.
        problem: Box<CatalogError>,
    },
    /// No items.
    #[error("the catalog has no items; expected at least one")]
    Empty,
    /// A title without text.
    #[error("item {place} of the catalog has a blank title; name it or remove it")]
    BlankTitle {
        /// The place of the item, from 1; its line, where the file has no blank lines.
        place: usize,
    },
    /// Two items with the same title and year.
    #[error(
        "items {first} and {second} of the catalog are both `{item}`; remove one, or tell them \
         apart by year or title"
    )]
    Duplicate {
        /// The place of the earlier item, from 1; its line, where the file has no blank lines.
        first: usize,
        /// The place of the later one.
        second: usize,
        /// Their common name.
        item: Item,
    },
}

/// The items that may be recommended, indexed by title.
///
/// An [`ItemId`] is the place of an item in the list given to [`Catalog::new`]: the first item is
/// 0.
///
/// No two items share title *and* year. Titles alone may be shared (remakes), years may be unknown,
/// and titles may differ in case only. [`Catalog::resolve`] decides what a name with such a title
/// means.
#[derive(Debug, Clone)]
pub struct Catalog {
    items: Vec<CatalogItem>,
    by_title: TitleIndex,
    pub(crate) twins: Option<Twins>,
}

impl Catalog {
    /// Indexes `items`.
    ///
    /// # Errors
    /// [`CatalogError`] when there is no item, a title is blank, or two items have the same title
    /// and year.
    pub fn new(items: Vec<CatalogItem>) -> Result<Self, CatalogError> {
        if items.is_empty() {
            return Err(CatalogError::Empty);
        }
        if let Some(blank) = items.iter().position(|item| item.check().is_err()) {
            return Err(CatalogError::BlankTitle { place: blank + 1 });
        }
        let by_title = TitleIndex::new(&items);
        match by_title.first_duplicate(&items) {
            Some((first, second)) => Err(CatalogError::Duplicate {
                first: first.index() + 1,
                second: second.index() + 1,
                item: items[second.index()].item(),
            }),
            None => Ok(Self {
                items,
                by_title,
                twins: None,
            }),
        }
    }

    /// Reads a catalog file: one [`CatalogItem`] a line.
    ///
    /// # Errors
    /// [`CatalogError`] when the file cannot be read, at its first bad line, and as in
    /// [`Catalog::new`]. The error names the file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, CatalogError> {
        let file = path.as_ref().display().to_string();
        Self::new(jsonl::read_file(path)?).map_err(|problem| CatalogError::File {
            file,
            problem: Box::new(problem),
        })
    }

    /// The number of items; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a catalog is never empty")]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// The item with this id, where there is one. `catalog[id]` is the same for ids known to be of
    /// this catalog.
    pub fn get(&self, id: ItemId) -> Option<&CatalogItem> {
        self.items.get(id.index())
    }

    /// All items with their ids, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ItemId, &CatalogItem)> {
        self.items
            .iter()
            .enumerate()
            .map(|(index, item)| (ItemId(index as u32), item))
    }

    /// The item with exactly this title and year, or without a year where the name has none.
    ///
    /// A title that ends in its year counts as title and year, on both sides: an item's own line is
    /// that item, whether the catalog writes it `("Heat", 1995)` or `("Heat (1995)", none)`. Of
    /// several such items the one with exactly this title and year goes first. A name of a merged
    /// twin means its [representative](Self::representative).
    #[must_use]
    pub fn find(&self, item: &Item) -> Option<ItemId> {
        let (title, year) = reading(&item.title, item.year);
        let named = |id: &ItemId| {
            let other = &self[*id];
            if other.year == item.year && other.title == item.title {
                Some(0)
            } else if reading(&other.title, other.year) != (title, year) {
                None
            } else {
                Some(if other.item().to_string() == item.to_string() {
                    1
                } else {
                    2
                })
            }
        };
        let sharing = self.find_normalised(title).iter();
        let best = sharing.filter_map(|id| Some((named(id)?, *id))).min()?;
        Some(self.representative(best.1))
    }

    /// The items with this title, in order; none where there is no such title. A year that the
    /// title of an item ends in is no part of its title.
    ///
    /// Titles are compared [normalised](crate::normalise()), and besides without what only Unicode
    /// tells apart: composed and decomposed letters, full-width forms, kinds of dashes and of
    /// quotation marks, marks that are not seen.
    #[must_use]
    pub fn find_normalised(&self, title: &str) -> &[ItemId] {
        self.by_title.find(&fold(title), &self.items)
    }
}

/// # Panics
/// When the id is not of this catalog.
impl Index<ItemId> for Catalog {
    type Output = CatalogItem;

    fn index(&self, id: ItemId) -> &CatalogItem {
        &self.items[id.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::catalog;

    fn problem(names: &[(&str, Option<i32>)]) -> String {
        let items = names
            .iter()
            .map(|&(title, year)| crate::testing::named(title, year))
            .collect();
        Catalog::new(items).unwrap_err().to_string()
    }

    #[test]
    fn exact_lookup_compares_text_and_year() {
        let films = catalog(&[
            ("Heat", Some(1995)),
            ("HEAT", Some(1995)),
            ("Heat", None),
            ("Up", Some(2009)),
        ]);
        assert_eq!(films.find(&Item::new("Heat", 1995)), Some(ItemId(0)));
        assert_eq!(films.find(&Item::new("HEAT", 1995)), Some(ItemId(1)));
        assert_eq!(films.find(&Item::new("Heat", None)), Some(ItemId(2)));
        assert_eq!(films.find(&Item::new("heat", 1995)), None);
        assert_eq!(films.find(&Item::new("Up", None)), None);
        assert_eq!(
            films.find_normalised(" hEAT\t"),
            [ItemId(0), ItemId(1), ItemId(2)]
        );
        assert!(films.find_normalised("Heat 2").is_empty());
        assert_eq!(
            films.iter().map(|(id, item)| (id, item.year)).last(),
            Some((ItemId(3), Some(2009)))
        );
        assert_eq!(
            (
                films.len(),
                films.get(ItemId(4)),
                films[ItemId(3)].title.as_str()
            ),
            (4, None, "Up")
        );
    }

    #[test]
    fn bad_catalogs_are_named() {
        assert!(problem(&[]).contains("no items"));
        assert!(
            problem(&[("Up", None), (" ", None)])
                .contains("item 2 of the catalog has a blank title")
        );
        let names = [
            ("Up", None),
            ("Heat", Some(1995)),
            ("Up", Some(2009)),
            ("Heat", Some(1995)),
        ];
        assert!(problem(&names).starts_with("items 2 and 4 of the catalog are both `Heat (1995)`"));
    }

    #[test]
    fn errors_name_the_file() {
        let path =
            std::env::temp_dir().join(format!("convrec-catalog-{}.jsonl", std::process::id()));
        std::fs::write(&path, "{\"title\":\"Up\"}\n{\"title\":\"Up\"}\n").unwrap();
        let message = Catalog::read(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(message.contains(".jsonl: items 1 and 2"), "{message}");
        assert!(
            Catalog::read("no/such.jsonl")
                .unwrap_err()
                .to_string()
                .contains("cannot read no/such.jsonl")
        );
    }
}
