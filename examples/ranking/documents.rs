//! Candidates of BM25 with features.

use std::collections::HashSet;
use std::error::Error;

use convrec::catalog::{Bm25, ENGLISH_STOP_WORDS, top_k};
use convrec::prelude::*;

/// The candidates of each query, with their features.
pub struct Candidates {
    pub ids: Vec<Vec<ItemId>>,
    pub features: Vec<Vec<[f64; FEATURES]>>,
    pub relevant: Vec<HashSet<ItemId>>,
    pub dialogs: Vec<String>,
}

/// The features of a document:
/// - its BM25 score for all turns and for the last one
/// - the share of the title's words that are said
/// - the words that document and seen documents share
/// - how often it was relevant before
pub const FEATURES: usize = 5;

fn words(text: &str) -> HashSet<String> {
    let words = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

fn share(of: &HashSet<String>, other: &HashSet<String>) -> f64 {
    of.intersection(other).count() as f64 / of.len().max(1) as f64
}

impl Candidates {
    /// The best `n` documents of BM25 for each query, without those seen.
    pub fn new(
        catalog: &Catalog,
        train: &[Example],
        queries: &[Example],
        n: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let texts: Vec<String> = catalog.iter().map(|(_, item)| item.text()).collect();
        let bm25 = Bm25::new(&texts, ENGLISH_STOP_WORDS);
        let texts: Vec<HashSet<String>> = texts.iter().map(|text| words(text)).collect();
        let mut found = Self {
            ids: vec![],
            features: vec![],
            relevant: vec![],
            dialogs: vec![],
        };
        for query in queries {
            let said: Vec<&str> = query
                .dialog
                .iter()
                .map(|turn| turn.content.as_str())
                .collect();
            let (all, last) = (
                bm25.scores(&said.join(" ")),
                bm25.scores(said[said.len() - 1]),
            );
            let items = catalog.example_ids(query)?;
            // A dialog must not know its own answer.
            let others = train
                .iter()
                .filter(|other| other.dialog_id() != query.dialog_id());
            let truths: Vec<ItemId> = others
                .flat_map(|other| catalog.seen_ids(&other.ground_truth))
                .collect();
            let said = words(&said.join(" "));
            let seen: HashSet<String> = items
                .seen
                .iter()
                .flat_map(|id| texts[id.0 as usize].iter().cloned())
                .collect();
            let best = top_k(&all, n + items.seen.len());
            let best = best
                .into_iter()
                .filter(|(id, _)| !items.seen.contains(id))
                .take(n);
            let (ids, features) = best
                .map(|(id, score)| {
                    let place = id.0 as usize;
                    let before = truths.iter().filter(|truth| **truth == id).count() as f64;
                    let title = words(&catalog[id].title);
                    let features = [
                        f64::from(score) / 5.0,
                        f64::from(last[place]) / 5.0,
                        share(&title, &said),
                        share(&texts[place], &seen),
                        (1.0 + before).ln(),
                    ];
                    (id, features)
                })
                .unzip();
            found.ids.push(ids);
            found.features.push(features);
            found
                .relevant
                .push(items.ground_truth.into_iter().collect());
            found.dialogs.push(query.dialog_id().to_string());
        }
        Ok(found)
    }
}
