use std::collections::{BTreeSet, HashMap};

use convrec_catalog::{Catalog, normalise};
use convrec_core::{Example, ItemId, Role};

use crate::Scorer;
use crate::cooccurrence::ids;

/// The fewest training conversations in which a word must have been said.
const LEAST_CONVERSATIONS: u32 = 8;
/// The fewest letters of a word, as shorter words say little.
const LEAST_LETTERS: usize = 3;
/// The count of every item before any conversation was counted.
const PRIOR: f32 = 0.1;
/// The number of pseudo-conversations by which a word's items are smoothed towards all items.
const SMOOTHING: f32 = 20.0;
/// The exponent of each word's evidence, as the words of a conversation are not independent.
const TRUST: f32 = 0.3;

/// The words of a sample, and its relevant items.
type Said = (BTreeSet<String>, Vec<ItemId>);

/// A scorer by the items that were relevant where the same words were said: tempered naive Bayes.
/// It also works where no item was seen yet.
///
/// The score of item v is P(v) times, for every word w of the conversation, (1 + n(w, v) / (20
/// P(v)))^0.3. n(w, v) is the number of training samples that say w and in which v is relevant. A
/// training sample's own dialog is left out of the counts.
#[derive(Debug, Clone)]
pub struct WordScorer {
    right: Vec<u32>,
    /// The relevant items of each word, and how often they were.
    beside: HashMap<String, HashMap<ItemId, u32>>,
    /// The words and the ground truth of each dialog's samples.
    dialogs: HashMap<String, Vec<Said>>,
}

impl WordScorer {
    /// Counts the words and the ground truth of training examples. Items outside of the catalog are
    /// not counted.
    pub fn new(catalog: &Catalog, training: &[Example]) -> Self {
        let mut words = Self {
            right: vec![0; catalog.len()],
            beside: HashMap::new(),
            dialogs: HashMap::new(),
        };
        let mut said: HashMap<String, u32> = HashMap::new();
        for example in training {
            let sample = (words_of(example), ids(catalog, &example.ground_truth));
            sample
                .0
                .iter()
                .for_each(|word| *said.entry(word.clone()).or_default() += 1);
            words
                .dialogs
                .entry(example.dialog_id().to_string())
                .or_default()
                .push(sample);
        }
        for (sample_words, items) in words.dialogs.values_mut().flatten() {
            sample_words.retain(|word| said[word] >= LEAST_CONVERSATIONS);
            items.iter().for_each(|item| words.right[item.index()] += 1);
            for word in sample_words.iter() {
                let beside = words.beside.entry(word.clone()).or_default();
                items
                    .iter()
                    .for_each(|item| *beside.entry(*item).or_default() += 1);
            }
        }
        words
    }
}

impl Scorer for WordScorer {
    fn scores(&self, example: &Example) -> Vec<f32> {
        let own = self
            .dialogs
            .get(example.dialog_id())
            .map_or(&[][..], Vec::as_slice);
        let mut right = self.right.clone();
        own.iter()
            .flat_map(|(_, items)| items)
            .for_each(|item| right[item.index()] -= 1);
        let all: f32 = right.iter().map(|count| *count as f32 + PRIOR).sum();
        let prior: Vec<f32> = right
            .iter()
            .map(|count| (*count as f32 + PRIOR) / all)
            .collect();
        let mut logs = vec![0.0; prior.len()];
        for word in words_of(example) {
            let Some(beside) = self.beside.get(&word) else {
                continue;
            };
            let own: Vec<ItemId> = own
                .iter()
                .filter(|(words, _)| words.contains(&word))
                .flat_map(|(_, items)| items)
                .copied()
                .collect();
            for (item, count) in beside {
                let known = own.iter().filter(|own| *own == item).count();
                let others = *count as f32 - known as f32;
                logs[item.index()] += (others / (SMOOTHING * prior[item.index()])).ln_1p();
            }
        }
        let highest = logs.iter().copied().fold(0.0, f32::max);
        prior
            .into_iter()
            .zip(logs)
            .map(|(prior, log)| prior * (TRUST * (log - highest)).exp())
            .collect()
    }
}

pub(crate) fn words_of(example: &Example) -> BTreeSet<String> {
    let said = example
        .dialog
        .iter()
        .filter(|turn| turn.role != Role::System);
    said.flat_map(|turn| words_in(&turn.content)).collect()
}

/// The words of a text, with repetitions.
pub(crate) fn words_in(text: &str) -> Vec<String> {
    let text = normalise(text);
    let words = text
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| word.chars().count() >= LEAST_LETTERS);
    words.map(str::to_string).collect()
}
