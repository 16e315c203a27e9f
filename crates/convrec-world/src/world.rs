//! The films, and the law by which a taste chooses among them.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::LazyLock;

use convrec_core::{CatalogItem, Item, ItemId};
use rand::{Rng, RngExt};

use crate::films::{self, Film};
use crate::seeded;
use crate::taste::Taste;

/// The bonus of the most popular film over the least popular one, in units of affinity.
const POPULARITY: f64 = 2.5;
/// The scale of the noise between popularity among users and fame.
const FAVOURITES: f64 = 0.4;
/// The temperature of a choice. The lower it is, the more likely a user takes the best film.
const TEMPERATURE: f64 = 0.6;

/// Films and the law by which users choose among them.
///
/// With w the weights of a [`Taste`], F_i the features of film i and q_i in 0..=1 its
/// [popularity](World::popularity):
///
/// - affinity: `a_i = sum of w_f over f in F_i + 2.5 q_i`
/// - choice: `p_i = exp(a_i / 0.6) / sum of exp(a_j / 0.6) over the films j that were not seen`
///
/// A user's ground truth is m films drawn one after the other by p, without replacement (the
/// Plackett-Luce model). A film of higher affinity is at least as likely to be in it, whatever m
/// is. [`World::oracle_ranking`] sorts by affinity, so no list has a higher expected Recall or
/// NDCG. Its mean score is the best possible one.
#[derive(Debug)]
pub struct World {
    films: Vec<Film>,
    popularity: Vec<f64>,
    elsewhere: Vec<Film>,
    ids: HashMap<Item, ItemId>,
}

