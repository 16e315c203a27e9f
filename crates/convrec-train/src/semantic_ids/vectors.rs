//! Vectors of items, from what demonstrations list together and from the catalog's words.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use convrec_catalog::{Catalog, Embeddings};
use convrec_core::{Demonstration, Item, ItemId};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::clusters::Vectors;
use crate::item_factors::item_factors;

/// The numbers of each half of a vector.
const HALF: usize = 32;
/// The length of the half of words. That of the other half is 1.
const WORDS: f32 = 0.5;

pub(super) fn of_embeddings(embeddings: &Embeddings) -> Vectors {
    let rows = embeddings.rows();
    Vectors {
        width: rows.ncols(),
        numbers: rows.iter().copied().collect(),
    }
}

/// A vector of two halves for each item. The first has length 1 and says beside what the item is
/// listed ([`item_factors`]); it is zeros where the item is in no demonstration. The second has
/// length 1/2 and says which words the item's text has. Items that nobody listed are so told apart
/// by their words.
pub(super) fn of_catalog(catalog: &Catalog, demonstrations: &[Demonstration]) -> Vectors {
    let mut numbers = Vec::with_capacity(catalog.len() * 2 * HALF);
    let named = named(catalog, demonstrations);
    let factors = item_factors(catalog, demonstrations, HALF);
    for ((id, factors), words) in (0..).map(ItemId).zip(factors).zip(words(catalog)) {
        let length = if named.contains(&id) { 1.0 } else { 0.0 };
        numbers.extend(scaled(&factors, length));
        numbers.extend(scaled(&words, WORDS));
    }
    let width = 2 * HALF;
    Vectors { numbers, width }
}

/// The items that are listed where another item was seen, and those seen. Others have no factors.
fn named(catalog: &Catalog, demonstrations: &[Demonstration]) -> HashSet<ItemId> {
    let mut named = HashSet::new();
    for demonstration in demonstrations {
        let ids = |items: &[Item]| -> HashSet<ItemId> {
            items.iter().filter_map(|item| catalog.find(item)).collect()
        };
        let (seen, listed) = (ids(&demonstration.example.seen), ids(&demonstration.list));
        if !seen.is_empty() && !listed.is_empty() && seen.union(&listed).count() > 1 {
            named.extend(seen.union(&listed));
        }
    }
    named
}

/// The vector in this length; zeros stay zeros.
fn scaled(vector: &[f32], length: f32) -> impl Iterator<Item = f32> {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    let factor = if norm > 0.0 { length / norm } else { 0.0 };
    vector.iter().map(move |x| x * factor)
}

/// A vector of each item's words: the sum of a random vector of signs for each word, times the
/// logarithm of the inverse share of items with it. Words of one item alone make it like no other,
/// and are left out.
fn words(catalog: &Catalog) -> impl Iterator<Item = [f32; HALF]> {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for (_, item) in catalog.iter() {
        for word in words_in(&item.text()) {
            *counts.entry(word).or_default() += 1;
        }
    }
    let counts = counts.into_iter().filter(|(_, items)| *items > 1);
    let row = |(place, (word, items)): (u64, (String, u32))| {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        rng.set_stream(place);
        let weight = (catalog.len() as f32 / items as f32).ln();
        let signs: u32 = rng.random();
        let number = |k: usize| if signs >> k & 1 == 1 { weight } else { -weight };
        (word, std::array::from_fn(number))
    };
    let rows: BTreeMap<String, [f32; HALF]> = (0..).zip(counts).map(row).collect();
    catalog.iter().map(move |(_, item)| {
        let mut sum = [0.0; HALF];
        for row in words_in(&item.text())
            .iter()
            .filter_map(|word| rows.get(word))
        {
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        sum
    })
}

/// The different words of a text, in small letters.
fn words_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use convrec_core::{CatalogItem, Example};

    use super::*;

    fn catalog() -> Catalog {
        let texts = [
            "crime heist",
            "crime heist",
            "space robots",
            "space robots",
            "unique",
        ];
        let item = |(n, text): (usize, &&str)| CatalogItem {
            title: format!("T{n}"),
            year: None,
            genres: vec![],
            metadata: text.to_string(),
        };
        Catalog::new(texts.iter().enumerate().map(item).collect()).unwrap()
    }

    fn distance(vectors: &Vectors, a: usize, b: usize) -> f32 {
        let pairs = vectors.get(a).iter().zip(vectors.get(b));
        pairs.map(|(a, b)| (a - b).powi(2)).sum()
    }

    #[test]
    fn items_that_nobody_listed_are_near_to_those_of_the_same_words() {
        let vectors = of_catalog(&catalog(), &[]);
        assert_eq!(vectors.len(), 5);
        assert_eq!(
            (distance(&vectors, 0, 1), distance(&vectors, 2, 3)),
            (0.0, 0.0)
        );
        assert!(distance(&vectors, 0, 2) > 0.1);
        // Its only words are its own.
        assert!(vectors.get(4).iter().all(|x| *x == 0.0));
    }

    #[test]
    fn what_is_listed_together_counts_more_than_words() {
        let catalog = catalog();
        let item = |n: u32| catalog[ItemId(n)].item();
        let demonstration = |(n, [seen, listed]): (usize, [u32; 2])| Demonstration {
            example: Example {
                id: format!("{n}-1"),
                dialog: vec![],
                seen: vec![item(seen)],
                ground_truth: vec![],
            },
            list: vec![item(listed)],
        };
        // 0 and 2 go together, and 1 and 3, against their words.
        let pairs = [[0, 2], [2, 0], [1, 3], [3, 1]];
        let pairs: Vec<_> = pairs.into_iter().enumerate().map(demonstration).collect();
        let vectors = of_catalog(&catalog, &pairs);
        assert!(distance(&vectors, 0, 2) < distance(&vectors, 0, 1));
        assert!(distance(&vectors, 1, 3) < distance(&vectors, 1, 0));
        assert!(vectors.get(4).iter().all(|x| *x == 0.0));
    }
}
