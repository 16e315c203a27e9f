//! A scripted judge.

use std::collections::HashMap;

use convrec_core::{CatalogItem, Example};
use convrec_services::{Judge, Ratings, ServiceError};
use rand::RngExt;

use crate::seeded;
use crate::taste::Taste;
use crate::world::{World, gumbel};

/// The best part of the catalog that gets each rating, from 2 down to -1; the rest gets -2.
const PARTS: [(f64, i8); 4] = [(0.03, 2), (0.10, 1), (0.35, 0), (0.65, -1)];
/// Scale of the noise in the affinities.
const NOISE: f64 = 0.8;
const UNRATED: f64 = 0.05;

/// Rates films for conversations of the world from a noisy view of the true taste.
///
/// A film gets 2 when its affinity, with noise added, is among the best 3% of the catalog. It gets
/// 1 within 10%, 0 within 35%, -1 within 65%, else -2. One film in twenty is left unrated, and so
/// are films outside the catalog. The same seed, example and film give the same rating.
#[derive(Debug, Clone)]
pub struct WorldJudge {
    tastes: HashMap<String, Taste>,
    seed: u64,
}

impl WorldJudge {
    /// A judge of conversations; `tastes` has the taste behind each, by the example's id.
    pub fn new(tastes: HashMap<String, Taste>, seed: u64) -> Self {
        Self { tastes, seed }
    }
}

impl Judge for WorldJudge {
    fn rate(
        &self,
        example: &Example,
        candidates: &[&CatalogItem],
    ) -> Result<Ratings, ServiceError> {
        let taste = self.tastes.get(&example.id).ok_or_else(|| {
            let problem = format!(
                "the taste behind `{}` is not known; give the tastes of the split it is from",
                example.id
            );
            ServiceError::new("the world's judge", problem)
        })?;
        let world = World::embedded();
        let mut rng = seeded::rng(self.seed, "judge", &example.id);
        let mut view: Vec<f64> = world.affinities(taste);
        view.iter_mut()
            .for_each(|affinity| *affinity += NOISE * gumbel(&mut rng));
        let rated: Vec<bool> = view.iter().map(|_| !rng.random_bool(UNRATED)).collect();
        let mut sorted = view.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let rate = |item: &&CatalogItem| {
            let id = world.find(&item.item())?.index();
            let better = sorted.len() - sorted.partition_point(|score| *score <= view[id]);
            let part = better as f64 / sorted.len() as f64;
            rated[id].then(|| {
                PARTS
                    .iter()
                    .find(|(most, _)| part < *most)
                    .map_or(-2, |(_, rating)| *rating)
            })
        };
        Ok(candidates.iter().map(rate).collect())
    }
}
