use convrec_core::{Item, ItemId};

use crate::Catalog;
use crate::reading::reading;

/// The catalog item that a name means, and the rule that found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Title and year as the catalog writes them.
    Exact(ItemId),
    /// The title after [normalisation](crate::normalise()), and the same year (or no year on both
    /// sides).
    Normalised(ItemId),
    /// The same normalised title; the catalog's year minus the named year is this, and not 0.
    YearTolerant(ItemId, i64),
    /// The same normalised title; either the name or the catalog gives no year.
    YearUnknown(ItemId),
    /// Several items fit equally well; in catalog order.
    Ambiguous(Vec<ItemId>),
    /// No item of that title, or none with a year near enough.
    NotFound,
}

impl Resolution {
    /// The item meant, where there is exactly one.
    pub fn id(&self) -> Option<ItemId> {
        match *self {
            Self::Exact(id)
            | Self::Normalised(id)
            | Self::YearTolerant(id, _)
            | Self::YearUnknown(id) => Some(id),
            Self::Ambiguous(_) | Self::NotFound => None,
        }
    }
}

/// The distance between a catalog item's year and a named one. The least is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum YearDistance {
    /// Both years are known, or both are not. Of two equally far, the later year is the nearer one.
    Known { years: u32, earlier: bool },
    /// One year is known, the other is not.
    Unknown,
}

impl YearDistance {
    fn between(named: Option<i32>, catalog: Option<i32>) -> Self {
        match (named, catalog) {
            (Some(named), Some(year)) => Self::Known {
                years: named.abs_diff(year),
                earlier: year < named,
            },
            (None, None) => Self::Known {
                years: 0,
                earlier: false,
            },
            _ => Self::Unknown,
        }
    }

    fn within(self, year_tolerance: u32) -> bool {
        match self {
            Self::Known { years, .. } => years <= year_tolerance,
            Self::Unknown => true,
        }
    }
}

impl Catalog {
    /// The item that a name means. Titles are compared [normalised](crate::normalise()). Among the
    /// items of that title, the first of these rules that holds for any of them decides:
    ///
    /// 1. title and year exactly as written;
    /// 2. the nearest year, at most `year_tolerance` away, tried in the order same, +1, -1, +2, -2,
    ///    ... (the catalog's year minus the named one); a name without a year is nearest to an item
    ///    without a year;
    /// 3. one year unknown: a name *with* a year means the item without one; a name *without* a
    ///    year means the item of that title.
    ///
    /// Where the deciding rule fits several items, the name is ambiguous: `Dune` means neither of
    /// two dated films.
    ///
    /// ```
    /// use convrec_catalog::{Catalog, Resolution};
    /// use convrec_core::{Item, ItemId, jsonl};
    ///
    /// let lines = r#"
    ///     {"title": "Dune", "year": 1984}
    ///     {"title": "Dune", "year": 2021}
    ///     {"title": "Police Academy", "year": null}"#;
    /// let catalog = Catalog::new(jsonl::read(lines.as_bytes(), "films.jsonl")?)?;
    ///
    /// assert_eq!(
    ///     catalog.resolve(&Item::new("DUNE", 2021), 2),
    ///     Resolution::Normalised(ItemId(1))
    /// );
    /// assert_eq!(
    ///     catalog.resolve(&Item::new("Dune", 1985), 2),
    ///     Resolution::YearTolerant(ItemId(0), -1)
    /// );
    /// assert_eq!(
    ///     catalog.resolve(&Item::new("Dune", None), 2),
    ///     Resolution::Ambiguous(vec![ItemId(0), ItemId(1)])
    /// );
    /// assert_eq!(
    ///     catalog.resolve(&Item::new("Dune", 2000), 2),
    ///     Resolution::NotFound
    /// );
    /// assert_eq!(
    ///     catalog.resolve(&Item::new("Police Academy", 1984), 2),
    ///     Resolution::YearUnknown(ItemId(2))
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resolve(&self, item: &Item, year_tolerance: u32) -> Resolution {
        if let Some(id) = self.find(item) {
            return Resolution::Exact(id);
        }
        let (title, year) = reading(&item.title, item.year);
        let sharing = self.find_normalised(title);
        let distance = |id: &ItemId| self.year_distance(year, *id);
        let distances = sharing.iter().map(distance);
        let Some(least) = distances.filter(|d| d.within(year_tolerance)).min() else {
            return Resolution::NotFound;
        };
        let nearest = sharing.iter().copied().filter(|id| distance(id) == least);
        match (&self.representatives(nearest)[..], least) {
            (&[id], YearDistance::Known { years: 0, .. }) => Resolution::Normalised(id),
            (&[id], YearDistance::Known { years, earlier }) => {
                let years = i64::from(years);
                Resolution::YearTolerant(id, if earlier { -years } else { years })
            }
            (&[id], YearDistance::Unknown) => Resolution::YearUnknown(id),
            (ids, _) => Resolution::Ambiguous(ids.to_vec()),
        }
    }

