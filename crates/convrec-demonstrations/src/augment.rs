//! Conversations made from others: without words, or without items.

use convrec_catalog::Catalog;
use convrec_core::{Example, Turn};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Makes at most `count` conversations without words. Some items of a dialog are seen, one to four
/// others are relevant. There are none where no dialog names two items.
#[must_use]
pub fn item_conversations(examples: &[Example], count: usize, seed: u64) -> Vec<Example> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let items = |example: &Example| {
        let mut items = example.seen.clone();
        items.extend(
            example
                .ground_truth
                .iter()
                .filter(|item| !example.seen.contains(item))
                .cloned(),
        );
        items
    };
    let rich: Vec<&Example> = examples
        .iter()
        .filter(|example| items(example).len() > 1)
        .collect();
    let draw = |index: usize| {
        let example = *rich.choose(&mut rng)?;
        let mut items = items(example);
        items.shuffle(&mut rng);
        let ground_truth = items.split_off(rng.random_range(1..=(items.len() - 1).min(4)));
        let id = format!("{}-items{index}", example.dialog_id());
        Some(Example {
            id,
            dialog: vec![Turn::user("")],
            seen: items,
            ground_truth,
        })
    };
    (0..count).map_while(draw).collect()
}

/// Makes a conversation without words for each item of the catalog, in which it was seen. No item
/// is relevant in it.
pub fn every_item(catalog: &Catalog) -> impl Iterator<Item = Example> {
    catalog.iter().map(|(id, item)| Example {
        id: format!("item-{}", id.0),
        dialog: vec![Turn::user("")],
        seen: vec![item.item()],
        ground_truth: vec![],
    })
}

/// Makes the conversations in which items were seen anew, as if none were.
pub fn without_seen(examples: &[Example]) -> impl Iterator<Item = Example> {
    let with_seen = examples.iter().filter(|example| !example.seen.is_empty());
    with_seen.map(|example| Example {
        id: format!("{}-words", example.id),
        seen: vec![],
        ..example.clone()
    })
}
