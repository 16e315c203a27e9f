use std::fmt;

use convrec_catalog::{Bm25, Catalog, ENGLISH_STOP_WORDS};
use convrec_core::Example;

use crate::conversation_text;

/// A function that scores every item of a catalog for a conversation. Higher is better. Seen items
/// are scored like others.
pub trait Scorer: Send + Sync {
    /// One score for each catalog item. Shape `[C]`.
    fn scores(&self, example: &Example) -> Vec<f32>;
}

impl<S: Scorer + ?Sized> Scorer for &S {
    fn scores(&self, example: &Example) -> Vec<f32> {
        (**self).scores(example)
    }
}

/// A scorer by BM25 of the items' texts for the words of the conversation.
#[derive(Debug, Clone)]
pub struct Bm25Scorer(Bm25);

impl Bm25Scorer {
    /// The scores of the items' texts for the words of a text. Shape `[C]`.
    pub(crate) fn for_text(&self, text: &str) -> Vec<f32> {
        self.0.scores(text)
    }

    /// Indexes the texts of the catalog.
    pub fn new(catalog: &Catalog) -> Self {
        Self(Bm25::new(
            catalog.iter().map(|(_, item)| item.text()),
            ENGLISH_STOP_WORDS,
        ))
    }
}

impl Scorer for Bm25Scorer {
    fn scores(&self, example: &Example) -> Vec<f32> {
        self.0.scores(&conversation_text(example))
    }
}

/// A weighted sum of scorers, each divided by its highest score for the conversation, so that
/// weights compare.
///
/// Scores below 0 and scorers whose highest score is 0 are taken as they are.
pub struct MixedScorer<'a> {
    /// The scorers with their weights. All of them score the same catalog.
    pub parts: Vec<(f32, &'a dyn Scorer)>,
}

impl fmt::Debug for MixedScorer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weights = self.parts.iter().map(|(weight, _)| weight);
        f.debug_list().entries(weights).finish()
    }
}

/// # Panics
/// When the scorers are for catalogs of different sizes.
impl Scorer for MixedScorer<'_> {
    fn scores(&self, example: &Example) -> Vec<f32> {
        let mut sum: Vec<f32> = Vec::new();
        for (weight, scorer) in &self.parts {
            let scores = scorer.scores(example);
            let highest = scores.iter().copied().fold(0.0, f32::max);
            let factor = if highest > 0.0 {
                weight / highest
            } else {
                *weight
            };
            if sum.is_empty() {
                sum = vec![0.0; scores.len()];
            }
            assert_eq!(
                sum.len(),
                scores.len(),
                "scorers of catalogs of different sizes"
            );
            sum.iter_mut()
                .zip(scores)
                .for_each(|(sum, score)| *sum += factor * score);
        }
        sum
    }
}
