//! Matching, by name and by the rule of the public code, against slow matchers written another way.

use std::collections::{HashMap, HashSet};

use convrec_catalog::{Catalog, reference, relevance_of_names};
use convrec_core::{CatalogItem, Item};
use proptest::prelude::*;

/// Names with few titles and years, so that they collide in every way.
fn name() -> impl Strategy<Value = Item> {
    let title = prop::sample::select(vec![
        "Heat",
        "HEAT",
        " heat",
        "Die Straße",
        "die  STRASSE",
        "Up",
    ]);
    (title, prop::option::weighted(0.85, 1990..1997))
        .prop_map(|(title, year)| Item::new(title, year))
}

fn names(most: usize) -> impl Strategy<Value = Vec<Item>> {
    prop::collection::vec(name(), 0..most)
}

fn catalog() -> impl Strategy<Value = Catalog> {
    prop::collection::hash_set(name(), 1..14).prop_map(|names| {
        let mut names: Vec<Item> = names.into_iter().collect();
        names.sort();
        let item = |Item { title, year }| CatalogItem {
            title,
            year,
            genres: vec![],
            metadata: String::new(),
        };
        Catalog::new(names.into_iter().map(item).collect()).unwrap()
    })
}

/// The normalisation, for the titles of [`name`] only.
fn folded(title: &str) -> String {
    title
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
        .replace('ß', "ss")
}

/// The places of the catalog that fit the first of: the very name, then the years same, +1, -1,
/// ..., then no year.
fn slow_resolve(catalog: &Catalog, name: &Item, tolerance: i32) -> Vec<usize> {
    let places = |fits: &dyn Fn(&CatalogItem) -> bool| -> Vec<usize> {
        catalog
            .iter()
            .filter(|(_, item)| fits(item))
            .map(|(id, _)| id.index())
            .collect()
    };
    let titled = |item: &CatalogItem| folded(&item.title) == folded(&name.title);
    let mut tries = vec![places(&|item| item.item() == *name)];
    match name.year {
        Some(year) => {
            let offsets = (0..=tolerance).flat_map(|d| [d, -d]);
            tries.extend(
                offsets.map(|d| places(&|item| titled(item) && item.year == Some(year + d))),
            );
            tries.push(places(&|item| titled(item) && item.year.is_none()));
        }
        None => {
            tries.push(places(&|item| titled(item) && item.year.is_none()));
            tries.push(places(&|item| titled(item)));
        }
    }
    tries
        .into_iter()
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

fn slow_relevance(
    catalog: &Catalog,
    list: &[Item],
    relevant_items: &[Item],
    seen: &[Item],
    tolerance: i32,
) -> Vec<bool> {
    let the_one = |name: &Item| match slow_resolve(catalog, name, tolerance)[..] {
        [place] => Some(place),
        _ => None,
    };
    let relevant_items: HashSet<usize> = relevant_items.iter().filter_map(the_one).collect();
    let is_seen = |place: usize| {
        let item = &catalog.iter().nth(place).unwrap().1;
        seen.iter().any(|name| {
            let titled = folded(&name.title) == folded(&item.title);
            titled && name.year.is_some() != item.year.is_some()
                || slow_resolve(catalog, name, tolerance).contains(&place)
        })
    };
    let places: Vec<Option<usize>> = list.iter().map(the_one).collect();
    let credited = |(rank, place): (usize, &Option<usize>)| {
        place.is_some_and(|p| {
            relevant_items.contains(&p) && !is_seen(p) && !places[..rank].contains(&Some(p))
        })
    };
    places.iter().enumerate().map(credited).collect()
}

/// The public code's rule with a counter of ground truths, trying one year after the other.
fn slow_hits(
    catalog: &Catalog,
    list: &[Item],
    relevant_items: &[Item],
    seen: &[String],
    n: usize,
    tolerance: i32,
) -> Vec<bool> {
    let mut left: HashMap<(String, i32), usize> = HashMap::new();
    for item in relevant_items {
        if let Some(year) = item.year {
            *left.entry((folded(&item.title), year)).or_default() += 1;
        }
    }
    let mut hits = vec![false; n];
    for rank in 0..n.min(list.len()) {
        let known = catalog.iter().any(|(_, item)| item.item() == list[rank]);
        let Some(year) = list[rank]
            .year
            .filter(|_| known && !seen.contains(&list[rank].title))
        else {
            continue;
        };
        for offset in (0..=tolerance).flat_map(|d| [d, -d]) {
            if let Some(count) = left
                .get_mut(&(folded(&list[rank].title), year + offset))
                .filter(|count| **count > 0)
            {
                *count -= 1;
                hits[rank] = true;
                break;
            }
        }
    }
    hits
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn by_name(
        catalog in catalog(),
        list in names(8),
        relevant_items in names(5),
        seen in names(3),
        tolerance in 0..4_i32,
    ) {
        let fast = relevance_of_names(&catalog, &list, &relevant_items, &seen, tolerance as u32);
        prop_assert_eq!(
            &fast,
            &slow_relevance(&catalog, &list, &relevant_items, &seen, tolerance)
        );
        let count = fast.iter().filter(|&&relevant| relevant).count();
        prop_assert!(count <= relevant_items.len().min(list.len()));
        // Ground truth and seen items are sets: their order does not matter.
        let reversed = |names: &[Item]| names.iter().rev().cloned().collect::<Vec<_>>();
        let other_order = relevance_of_names(
            &catalog,
            &list,
            &reversed(&relevant_items),
            &reversed(&seen),
            tolerance as u32,
        );
        prop_assert_eq!(fast, other_order);
    }

    #[test]
    fn by_the_public_codes_rule(
        catalog in catalog(),
        list in names(8),
        relevant_items in names(6),
        seen in names(2),
        n in 0..10_usize,
        tolerance in 0..4_i32,
    ) {
        let seen: Vec<String> = seen.into_iter().map(|item| item.title).collect();
        let in_catalog = |item: &Item| catalog.find(item).is_some();
        let fast = reference::hits(
            &list,
            &seen,
            &relevant_items,
            in_catalog,
            n,
            tolerance as u32,
        );
        prop_assert_eq!(
            &fast,
            &slow_hits(&catalog, &list, &relevant_items, &seen, n, tolerance)
        );
        prop_assert!(
            fast.iter().filter(|&&hit| hit).count() <= relevant_items.len().min(list.len())
        );
        let mut other_order = relevant_items.clone();
        other_order.reverse();
        prop_assert_eq!(
            fast,
            reference::hits(&list, &seen, &other_order, in_catalog, n, tolerance as u32)
        );
    }

    #[test]
    fn lookups_find_what_a_scan_finds(catalog in catalog(), name in name()) {
        let place = |fits: &dyn Fn(&CatalogItem) -> bool| -> Vec<usize> {
            catalog
                .iter()
                .filter(|(_, item)| fits(item))
                .map(|(id, _)| id.index())
                .collect()
        };
        let exact = place(&|item| item.item() == name);
        prop_assert_eq!(
            catalog.find(&name).map(|id| id.index()),
            exact.first().copied()
        );
        let titled: Vec<usize> = catalog
            .find_normalised(&name.title)
            .iter()
            .map(|id| id.index())
            .collect();
        prop_assert_eq!(
            titled,
            place(&|item| folded(&item.title) == folded(&name.title))
        );
    }
}
