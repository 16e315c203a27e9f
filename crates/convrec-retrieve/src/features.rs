//! What is counted about every item for a conversation, as numbers that weights can be given to.

use std::sync::Arc;

use convrec_catalog::Catalog;
use convrec_core::{Example, ItemId, Role};

use crate::conversation_text;
use crate::cooccurrence::ids;
use crate::genres::Genres;
use crate::vectors::VectorScorer;
use crate::word_vectors::WordVectors;
use crate::{
    Bm25Scorer, CooccurrenceScorer, PopularityScorer, Scorer, SimilarityScorer, WordScorer,
};

/// The sources, by the names that files know them by.
pub(crate) const SOURCES: [&str; 12] = [
    "together",
    "together_last",
    "lift",
    "named",
    "popularity",
    "similarity",
    "genres",
    "words",
    "bm25",
    "bm25_last",
    "vectors",
    "word_vectors",
];

/// Numbers that each source gives.
pub(crate) const FORMS: usize = 3;

/// The numbers of one item.
pub(crate) const FEATURES: usize = FORMS * SOURCES.len();

/// What a share of the highest score is raised by before its logarithm is taken.
const LEAST_SHARE: f32 = 0.001;

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) catalog: Arc<Catalog>,
    beside: CooccurrenceScorer,
    popularity: PopularityScorer,
    similarity: SimilarityScorer,
    genres: Genres,
    words: WordScorer,
    bm25: Bm25Scorer,
    vectors: VectorScorer,
    word_vectors: WordVectors,
}

impl Sources {
    pub(crate) fn new(catalog: &Catalog, training: &[Example]) -> Self {
        let shared = Arc::new(catalog.clone());
        let vectors = VectorScorer::of(&shared, training);
        Self {
            beside: CooccurrenceScorer::of(&shared, training),
            popularity: PopularityScorer::new(catalog, training),
            similarity: SimilarityScorer::of(&shared),
            genres: Genres::new(catalog),
            words: WordScorer::new(catalog, training),
            bm25: Bm25Scorer::new(catalog),
            word_vectors: WordVectors::new(catalog, training, &vectors),
            vectors,
            catalog: shared,
        }
    }

    /// Catalog items that were seen.
    pub(crate) fn seen(&self, example: &Example) -> Vec<ItemId> {
        ids(&self.catalog, &example.seen)
    }

    /// The scores of each source, none of them negative. Shape `[SOURCES][C]`.
    pub(crate) fn scores(&self, example: &Example) -> [Vec<f32>; SOURCES.len()] {
        let beside = self.beside.beside(example);
        let counts = self.popularity.counts(example);
        let mut said = example.dialog.iter().rev();
        let last = said.find(|turn| turn.role != Role::System);
        [
            beside.together,
            beside.together_last,
            beside.lift,
            beside.named,
            counts.into_iter().map(|count| count as f32).collect(),
            self.similarity.scores(example),
            self.genres.scores(&self.seen(example)),
            self.words.scores(example),
            self.bm25.for_text(&conversation_text(example)),
            self.bm25
                .for_text(last.map_or("", |turn| turn.content.as_str())),
            self.vectors.scores(example),
            self.word_vectors.scores(example, &self.vectors),
        ]
    }
}

/// The numbers that are made of one source's score s: ln(1 + s), its share of the highest score,
/// and the logarithm of that share.
pub(crate) fn forms(score: f32, highest: f32) -> [f32; FORMS] {
    let share = if highest > 0.0 { score / highest } else { 0.0 };
    [score.ln_1p(), share, (share + LEAST_SHARE).ln()]
}

/// The highest score of each source.
pub(crate) fn highest(scores: &[Vec<f32>; SOURCES.len()]) -> [f32; SOURCES.len()] {
    scores
        .each_ref()
        .map(|scores| scores.iter().copied().fold(0.0, f32::max))
}

/// Appends the numbers of one item.
pub(crate) fn features_of(
    item: ItemId,
    scores: &[Vec<f32>; SOURCES.len()],
    highest: &[f32; SOURCES.len()],
    features: &mut Vec<f32>,
) {
    for (scores, highest) in scores.iter().zip(highest) {
        features.extend(forms(scores[item.index()], *highest));
    }
}