impl World {
    /// The bundled world.
    pub fn embedded() -> &'static World {
        static WORLD: LazyLock<World> =
            LazyLock::new(|| World::new(films::catalog(), films::elsewhere()));
        &WORLD
    }

    fn new(films: Vec<Film>, elsewhere: Vec<Film>) -> World {
        let ids = films
            .iter()
            .zip(0..)
            .map(|(film, id)| (film.name(), ItemId(id)))
            .collect();
        World {
            popularity: popularity(&films),
            films,
            elsewhere,
            ids,
        }
    }

    /// The films of the catalog; the place of a film is its [`ItemId`].
    pub fn films(&self) -> &[Film] {
        &self.films
    }

    /// The films as a catalog.
    pub fn catalog(&self) -> Vec<CatalogItem> {
        self.films.iter().map(|film| film.item.clone()).collect()
    }

    /// Films that exist but are not in the catalog: a teacher knows them.
    pub fn elsewhere(&self) -> &[Film] {
        &self.elsewhere
    }

    /// The film of that title and year; `None` where the catalog has none.
    pub fn find(&self, item: &Item) -> Option<ItemId> {
        self.ids.get(item).copied()
    }

    /// The popularity of each film of the catalog among users, the same for every seed. It is
    /// `1 - ln(rank) / ln(number of films)`, Zipf's law in logarithms. Users have their own
    /// favourites: the ranks are those of fame with much noise.
    pub fn popularity(&self) -> &[f64] {
        &self.popularity
    }

    /// The title and year of a film.
    ///
    /// # Panics
    /// When the catalog has no such place.
    pub fn name(&self, id: ItemId) -> Item {
        self.films[id.index()].name()
    }

    /// The affinity of each film of the catalog.
    pub fn affinities(&self, taste: &Taste) -> Vec<f64> {
        let films = self.films.iter().zip(&self.popularity);
        films
            .map(|(film, popularity)| taste.of(film) + POPULARITY * popularity)
            .collect()
    }

    /// The chance that each film of the catalog is the first to be chosen; 0 for those in `seen`.
    pub fn probabilities(&self, taste: &Taste, seen: &[Item]) -> Vec<f64> {
        let logits = self.logits(taste, seen);
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut shares: Vec<f64> = logits.iter().map(|logit| (logit - max).exp()).collect();
        let sum: f64 = shares.iter().sum();
        shares.iter_mut().for_each(|share| *share /= sum);
        shares
    }

    /// `m` films as a user of that taste draws them, `seen` excluded: a ground truth.
    pub fn choose(
        &self,
        taste: &Taste,
        seen: &[Item],
        m: usize,
        rng: &mut impl Rng,
    ) -> Vec<ItemId> {
        // The m largest of the logits with Gumbel noise added are m draws without replacement.
        let keys = self
            .logits(taste, seen)
            .into_iter()
            .map(|logit| logit + gumbel(rng));
        best(keys, m)
    }

    /// For each film the share of `draws` draws in which it is among the `m` films that
    /// [`World::choose`] chooses.
    ///
    /// With c this share, the expected Recall@k of any list is the sum of c over its first k films,
    /// divided by m. Its expected DCG@k is the sum of c / log2(rank + 1).
    pub fn inclusion(
        &self,
        taste: &Taste,
        seen: &[Item],
        m: usize,
        draws: usize,
        rng: &mut impl Rng,
    ) -> Vec<f64> {
        let mut shares = vec![0.0; self.films.len()];
        for _ in 0..draws {
            for id in self.choose(taste, seen, m, rng) {
                shares[id.index()] += 1.0 / draws as f64;
            }
        }
        shares
    }

    /// The best list of `n` films for a known taste; `seen` is left out.
    ///
    /// With the taste of [`World::shown_taste`] it is the best list that the text of a conversation
    /// allows.
    pub fn oracle_ranking(&self, taste: &Taste, seen: &[Item], n: usize) -> Vec<ItemId> {
        best(self.logits(taste, seen).into_iter(), n)
    }

    /// The `n` most popular films; `seen` is left out.
    pub fn popularity_ranking(&self, seen: &[Item], n: usize) -> Vec<ItemId> {
        self.oracle_ranking(&Taste::default(), seen, n)
    }

    /// Affinities divided by the temperature; minus infinity for films in `seen`.
    fn logits(&self, taste: &Taste, seen: &[Item]) -> Vec<f64> {
        let mut logits: Vec<f64> = self
            .affinities(taste)
            .into_iter()
            .map(|a| a / TEMPERATURE)
            .collect();
        for id in seen.iter().filter_map(|item| self.find(item)) {
            logits[id.index()] = f64::NEG_INFINITY;
        }
        logits
    }
}

fn popularity(films: &[Film]) -> Vec<f64> {
    let mut rng = seeded::rng(0, "popularity", "");
    let order = best(
        films
            .iter()
            .map(|film| film.fame + FAVOURITES * gumbel(&mut rng)),
        films.len(),
    );
    let mut popularity = vec![0.0; films.len()];
    for (id, rank) in order.into_iter().zip(1..) {
        popularity[id.index()] = 1.0 - f64::from(rank).ln() / (films.len() as f64).ln();
    }
    popularity
}

/// A draw from the standard Gumbel law.
pub(crate) fn gumbel(rng: &mut impl Rng) -> f64 {
    -(-rng.random_range(f64::MIN_POSITIVE..1.0).ln()).ln()
}

