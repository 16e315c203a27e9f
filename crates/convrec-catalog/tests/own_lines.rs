//! An item's own line is that item, whatever its title looks like.

use convrec_catalog::{Catalog, Mentions, YEAR_TOLERANCE, audit, relevance_of_names};
use convrec_core::{CatalogItem, Item, ItemId, Turn, jsonl};
use proptest::prelude::*;

fn item(title: &str, year: Option<i32>) -> CatalogItem {
    CatalogItem {
        title: title.into(),
        year,
        genres: vec![],
        metadata: String::new(),
    }
}

/// Titles that hold their year or another, have none, repeat it, or end in other brackets.
fn title() -> impl Strategy<Value = String> {
    let words = "(Heat|Toy Story|Matrix, The|Misérables, Les|Se7en|Babylon 5|2001|It)";
    let tail = "( \\((a\\.k\\.a\\. X|1995|1996|2001|12|-720|or not)\\)){0,2}";
    (words, tail).prop_map(|(words, tail)| words + &tail)
}

/// A catalog in which no two items are written as the same line.
fn catalog() -> impl Strategy<Value = Catalog> {
    let year = prop_oneof![3 => Just(None), 1 => Just(Some(1995)), 1 => Just(Some(2001))];
    prop::collection::vec((title(), year), 1..12).prop_map(|names| {
        let mut lines = std::collections::HashSet::new();
        let items = names.into_iter().map(|(title, year)| item(&title, year));
        let items = items.filter(|item| lines.insert(item.item().to_string()));
        Catalog::new(items.collect()).unwrap()
    })
}

proptest! {
    #[test]
    fn every_item_is_found_by_its_own_line(catalog in catalog()) {
        for (id, item) in catalog.iter() {
            let name = item.item();
            let line = name.to_string();
            prop_assert_eq!(catalog.find(&name), Some(id));
            prop_assert_eq!(catalog.find_line(&line), Some(id), "{}", line);
            // The line is taken as a list's parse reads it, and as a whole title without a year.
            prop_assert_eq!(catalog.find(&Item::from_line(&line)), Some(id));
            prop_assert_eq!(catalog.find(&Item::new(line.as_str(), None)), Some(id));
            let meant = catalog.resolve(&Item::from_line(&line), YEAR_TOLERANCE);
            prop_assert_eq!(meant.id(), Some(id));
            prop_assert!(catalog.seen(&name).contains(&id));
            let shouted = format!(" {} ", line.to_uppercase());
            prop_assert!(catalog.named(&shouted).unwrap().contains(&id));
            let names = [name];
            let relevant = relevance_of_names(&catalog, &names, &names, &[], YEAR_TOLERANCE);
            prop_assert_eq!(relevant, [true]);
        }
    }

    #[test]
    fn every_line_with_a_year_is_found_in_a_dialog(catalog in catalog()) {
        let mentions = Mentions::new(&catalog);
        for (id, item) in catalog.iter() {
            let line = item.item().to_string();
            if Item::split_line(&line).1.is_some() {
                let text = format!("I loved {line}. Something like it?");
                prop_assert_eq!(mentions.in_turns(&[Turn::user(&text)]), [id], "{}", text);
                prop_assert_eq!(mentions.in_turns(&[Turn::assistant(&text)]), [id]);
            }
        }
    }

    #[test]
    fn merged_twins_are_one_everywhere(catalog in catalog()) {
        let found = audit(&catalog);
        let merged = catalog.clone().merge_twins();
        for group in &found.certain {
            let stands = group.items[0];
            for id in &group.items {
                let name = catalog[*id].item();
                prop_assert_eq!(merged.representative(*id), stands);
                prop_assert_eq!(merged.find(&name), Some(stands));
                prop_assert_eq!(merged.find_within(&name, YEAR_TOLERANCE), Some(stands));
                prop_assert!(merged.seen(&name).contains(&stands));
                prop_assert!(*id == stands || merged.aliases().contains(id));
            }
        }
        for (id, item) in merged.iter() {
            let named = merged.seen(&item.item());
            prop_assert!(named.iter().all(|id| !merged.aliases().contains(id)), "{}", id.0);
        }
    }
}

/// MovieLens: the title column holds the year, and there is no year column.
#[test]
fn titles_that_hold_the_year() {
    let lines = [
        "Toy Story (1995)",
        "Matrix, The (1999)",
        "American President, The (1995)",
        "Heat (1995)",
        "Misérables, Les (1995)",
        "City of Lost Children, The (Cité des enfants perdus, La) (1995)",
        "Seven (a.k.a. Se7en) (1995)",
        "Babylon 5",
    ];
    let catalog = Catalog::new(lines.map(|line| item(line, None)).to_vec()).unwrap();
    let find = |title: &str, year: Option<i32>| catalog.find(&Item::new(title, year));
    assert_eq!(find("Heat", Some(1995)), Some(ItemId(3)));
    assert_eq!(find("Heat (1995)", None), Some(ItemId(3)));
    assert_eq!(find("Heat", None), None);
    assert_eq!(find("Heat", Some(1996)), None);
    assert_eq!(
        catalog.find_within(&Item::new("HEAT", 1996), 2),
        Some(ItemId(3))
    );
    assert_eq!(catalog.seen(&Item::new("heat", None)), [ItemId(3)]);
    assert_eq!(catalog.find_line("Babylon 5"), Some(ItemId(7)));

    let text = "I loved Toy Story (1995), the Seven (a.k.a. Se7en) (1995) and Heat. And babylon 5!";
    let named = Mentions::new(&catalog).in_turns(&[Turn::user(text)]);
    assert_eq!(named, [0, 6, 3, 7].map(ItemId));
}

