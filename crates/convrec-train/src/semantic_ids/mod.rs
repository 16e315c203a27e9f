//! Semantic ids of a catalog, learned from vectors of its items.

mod clusters;
mod residual;
mod vectors;

use convrec_catalog::{Catalog, Embeddings};
use convrec_core::Demonstration;
use convrec_text::SemanticIds;

use self::residual::{residual_codes, tell_apart};

/// Semantic ids of all items of a catalog: `levels` codes below `codes`, and further ones where
/// several items have the same. The same input gives the same ids.
///
/// The vectors of the items are those of `embeddings`, whose rows must be as many as the items.
/// Without them a vector says beside what demonstrations list the item, and which words its text
/// has. A catalog of C items has at most √C codes a level, rounded up: it would not fill more.
///
/// # Panics
/// When there are other than C embeddings, and when `levels` is 0 or `codes` below 2.
pub fn semantic_ids(
    catalog: &Catalog,
    demonstrations: &[Demonstration],
    embeddings: Option<&Embeddings>,
    [levels, codes]: [usize; 2],
    seed: u64,
) -> SemanticIds {
    assert!(levels > 0 && codes > 1, "a code is one of several");
    let vectors = match embeddings {
        Some(embeddings) => vectors::of_embeddings(embeddings),
        None => vectors::of_catalog(catalog, demonstrations),
    };
    assert_eq!(vectors.len(), catalog.len(), "each item has its own vector");
    let codes = codes
        .min((catalog.len() as f64).sqrt().ceil() as usize)
        .max(2);
    let mut found = residual_codes(vectors, levels, codes, seed);
    tell_apart(&mut found, codes);
    let items = catalog.iter().map(|(_, item)| item.item());
    SemanticIds::new(items.zip(found))
}
