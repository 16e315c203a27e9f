use std::sync::Arc;

use convrec_catalog::Catalog;
use convrec_core::Example;

use crate::{Bm25Scorer, CooccurrenceScorer, MixedScorer, SimilarityScorer, WordScorer};

/// The scorers of the scripted teachers and of the scripted judge.
///
/// The weights of [`heuristic`](Self::heuristic) were found on ReDial's validation part.
#[derive(Debug)]
pub struct Scorers {
    /// Items that were named in the same dialogs.
    pub cooccurrence: CooccurrenceScorer,
    /// Items whose texts have the words of the conversation.
    pub bm25: Bm25Scorer,
    named_beside: CooccurrenceScorer,
    words: WordScorer,
    similarity: SimilarityScorer,
}

impl Scorers {
    /// Learns from these conversations which items are named together.
    pub fn new(catalog: &Catalog, examples: &[Example]) -> Self {
        let shared = Arc::new(catalog.clone());
        Self {
            cooccurrence: CooccurrenceScorer::of(&shared, examples),
            bm25: Bm25Scorer::new(catalog),
            named_beside: CooccurrenceScorer::of(&shared, examples).alone(),
            words: WordScorer::new(catalog, examples),
            similarity: SimilarityScorer::of(&shared),
        }
    }

    /// The scorer of the heuristic teacher: co-occurrence with the seen items, similarity to their
    /// texts, and the items that were relevant where the same words were said.
    #[must_use]
    pub fn heuristic(&self) -> MixedScorer<'_> {
        MixedScorer {
            parts: vec![
                (1.0, &self.named_beside),
                (0.6, &self.similarity),
                (0.02, &self.words),
            ],
        }
    }

    /// The scorer of the noisy teacher and of the scripted judge: co-occurrence and a little BM25.
    #[must_use]
    pub fn baseline(&self) -> MixedScorer<'_> {
        MixedScorer {
            parts: vec![(1.0, &self.cooccurrence), (0.1, &self.bm25)],
        }
    }
}
