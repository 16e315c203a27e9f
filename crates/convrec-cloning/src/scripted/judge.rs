use convrec_catalog::Catalog;
use convrec_core::{CatalogItem, Example};
use rand::RngExt;

use super::Scorer;
use crate::{Judge, Ratings, ServiceError, stable};

/// Up to which share of the candidates, from the worst, each rating from -2 goes: the middle is rated 0.
const QUANTILES: [f64; 4] = [0.1, 0.3, 0.7, 0.9];

/// A judge that rates candidates by their place among each other in the order of a [`Scorer`]: the best tenth gets 2, the
/// next fifth 1, the worst tenth -2, the fifth above it -1, the rest 0. Equal scores get equal ratings.
///
/// The same sample and seed give the same ratings.
#[derive(Debug, Clone, Copy)]
pub struct ScriptedJudge<'a, S> {
    /// Where the candidates come from.
    pub catalog: &'a Catalog,
    /// The judge's taste.
    pub scorer: S,
    /// Chance per candidate of a rating that was drawn at random.
    pub noise: f64,
    /// Draws the noise.
    pub seed: u64,
}

impl<S: Scorer> Judge for ScriptedJudge<'_, S> {
    fn rate(&self, example: &Example, candidates: &[&CatalogItem]) -> Result<Ratings, ServiceError> {
        let scores = self.scorer.scores(example);
        let scores: Vec<Option<f32>> =
            candidates.iter().map(|item| self.catalog.find(&item.item()).map(|item| scores[item.index()])).collect();
        let mut rng = stable::rng(self.seed, &example.id);
        let rate = |score: Option<f32>| {
            // Drawn for every candidate, so that one rating does not depend on which others are noisy.
            let (noisy, random) = (rng.random_bool(self.noise.clamp(0.0, 1.0)), rng.random_range(-2..=2));
            score.map(|score| if noisy { random } else { rating(score, &scores) })
        };
        Ok(scores.iter().copied().map(rate).collect())
    }
}

fn rating(score: f32, all: &[Option<f32>]) -> i8 {
    let share = |hit: fn(f32, f32) -> bool| {
        all.iter().flatten().filter(|&&other| hit(other, score)).count() as f64 / all.len() as f64
    };
    // The middle of those that score the same.
    let quantile = share(|other, score| other < score) + share(|other, score| other == score) / 2.0;
    QUANTILES.iter().filter(|&&bound| quantile > bound).count() as i8 - 2
}

#[cfg(test)]
mod tests {
    use convrec_core::{ItemId, Turn};

    use super::*;

    struct ByPlace;

    impl Scorer for ByPlace {
        fn scores(&self, _: &Example) -> Vec<f32> {
            (0..200).map(|place| place as f32).collect()
        }
    }

    #[test]
    fn ratings_follow_the_order_among_the_candidates() {
        let item =
            |i: usize| CatalogItem { title: format!("film {i}"), year: None, genres: vec![], metadata: String::new() };
        let catalog = Catalog::new((0..200).map(item).collect()).unwrap();
        let example = Example { id: "a-1".into(), dialog: vec![Turn::user("hi")], seen: vec![], groundtruth: vec![] };
        let candidates: Vec<&CatalogItem> = (0..100).map(|i| &catalog[ItemId(i)]).collect();
        let rate = |noise: f64, seed: u64| {
            let judge = ScriptedJudge { catalog: &catalog, scorer: ByPlace, noise, seed };
            judge.rate(&example, &candidates).unwrap().into_iter().map(Option::unwrap).collect::<Vec<i8>>()
        };
        let clean = rate(0.0, 1);
        assert!(clean.is_sorted());
        assert_eq!([-2, -1, 0, 1, 2].map(|r| clean.iter().filter(|&&found| found == r).count()), [10, 20, 40, 20, 10]);
        let changed = |noisy: Vec<i8>| noisy.iter().zip(&clean).filter(|(a, b)| a != b).count();
        // Of 30 noisy ratings about a quarter are right by chance.
        assert!((12..35).contains(&changed(rate(0.3, 1))));
        assert_ne!(rate(0.3, 1), rate(0.3, 2));

        let stranger = item(777);
        let judge = ScriptedJudge { catalog: &catalog, scorer: ByPlace, noise: 0.0, seed: 1 };
        assert_eq!(judge.rate(&example, &[candidates[0], &stranger]).unwrap()[1], None);
    }
}