    fn year_distance(&self, named: Option<i32>, id: ItemId) -> YearDistance {
        let item = &self[id];
        YearDistance::between(named, reading(&item.title, item.year).1)
    }

    /// The one item that a name means by [`Catalog::resolve`]; `None` where there is none or the
    /// name is ambiguous.
    pub fn find_within(&self, item: &Item, year_tolerance: u32) -> Option<ItemId> {
        self.resolve(item, year_tolerance).id()
    }

    /// Every item that a name *may* mean, in catalog order. These are the items that it resolves to
    /// (all of them, where it is ambiguous), and each item of the title where the name or the item
    /// gives no year.
    ///
    /// This is the careful reading for items to leave out. A user who says "I know Jumanji" may
    /// know either of two films, while "Jumanji (1995)" leaves the film of 2017 to be recommended.
    pub fn may_mean(&self, item: &Item, year_tolerance: u32) -> Vec<ItemId> {
        let meant = match self.resolve(item, year_tolerance) {
            Resolution::Ambiguous(ids) => ids,
            resolution => resolution.id().into_iter().collect(),
        };
        let (title, year) = reading(&item.title, item.year);
        let sharing = self.find_normalised(title).iter().copied();
        self.representatives(sharing.filter(|&id| {
            self.year_distance(year, id) == YearDistance::Unknown
                || meant.contains(&self.representative(id))
        }))
    }
}

#[cfg(test)]
mod tests {
    use Resolution::*;

    use super::*;
    use crate::testing::catalog;

    #[test]
    fn each_rule_yields_to_the_one_before() {
        let films = catalog(&[
            ("Heat", Some(1995)),   // 0
            ("HEAT", Some(1995)),   // 1
            ("Heat", Some(1986)),   // 2
            ("It", Some(1990)),     // 3
            ("It", Some(1992)),     // 4
            ("It", None),           // 5
            ("Up", Some(2009)),     // 6
            ("Straße", Some(2010)), // 7
            ("Home", None),         // 8
        ]);
        let id = ItemId;
        for (title, year, tolerance, expected) in [
            ("HEAT", Some(1995), 2, Exact(id(1))),
            ("heat", Some(1995), 2, Ambiguous(vec![id(0), id(1)])),
            ("heat", Some(1986), 0, Normalised(id(2))),
            ("Heat", Some(1994), 2, Ambiguous(vec![id(0), id(1)])),
            ("Heat", None, 2, Ambiguous(vec![id(0), id(1), id(2)])),
            ("It", Some(1991), 2, YearTolerant(id(4), 1)),
            ("It", Some(1989), 2, YearTolerant(id(3), 1)),
            ("It", Some(1994), 2, YearTolerant(id(4), -2)),
            ("It", Some(1991), 0, YearUnknown(id(5))),
            ("it", None, 2, Normalised(id(5))),
            ("It", None, 2, Exact(id(5))),
            ("Up", None, 0, YearUnknown(id(6))),
            ("Up", Some(2012), 2, NotFound),
            ("Up", Some(2012), 3, YearTolerant(id(6), -3)),
            ("Up", Some(i32::MIN), 2, NotFound),
            ("STRASSE", Some(2010), 0, Normalised(id(7))),
            ("home", Some(-720), 0, YearUnknown(id(8))),
            ("Home Alone", None, 2, NotFound),
            ("", None, 2, NotFound),
        ] {
            assert_eq!(
                films.resolve(&Item::new(title, year), tolerance),
                expected,
                "{title:?} {year:?} ±{tolerance}"
            );
        }
    }

    #[test]
    fn a_name_may_mean_each_item_that_it_does_not_exclude() {
        let films = catalog(&[
            ("Jumanji", Some(1995)),
            ("Jumanji", Some(2017)),
            ("Back to the Future", None),
            ("Back to the Future", Some(1985)),
            ("Back to the Future", Some(2030)),
        ]);
        let meant = |title: &str, year: Option<i32>| -> Vec<u32> {
            films
                .may_mean(&Item::new(title, year), 2)
                .into_iter()
                .map(|id| id.0)
                .collect()
        };
        assert_eq!(meant("jumanji", None), [0, 1]);
        assert_eq!(meant("Jumanji", Some(1996)), [0]);
        assert_eq!(meant("Jumanji", Some(2000)), [0; 0]);
        assert_eq!(meant("Back to the Future", Some(1985)), [2, 3]);
        assert_eq!(meant("Back to the Future", Some(2000)), [2]);
        assert_eq!(meant("Back to the Future", None), [2, 3, 4]);
    }
}
