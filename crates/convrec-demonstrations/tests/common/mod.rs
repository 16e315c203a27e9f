//! A small catalog and a conversation about it.
#![allow(dead_code, reason = "each test file uses a part")]

use convrec_catalog::Catalog;
use convrec_core::{CatalogItem, Example, Item, Turn};

/// Heat, Ronin, Alien and Up.
pub fn catalog() -> Catalog {
    let item = |(title, year, metadata): (&str, i32, &str)| CatalogItem {
        title: title.into(),
        year: Some(year),
        genres: vec![],
        metadata: metadata.into(),
    };
    let items = [
        ("Heat", 1995, "bank robbers and a detective"),
        ("Ronin", 1998, "mercenaries and a case"),
        ("Alien", 1979, "a monster on a spaceship"),
        ("Up", 2009, "a house and balloons"),
    ];
    Catalog::new(items.map(item).into()).unwrap()
}

/// A conversation of a user who loved Heat; Ronin is relevant.
pub fn example(id: &str) -> Example {
    Example {
        id: id.into(),
        dialog: vec![Turn::user("I loved Heat (1995)")],
        seen: vec![Item::new("Heat", 1995)],
        ground_truth: vec![Item::new("Ronin", 1998)],
    }
}
