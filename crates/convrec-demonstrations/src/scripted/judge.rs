use convrec_catalog::Catalog;
use convrec_core::{CatalogItem, Example};
use rand::RngExt;

use super::Scorer;
use crate::{Judge, Ratings, ServiceError, ratings_by_order, stable};

/// A judge that rates candidates by their order under a [`Scorer`], as [`ratings_by_order`] does.
///
/// The same sample and seed give the same ratings.
#[derive(Debug, Clone, Copy)]
pub struct ScriptedJudge<'a, S> {
    /// The catalog of the candidates.
    pub catalog: &'a Catalog,
    /// The scorer that ranks them.
    pub scorer: S,
    /// The chance of each candidate that its rating is drawn at random.
    pub noise: f64,
    /// The seed of the noise.
    pub seed: u64,
}

impl<S: Scorer> Judge for ScriptedJudge<'_, S> {
    fn rate(
        &self,
        example: &Example,
        candidates: &[&CatalogItem],
    ) -> Result<Ratings, ServiceError> {
        let scores = self.scorer.scores(example);
        let scores: Vec<Option<f32>> = candidates
            .iter()
            .map(|item| {
                self.catalog
                    .find(&item.item())
                    .map(|item| scores[item.index()])
            })
            .collect();
        let mut rng = stable::rng(self.seed, &example.id);
        let disturb = |rating: Option<i8>| {
            // Noise is drawn for every candidate, so that one rating does not depend on the other
            // noisy ones.
            let (noisy, random) = (
                rng.random_bool(self.noise.clamp(0.0, 1.0)),
                rng.random_range(-2..=2),
            );
            rating.map(|rating| if noisy { random } else { rating })
        };
        Ok(ratings_by_order(&scores).into_iter().map(disturb).collect())
    }
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
        let item = |i: usize| CatalogItem {
            title: format!("film {i}"),
            year: None,
            genres: vec![],
            metadata: String::new(),
        };
        let catalog = Catalog::new((0..200).map(item).collect()).unwrap();
        let example = Example {
            id: "a-1".into(),
            dialog: vec![Turn::user("hi")],
            seen: vec![],
            ground_truth: vec![],
        };
        let candidates: Vec<&CatalogItem> = (0..100).map(|i| &catalog[ItemId(i)]).collect();
        let rate = |noise: f64, seed: u64| {
            let judge = ScriptedJudge {
                catalog: &catalog,
                scorer: ByPlace,
                noise,
                seed,
            };
            judge
                .rate(&example, &candidates)
                .unwrap()
                .into_iter()
                .map(Option::unwrap)
                .collect::<Vec<i8>>()
        };
        let clean = rate(0.0, 1);
        assert!(clean.is_sorted());
        assert_eq!(
            [-2, -1, 0, 1, 2].map(|r| clean.iter().filter(|&&found| found == r).count()),
            [10, 20, 40, 20, 10]
        );
        let changed = |noisy: Vec<i8>| noisy.iter().zip(&clean).filter(|(a, b)| a != b).count();
        // Of 30 noisy ratings about a quarter are right by chance.
        assert!((12..35).contains(&changed(rate(0.3, 1))));
        assert_ne!(rate(0.3, 1), rate(0.3, 2));

        let stranger = item(777);
        let judge = ScriptedJudge {
            catalog: &catalog,
            scorer: ByPlace,
            noise: 0.0,
            seed: 1,
        };
        assert_eq!(
            judge.rate(&example, &[candidates[0], &stranger]).unwrap()[1],
            None
        );
    }
}
