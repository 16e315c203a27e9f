//! Vectors of items from demonstrations.

use convrec_catalog::Catalog;
use convrec_core::{CatalogItem, Demonstration, Example, Item};
use convrec_train::item_factors;

const ITEMS: usize = 12;

fn name(n: usize) -> Item {
    Item {
        title: format!("film {n}"),
        year: None,
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Two groups of items, listed only for seen items of their own.
#[test]
fn items_that_are_listed_for_each_other_have_like_vectors() {
    let item = |n| CatalogItem {
        title: name(n).title,
        year: None,
        genres: vec![],
        metadata: String::new(),
    };
    let catalog = Catalog::new((0..ITEMS).map(item).collect()).unwrap();
    let demonstration = |n: usize| Demonstration {
        example: Example {
            id: format!("{n}-1"),
            dialog: vec![],
            seen: vec![name(n)],
            ground_truth: vec![],
        },
        list: (0..ITEMS)
            .filter(|other| *other != n && other % 2 == n % 2)
            .map(name)
            .collect(),
    };
    let demonstrations: Vec<Demonstration> = (0..ITEMS).map(demonstration).collect();
    assert_eq!(
        item_factors(&catalog, &demonstrations, ITEMS + 2)[0].len(),
        ITEMS + 2
    );
    // Two numbers are enough to tell two groups apart.
    let vectors = item_factors(&catalog, &demonstrations, 2);
    assert_eq!(vectors, item_factors(&catalog, &demonstrations, 2));
    let cosine = |a: usize, b: usize| {
        let [a, b] = [&vectors[a], &vectors[b]];
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    assert!(cosine(0, 2) > 0.9 && cosine(1, 5) > 0.9 && cosine(0, 1).abs() < 0.1);
}
