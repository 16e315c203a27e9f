use std::collections::BTreeMap;

use convrec_catalog::Catalog;
use convrec_core::ItemId;

/// How alike the genres of items are.
#[derive(Debug)]
pub(crate) struct Genres {
    /// By item: the places of its genres, ascending.
    of: Vec<Vec<u32>>,
    n_genres: usize,
}

impl Genres {
    pub(crate) fn new(catalog: &Catalog) -> Self {
        let mut known: BTreeMap<String, u32> = BTreeMap::new();
        let mut of = Vec::with_capacity(catalog.len());
        for (_, item) in catalog.iter() {
            let mut genres: Vec<u32> = item
                .genres
                .iter()
                .map(|genre| {
                    let next = known.len() as u32;
                    *known.entry(genre.to_lowercase()).or_insert(next)
                })
                .collect();
            genres.sort_unstable();
            genres.dedup();
            of.push(genres);
        }
        Self {
            of,
            n_genres: known.len(),
        }
    }

    /// The cosine of each item's genres and those of the seen items together. Shape `[C]`.
    pub(crate) fn scores(&self, seen: &[ItemId]) -> Vec<f32> {
        let mut profile = vec![0.0f32; self.n_genres];
        for genre in seen.iter().flat_map(|id| &self.of[id.index()]) {
            profile[*genre as usize] += 1.0;
        }
        let norm = profile.iter().map(|x| x * x).sum::<f32>().sqrt().max(1.0);
        let score = |genres: &Vec<u32>| {
            let shared: f32 = genres.iter().map(|genre| profile[*genre as usize]).sum();
            shared / (norm * (genres.len().max(1) as f32).sqrt())
        };
        self.of.iter().map(score).collect()
    }
}
