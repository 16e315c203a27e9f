use std::sync::Arc;

use convrec_catalog::{Bm25, Catalog, ENGLISH_STOP_WORDS};
use convrec_core::Example;

use crate::Scorer;
use crate::cooccurrence::ids;

/// A scorer by the similarity of an item's text to those of the seen items. It knows something
/// about items that nobody ever named.
///
/// The score of item v is the sum over the seen items j of BM25(v) / BM25(j), where the text of j
/// is the query.
#[derive(Debug)]
pub struct SimilarityScorer {
    catalog: Arc<Catalog>,
    texts: Bm25,
}

impl SimilarityScorer {
    /// Indexes the texts of the catalog.
    pub fn new(catalog: &Catalog) -> Self {
        Self::of(&Arc::new(catalog.clone()))
    }

    pub(crate) fn of(catalog: &Arc<Catalog>) -> Self {
        Self {
            catalog: catalog.clone(),
            texts: Bm25::new(
                catalog.iter().map(|(_, item)| item.text()),
                ENGLISH_STOP_WORDS,
            ),
        }
    }
}

impl Scorer for SimilarityScorer {
    fn scores(&self, example: &Example) -> Vec<f32> {
        let mut sum = vec![0.0; self.catalog.len()];
        for seen in ids(&self.catalog, &example.seen) {
            let scores = self.texts.scores(&self.catalog[seen].text());
            let own = scores[seen.index()];
            if own > 0.0 {
                sum.iter_mut()
                    .zip(scores)
                    .for_each(|(sum, score)| *sum += score / own);
            }
        }
        sum
    }
}
