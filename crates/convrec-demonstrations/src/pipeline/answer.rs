use convrec_catalog::{Catalog, FuzzyIndex, YEAR_TOLERANCE, normalise};
use convrec_core::{CatalogItem, Item, ItemId};
use convrec_text::{ListFormat, Style, Years, strip_reasoning};
use serde::{Deserialize, Serialize};

use super::PipelineConfig;

/// An item of a teacher's answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TeacherItem {
    /// The item as the teacher wrote it.
    pub item: Item,
    /// The catalog item that it is, where it is one.
    pub id: Option<ItemId>,
    /// The catalog item that it most likely means, where it is none
    /// ([`PipelineConfig::fuzzy`](super::PipelineConfig)).
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
        let fuzzy = config
            .fuzzy
            .map(|confidence| (FuzzyIndex::new(catalog), confidence));
        Self {
            catalog,
            years: config.years,
            n: config.n,
            fuzzy,
        }
    }

    /// The first n items of an answer, in order. Reasoning before the answer is left out. A line
    /// that names no year is an item where the catalog knows its title or `years` are optional.
    /// Other lines are talk.
    pub(super) fn read(&self, text: &str) -> Vec<TeacherItem> {
        let list = ListFormat {
            style: Style::Numbered,
            years: Years::Optional,
        }
        .parse_known(&strip_reasoning(text), |item| {
            self.catalog.find(item).is_some()
        });
        let items = list.entries.into_iter().map(|entry| {
            // A wrong year makes another item, for which Remap finds near ones.
            let id = self
                .catalog
                .find_within(&entry.item, 0)
                .or_else(|| self.with_maker(&entry.item));
            TeacherItem {
                id,
                item: entry.item,
                guess: None,
            }
        });
        let is_item = |named: &TeacherItem| {
            named.id.is_some() || named.item.year.is_some() || self.years == Years::Optional
        };
        items
            .filter(is_item)
            .take(self.n)
            .map(|named| self.with_guess(named))
            .collect()
    }

    /// The catalog item of a name such as `Emma by Jane Austen` or `Emma - Jane Austen`. The item's
    /// text must have the last word behind the title in the name, so `Death by Chocolate` is not
    /// `Death`.
    fn with_maker(&self, item: &Item) -> Option<ItemId> {
        let split = |by: &&str| item.title.rsplit_once(*by);
        [" by ", " - ", " – ", " — "]
            .iter()
            .filter_map(split)
            .find_map(|(title, maker)| {
                let id = self
                    .catalog
                    .find_within(&Item::new(title.trim_end_matches(','), item.year), 0)?;
                let last = normalise(maker.split_whitespace().next_back()?);
                normalise(&self.catalog[id].text())
                    .split(|c: char| !c.is_alphanumeric())
                    .any(|word| word == last)
                    .then_some(id)
            })
    }

    fn with_guess(&self, named: TeacherItem) -> TeacherItem {
        match &self.fuzzy {
            Some((index, confidence)) if named.id.is_none() => {
                let guess = index
                    .resolve(&named.item, YEAR_TOLERANCE)
                    .at_least(*confidence);
                TeacherItem { guess, ..named }
            }
            _ => named,
        }
    }
}

/// The text by which an item outside the catalog is compared with the items inside.
pub(super) fn text_of(item: &Item, metadata: Option<String>) -> String {
    let Item { title, year } = item.clone();
    CatalogItem {
        title,
        year,
        genres: Vec::new(),
        metadata: metadata.unwrap_or_default(),
    }
    .text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makers_behind_titles_are_no_part_of_them() {
        let item = |title: &str, year, metadata: &str| CatalogItem {
            title: title.into(),
            year,
            genres: vec![],
            metadata: metadata.into(),
        };
        let items = vec![
            item("Emma", Some(1815), "Jane Austen; England"),
            item("Death", None, "a grim book by nobody"),
            item("Stand by Me", Some(1986), "Rob Reiner"),
        ];
        let catalog = Catalog::new(items).unwrap();
        let reader = Reader::new(&catalog, &PipelineConfig::default());
        let read = |text: &str| {
            reader
                .read(text)
                .iter()
                .map(|named| named.id.map(|id| id.0))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            read("1. Emma by Jane Austen\n2. Emma - Jane Austen\n3. Emma, by Jane AUSTEN (1815)"),
            [Some(0); 3]
        );
        assert_eq!(read("1. Stand by Me (1986)"), [Some(2)]);
        assert_eq!(
            read("<think>\n1. Death\n</think>\n1. Stand by Me (1986)"),
            [Some(2)]
        );
        assert_eq!(
            read("Perhaps\n1. Death\n</think>\n1. Stand by Me"),
            [Some(2)]
        );
        assert_eq!(read("<think>\n1. Death\n2. Stand by Me"), []);
        assert_eq!(
            read(
                "1. Death by Chocolate (2001)\n2. Emma by Jane Smith (1815)\n3. Emma by Jane \
                 Austen (1999)"
            ),
            [None; 3]
        );
    }
}
