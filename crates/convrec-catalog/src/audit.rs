//! Items of a catalog that are most likely one.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};

use convrec_core::{ItemId, shown};
use icu_normalizer::ComposingNormalizerBorrowed;

use crate::fuzzy::plain_letters;
use crate::reading::reading;
use crate::{Catalog, Twins, normalise};

/// The difference between the names of twins. The largest of several differences counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Difference {
    /// Only in how Unicode composes their characters.
    UnicodeForm,
    /// Only in case, in white space, or in where the year is written.
    Case,
    /// Also in an article, in accents, in punctuation, or in how a number is written.
    Spelling,
    /// One has a year and the other has none.
    Year,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnicodeForm => "they differ only in Unicode form",
            Self::Case => "they differ only in case, white space or the place of the year",
            Self::Spelling => "they differ only in spelling",
            Self::Year => "one has no year",
        })
    }
}

/// Items that are one, or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwinGroup {
    /// The items, the one that stands for the others first: it has a year where one of them has.
    pub items: Vec<ItemId>,
    /// How they differ.
    pub difference: Difference,
}

impl TwinGroup {
    /// The group in words: `items 1 and 7 (...): they differ only in Unicode form`. Numbers are
    /// places in the catalog from 1.
    #[must_use]
    pub fn describe(&self, catalog: &Catalog) -> String {
        const SHOWN: usize = 4;
        let mut text = String::from("items ");
        let (mut numbers, mut names) = (Vec::new(), Vec::new());
        for id in self.items.iter().take(SHOWN) {
            numbers.push((id.index() + 1).to_string());
            names.push(catalog.get(*id).map_or_else(String::new, |item| {
                format!("`{}`", shown(&item.item().to_string()))
            }));
        }
        let more = match self.items.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let _ = write!(
            text,
            "{} ({}{more}): {}",
            numbers.join(" and "),
            names.join(" and "),
            self.difference
        );
        text
    }
}

/// The findings of [`audit`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audit {
    /// Items that are most likely one.
    pub certain: Vec<TwinGroup>,
    /// Items of one title that may be one. Nothing tells which, so they are not merged.
    pub doubtful: Vec<TwinGroup>,
    n_items: usize,
}

impl Audit {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certain.is_empty() && self.doubtful.is_empty()
    }

    /// The items that are most likely one, to be merged.
    #[must_use]
    pub fn twins(&self) -> Twins {
        Twins::new(self.n_items, self.certain.iter().map(|group| &group.items))
    }

    /// The findings in one sentence; `None` where there are none.
    ///
    /// ```
    /// use convrec_catalog::{Catalog, audit};
    /// use convrec_core::jsonl;
    ///
    /// let lines = "{\"title\": \"Heat\", \"year\": 1995}\n{\"title\": \"HEAT\"}\n";
    /// let catalog = Catalog::new(jsonl::read(lines.as_bytes(), "films.jsonl")?)?;
    /// assert_eq!(
    ///     audit(&catalog).summary(&catalog).unwrap(),
    ///     "1 item is most likely another one again: items 1 and 2 (`Heat (1995)` and `HEAT`): \
    ///      one has no year"
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn summary(&self, catalog: &Catalog) -> Option<String> {
        let count = |groups: &[TwinGroup]| -> usize {
            groups.iter().map(|group| group.items.len() - 1).sum()
        };
        let such_as = |groups: &[TwinGroup]| {
            let first = groups.first().map(|group| group.describe(catalog));
            match groups.len() {
                1 => format!(": {}", first.unwrap_or_default()),
                _ => format!(", such as {}", first.unwrap_or_default()),
            }
        };
        let certain = match count(&self.certain) {
            0 => None,
            1 => Some("1 item is most likely another one again".to_string()),
            n => Some(format!("{n} items are most likely others again")),
        };
        let certain = certain.map(|text| text + &such_as(&self.certain));
        let doubtful = match count(&self.doubtful) {
            0 => None,
            n => Some(format!("{n} may be{}", such_as(&self.doubtful))),
        };
        match (certain, doubtful) {
            (None, None) => None,
            (Some(text), None) => Some(text),
            (None, Some(text)) => Some(format!("of the items that share a title {text}")),
            (Some(certain), Some(doubtful)) => Some(format!("{certain}; {doubtful}")),
        }
    }
}

