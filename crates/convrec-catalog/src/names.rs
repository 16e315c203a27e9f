//! Names that people give: items that were seen, and names that mean no item.

use convrec_core::{Item, ItemId, shown};
use rapidfuzz::distance::osa;

use crate::normalise::fold;
use crate::reading::reading;
use crate::{Catalog, FuzzyIndex, Resolution, YEAR_TOLERANCE};

/// The share of letters that may differ in an item that is named as near.
const NEAR: f64 = 0.6;

/// A name that means no item of a catalog, or several.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" {}", shown(&.name.to_string()), self.problem())]
pub struct UnknownName {
    /// The name.
    pub name: Item,
    /// The items that it may mean, or the nearest ones; best first.
    pub nearest: Vec<Item>,
    /// Whether the name means all of [`nearest`](Self::nearest) equally well.
    pub ambiguous: bool,
}

impl UnknownName {
    fn problem(&self) -> String {
        let names: Vec<String> = self
            .nearest
            .iter()
            .map(|item| format!("\"{item}\""))
            .collect();
        match (self.ambiguous, names.is_empty()) {
            (true, _) => format!(
                "means several items of the catalog: name one of {}",
                names.join(", ")
            ),
            (false, true) => "is not in the catalog, and nothing there is like it".into(),
            (false, false) => {
                format!(
                    "is not in the catalog; the nearest items are {}",
                    names.join(", ")
                )
            }
        }
    }
}

impl Catalog {
    /// The item whose own line this is, as a list shows it: `Heat (1995)`, or `Heat` without a
    /// year. Titles that hold their year are found too.
    #[must_use]
    pub fn find_line(&self, line: &str) -> Option<ItemId> {
        self.find(&Item::from_line(line))
    }

    /// The items that count as seen when `item` was seen.
    ///
    /// A name with a year that is exactly an item's means that item. Other names with a year mean
    /// each item that they [may mean](Self::may_mean) within [`YEAR_TOLERANCE`]. A name without a
    /// year means all items of that title, remakes too, as in the paper's code.
    #[must_use]
    pub fn seen(&self, item: &Item) -> Vec<ItemId> {
        let has_year = crate::reading::reading(&item.title, item.year).1.is_some();
        match self.find(item).filter(|_| has_year) {
            Some(id) => vec![id],
            None => self.may_mean(item, YEAR_TOLERANCE),
        }
    }

    /// The items that a person means by a line such as `heat (1995)` or `Heat`: as
    /// [`seen`](Self::seen).
    ///
    /// ```
    /// use convrec_catalog::Catalog;
    /// use convrec_core::{ItemId, jsonl};
    ///
    /// let lines = "{\"title\": \"Heat\", \"year\": 1995}\n{\"title\": \"Toy Story (1995)\"}\n";
    /// let catalog = Catalog::new(jsonl::read(lines.as_bytes(), "films.jsonl")?)?;
    /// assert_eq!(catalog.named(" heat (1995)").unwrap(), [ItemId(0)]);
    /// assert_eq!(catalog.named("toy story").unwrap(), [ItemId(1)]);
    /// assert_eq!(
    ///     catalog.named("Toy Stroy (1995)").unwrap_err().to_string(),
    ///     "\"Toy Stroy (1995)\" is not in the catalog; the nearest items are \"Toy Story (1995)\""
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`UnknownName`] when the line means no item. The error names the nearest ones.
    pub fn named(&self, line: &str) -> Result<Vec<ItemId>, UnknownName> {
        let item = Item::from_line(line.trim());
        match self.seen(&item) {
            ids if ids.is_empty() => Err(self.unknown(&item)),
            ids => Ok(ids),
        }
    }

    /// The one item that a name means within [`YEAR_TOLERANCE`]: the rule for ground truth.
    ///
    /// # Errors
    /// [`UnknownName`] when the name means no item, or several. The error names them, or the
    /// nearest ones.
    pub fn meant(&self, item: &Item) -> Result<ItemId, UnknownName> {
        self.find_within(item, YEAR_TOLERANCE)
            .ok_or_else(|| self.unknown(item))
    }

    /// The error about a name that does not mean one item. This searches the whole catalog.
    #[must_use]
    pub fn unknown(&self, item: &Item) -> UnknownName {
        const NEAREST: usize = 3;
        let (ids, ambiguous) = match self.resolve(item, YEAR_TOLERANCE) {
            Resolution::Ambiguous(ids) => (ids, true),
            _ => (self.nearest(item, NEAREST), false),
        };
        let nearest = ids.into_iter().map(|id| self[id].item());
        UnknownName {
            name: item.clone(),
            nearest: nearest.collect(),
            ambiguous,
        }
    }

    /// The items most like a name, for people to choose from: those that it may mean first, then
    /// those with the fewest other letters.
    fn nearest(&self, item: &Item, n: usize) -> Vec<ItemId> {
        let mut found = self.representatives(FuzzyIndex::new(self).nearest(item, n));
        if found.len() == n {
            return found;
        }
        let name: Vec<char> = fold(&item.title).chars().collect();
        let distance = |title: &str| {
            let title: Vec<char> = fold(title).chars().collect();
            let (most, least) = (name.len().max(title.len()), name.len().min(title.len()));
            // Titles of other lengths are no candidates, and need no look at their letters.
            if ((most - least) as f64) > NEAR * most as f64 {
                return 1.0;
            }
            let letters = osa::distance(name.iter().copied(), title.iter().copied());
            letters as f64 / most.max(1) as f64
        };
        let mut others: Vec<(f64, u32, ItemId)> = self
            .iter()
            .map(|(id, other)| {
                let (title, year) = reading(&other.title, other.year);
                let years = match (item.year, year) {
                    (Some(a), Some(b)) => a.abs_diff(b),
                    (None, None) => 0,
                    _ => u32::MAX,
                };
                (distance(title), years, id)
            })
            .filter(|(distance, ..)| *distance < NEAR)
            .collect();
        others.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        for id in self.representatives(others.into_iter().map(|(.., id)| id).take(4 * n)) {
            if found.len() < n && !found.contains(&id) {
                found.push(id);
            }
        }
        found
    }
}