/// The places of the `n` largest keys, largest first, equal ones in their order. Keys of minus
/// infinity are left out.
pub(crate) fn best(keys: impl Iterator<Item = f64>, n: usize) -> Vec<ItemId> {
    let mut keyed: Vec<(f64, u32)> = keys
        .zip(0..)
        .filter(|(key, _)| *key > f64::NEG_INFINITY)
        .collect();
    let order =
        |a: &(f64, u32), b: &(f64, u32)| -> Ordering { b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)) };
    if n < keyed.len() {
        keyed.select_nth_unstable_by(n, order);
        keyed.truncate(n);
    }
    keyed.sort_unstable_by(order);
    keyed.into_iter().map(|(_, place)| ItemId(place)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn taste(rng: &mut ChaCha8Rng) -> Taste {
        Taste::draw(World::embedded().films(), rng)
    }

    #[test]
    fn first_choices_come_as_often_as_their_probability() {
        let (world, mut rng) = (World::embedded(), ChaCha8Rng::seed_from_u64(1));
        let taste = taste(&mut rng);
        let seen = [world.name(world.oracle_ranking(&taste, &[], 1)[0])];
        let expected = world.probabilities(&taste, &seen);
        assert!((expected.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let draws = 20_000;
        let found = world.inclusion(&taste, &seen, 1, draws, &mut rng);
        for (p, share) in expected.iter().zip(found) {
            let error = (p * (1.0 - p) / draws as f64).sqrt();
            assert!(
                (p - share).abs() <= 4.5 * error + 2.0 / draws as f64,
                "{p} expected, {share} drawn"
            );
        }
    }

    #[test]
    fn the_second_choice_is_drawn_from_what_is_left() {
        // Plackett-Luce: P(i in 2) = p_i + sum over j != i of p_j p_i / (1 - p_j).
        let (world, mut rng) = (World::embedded(), ChaCha8Rng::seed_from_u64(2));
        let taste = taste(&mut rng);
        let p = world.probabilities(&taste, &[]);
        let found = world.inclusion(&taste, &[], 2, 20_000, &mut rng);
        assert!((found.iter().sum::<f64>() - 2.0).abs() < 1e-9);
        for i in 0..p.len() {
            let second: f64 = (0..p.len())
                .filter(|j| *j != i)
                .map(|j| p[j] * p[i] / (1.0 - p[j]))
                .sum();
            assert!(
                (p[i] + second - found[i]).abs() < 0.017,
                "{} expected, {} drawn",
                p[i] + second,
                found[i]
            );
        }
    }

    #[test]
    fn the_oracle_lists_films_by_how_likely_they_are() {
        let (world, mut rng) = (World::embedded(), ChaCha8Rng::seed_from_u64(3));
        let taste = taste(&mut rng);
        let shares = world.inclusion(&taste, &[], 4, 20_000, &mut rng);
        let list = world.oracle_ranking(&taste, &[], 8);
        assert!(
            list.windows(2)
                .all(|pair| shares[pair[0].index()] > shares[pair[1].index()] - 0.02)
        );
        let others = shares
            .iter()
            .zip(0..)
            .filter(|(_, id)| !list.contains(&ItemId(*id)))
            .map(|(share, _)| *share);
        assert!(others.fold(0.0, f64::max) <= shares[list[7].index()] + 0.02);
    }

    proptest! {
        #[test]
        fn best_is_a_sort_cut_short(
            keys in prop::collection::vec(prop_oneof![Just(f64::NEG_INFINITY), (0..9).prop_map(f64::from)], 0..40),
            n in 0usize..50,
        ) {
            let mut slow: Vec<usize> = (0..keys.len())
                .filter(|place| keys[*place].is_finite())
                .collect();
            slow.sort_by(|a, b| keys[*b].total_cmp(&keys[*a]));
            slow.truncate(n);
            let fast: Vec<usize> = best(keys.into_iter(), n)
                .iter()
                .map(|id| id.index())
                .collect();
            prop_assert_eq!(fast, slow);
        }

        #[test]
        fn choices_are_distinct_and_not_seen(seed: u64, m in 1usize..10, seen in 0usize..5) {
            let (world, mut rng) = (World::embedded(), ChaCha8Rng::seed_from_u64(seed));
            let taste = taste(&mut rng);
            let seen: Vec<Item> = world
                .choose(&taste, &[], seen, &mut rng)
                .into_iter()
                .map(|id| world.name(id))
                .collect();
            let mut chosen = world.choose(&taste, &seen, m, &mut rng);
            prop_assert!(chosen.iter().all(|id| !seen.contains(&world.name(*id))));
            chosen.sort();
            chosen.dedup();
            prop_assert_eq!(chosen.len(), m);
        }
    }
}