/// Finds items that are most likely one.
///
/// Titles are compared without case, articles, accents and punctuation, with numbers as digits, and
/// without a year that a title ends in. Titles with letters outside the Latin script are compared
/// [normalised](normalise()) in their composed form.
///
/// Of the items of one such title
///
/// - those of the same year are one; where more than case and white space differ, their `metadata`
///   must be equal or missing;
/// - one without a year is the only one with a year, or the only one with the same metadata, where
///   the metadata are equal or missing.
///
/// Where an item without a year may be several others, or the metadata differ, the items are
/// doubtful. Items of different years are different items.
#[must_use]
pub fn audit(catalog: &Catalog) -> Audit {
    let nfc = ComposingNormalizerBorrowed::new_nfc();
    let composed = |id: ItemId| normalise(&nfc.normalize(reading_of(catalog, id).0));
    let mut by_title: HashMap<String, Vec<ItemId>> = HashMap::new();
    for (id, item) in catalog.iter() {
        let (title, year) = reading(&item.title, item.year);
        let key = plain_letters(title, year).unwrap_or_else(|| composed(id));
        by_title.entry(key).or_default().push(id);
    }
    let mut found = Audit {
        n_items: catalog.len(),
        ..Audit::default()
    };
    for ids in by_title.into_values().filter(|ids| ids.len() > 1) {
        one_title(catalog, &ids, &composed, &mut found);
    }
    for groups in [&mut found.certain, &mut found.doubtful] {
        groups.sort_by_key(|group| group.items.iter().min().copied());
        for group in groups {
            group.difference = difference(catalog, &group.items, &nfc);
        }
    }
    found
}

/// Sorts the items of one title into groups.
fn one_title(
    catalog: &Catalog,
    ids: &[ItemId],
    composed: &impl Fn(ItemId) -> String,
    found: &mut Audit,
) {
    let mut years: BTreeMap<Option<i32>, Vec<Vec<ItemId>>> = BTreeMap::new();
    for &id in ids {
        let clusters = years.entry(reading_of(catalog, id).1).or_default();
        let twin = |cluster: &&mut Vec<ItemId>| {
            composed(cluster[0]) == composed(id) || may_be_one(catalog, cluster[0], id)
        };
        match clusters.iter_mut().find(twin) {
            Some(cluster) => cluster.push(id),
            None => clusters.push(vec![id]),
        }
    }
    let mut doubtful: Vec<Vec<ItemId>> = years
        .values()
        .filter(|clusters| clusters.len() > 1)
        .map(|clusters| clusters.iter().map(|cluster| cluster[0]).collect())
        .collect();
    let undated = years.remove(&None).unwrap_or_default();
    let mut dated: Vec<Vec<ItemId>> = years.into_values().flatten().collect();
    for cluster in undated {
        let id = cluster[0];
        let likely: Vec<usize> = match dated.len() {
            1 if may_be_one(catalog, dated[0][0], id) => vec![0],
            n => (0..n)
                .filter(|&n| is_known_as(catalog, dated[n][0], id))
                .collect(),
        };
        match (&likely[..], dated.is_empty()) {
            (&[one], _) => dated[one].extend(cluster),
            (_, true) => dated.push(cluster),
            _ => {
                let others = dated.iter().map(|cluster| cluster[0]);
                doubtful.push(others.chain([id]).collect());
                found.certain.extend(group(cluster));
            }
        }
    }
    found.certain.extend(dated.into_iter().filter_map(group));
    found
        .doubtful
        .extend(doubtful.into_iter().filter_map(group));
}

/// A group of several items. Its difference is found out later.
fn group(items: Vec<ItemId>) -> Option<TwinGroup> {
    (items.len() > 1).then_some(TwinGroup {
        items,
        difference: Difference::UnicodeForm,
    })
}

fn reading_of(catalog: &Catalog, id: ItemId) -> (&str, Option<i32>) {
    let item = &catalog[id];
    reading(&item.title, item.year)
}

/// Whether the metadata of two items are equal or missing.
fn may_be_one(catalog: &Catalog, a: ItemId, b: ItemId) -> bool {
    let [a, b] = [a, b].map(|id| catalog[id].metadata.trim());
    a.is_empty() || b.is_empty() || a == b
}

/// Whether two items have equal metadata, and have some.
fn is_known_as(catalog: &Catalog, a: ItemId, b: ItemId) -> bool {
    let [a, b] = [a, b].map(|id| catalog[id].metadata.trim());
    !a.is_empty() && a == b
}

fn difference(
    catalog: &Catalog,
    items: &[ItemId],
    nfc: &ComposingNormalizerBorrowed<'_>,
) -> Difference {
    let names: Vec<(&str, Option<i32>)> = items.iter().map(|&id| reading_of(catalog, id)).collect();
    let all_equal = |text: &dyn Fn(usize) -> String| (1..items.len()).all(|n| text(n) == text(0));
    let line = |n: usize| {
        nfc.normalize(&catalog[items[n]].item().to_string())
            .into_owned()
    };
    let title = |n: usize| normalise(&nfc.normalize(names[n].0));
    if names.iter().any(|name| name.1 != names[0].1) {
        Difference::Year
    } else if all_equal(&line) {
        Difference::UnicodeForm
    } else if all_equal(&title) {
        Difference::Case
    } else {
        Difference::Spelling
    }
}
