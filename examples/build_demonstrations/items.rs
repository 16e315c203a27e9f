//! Conversations without words.

use convrec_core::{Example, Turn};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Conversations without words: some items of a dialog are seen, the others are right.
pub fn item_conversations(examples: &[Example], count: usize, seed: u64) -> Vec<Example> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let items = |example: &Example| {
        let mut items = example.seen.clone();
        items.extend(example.groundtruth.iter().filter(|item| !example.seen.contains(item)).cloned());
        items
    };
    let rich: Vec<&Example> = examples.iter().filter(|example| items(example).len() > 1).collect();
    let draw = |index: usize| {
        let example = *rich.choose(&mut rng)?;
        let mut items = items(example);
        items.shuffle(&mut rng);
        let groundtruth = items.split_off(rng.random_range(1..=(items.len() - 1).min(4)));
        let id = format!("{}-items{index}", example.dialog_id());
        Some(Example { id, dialog: vec![Turn::user("")], seen: items, groundtruth })
    };
    (0..count).map_while(draw).collect()
}