/// The paper's code compares seen titles alone (fidelity H2): remakes are seen too.
#[test]
fn seen_titles_without_years_mean_every_film_of_that_title() {
    let films = [
        item("Dune", Some(1984)),
        item("Dune", Some(2021)),
        item("Jumanji", None),
        item("Jumanji", Some(2017)),
        item("Heat (1995)", None),
    ];
    let catalog = Catalog::new(films.to_vec()).unwrap();
    let seen = |title: &str, year: Option<i32>| -> Vec<u32> {
        let ids = catalog.seen(&Item::new(title, year));
        ids.into_iter().map(|id| id.0).collect()
    };
    assert_eq!(seen("Dune", None), [0, 1]);
    assert_eq!(seen("Dune", Some(2021)), [1]);
    assert_eq!(seen("dune", Some(2022)), [1]);
    assert_eq!(seen("Jumanji", None), [2, 3]);
    assert_eq!(seen("Jumanji", Some(1995)), [2]);
    assert_eq!(seen("Heat", None), [4]);
    assert_eq!(seen("Alien", None), [0; 0]);
}

#[test]
fn twins_are_found_and_named() {
    let read = |lines: &str| Catalog::new(jsonl::read(lines.as_bytes(), "f").unwrap()).unwrap();
    let catalog = read(
        "{\"title\": \"Am\u{e9}lie\", \"year\": 2001}
         {\"title\": \"Ame\u{301}lie\", \"year\": 2001}
         {\"title\": \"The Godfather\"}
         {\"title\": \"The Godfather\", \"year\": 1972}
         {\"title\": \"Matrix, The\", \"year\": 1999}
         {\"title\": \"the matrix\", \"year\": 1999}
         {\"title\": \"Heat\", \"year\": 1995}
         {\"title\": \"HEAT (1995)\"}
         {\"title\": \"Fast & Furious\", \"year\": 2009}
         {\"title\": \"Fast and Furious\", \"year\": 2009}
         {\"title\": \"Rocky II\", \"year\": 1979}
         {\"title\": \"Rocky 2\", \"year\": 1979}
         {\"title\": \"Dune\", \"year\": 1984}
         {\"title\": \"Dune\", \"year\": 2021}
         {\"title\": \"Dune\"}
         {\"title\": \"The Boy\", \"year\": 2016, \"metadata\": \"a doll\"}
         {\"title\": \"Boy\", \"year\": 2016, \"metadata\": \"a boat\"}
         {\"title\": \"千と千尋\", \"year\": 2001}
         {\"title\": \"前途遷徙\", \"year\": 2001}",
    );
    let found = audit(&catalog);
    let groups: Vec<String> = found
        .certain
        .iter()
        .map(|group| group.describe(&catalog))
        .collect();
    assert_eq!(
        groups,
        [
            "items 1 and 2 (`Am\u{e9}lie (2001)` and `Ame\u{301}lie (2001)`): they differ only in \
             Unicode form",
            "items 4 and 3 (`The Godfather (1972)` and `The Godfather`): one has no year",
            "items 5 and 6 (`Matrix, The (1999)` and `the matrix (1999)`): they differ only in \
             spelling",
            "items 7 and 8 (`Heat (1995)` and `HEAT (1995)`): they differ only in case, white \
             space or the place of the year",
            "items 9 and 10 (`Fast & Furious (2009)` and `Fast and Furious (2009)`): they differ \
             only in spelling",
            "items 11 and 12 (`Rocky II (1979)` and `Rocky 2 (1979)`): they differ only in \
             spelling",
        ]
    );
    let doubtful: Vec<Vec<u32>> = found
        .doubtful
        .iter()
        .map(|group| group.items.iter().map(|id| id.0).collect())
        .collect();
    assert_eq!(doubtful, [vec![12, 13, 14], vec![15, 16]]);
    let summary = found.summary(&catalog).unwrap();
    assert!(summary.starts_with("6 items are most likely others again, such as items 1 and 2"));
    assert!(audit(&read("{\"title\": \"Up\"}")).is_empty());
    assert_eq!(audit(&read("{\"title\": \"Up\"}")).summary(&catalog), None);
}

/// Two titles of one name in two Unicode forms: the audit names both lines and the reason.
#[test]
fn twins_in_unicode_form_are_named() {
    let Some(path) = convrec_testdata::case_path("public_reports/41/c.jsonl") else {
        return;
    };
    let catalog = Catalog::read(path).unwrap();
    let found = audit(&catalog);
    let summary = found.summary(&catalog).unwrap();
    assert!(summary.contains("items 1 and 2"), "{summary}");
    assert!(
        summary.ends_with("they differ only in Unicode form"),
        "{summary}"
    );
    assert_eq!(catalog.merge_twins().aliases(), [ItemId(1)]);
}
