//! A scripted black-box teacher.

use std::collections::HashMap;

use convrec_core::{CatalogItem, Example, Item};
use convrec_services::{Describer, Mistakes, ServiceError, Teacher};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::films::Film;
use crate::seeded;
use crate::taste::Taste;
use crate::world::{World, best, gumbel};

/// The teacher's bonus for the most famous film over the least famous one, in units of affinity.
const FAME: f64 = 5.0;
/// The chance that the teacher takes in a feature.
const TAKEN_IN: f64 = 0.9;
/// Scale of the noise at rank 1, and what each rank adds.
const NOISE: f64 = 0.5;
const NOISE_PER_RANK: f64 = 0.05;

/// Answers conversations of the world as a large language model does: it knows films, but not the
/// catalog.
///
/// It reads the taste from the conversation ([`World::shown_taste`]), forgets some of it and
/// misjudges the rest. It takes [`Film::fame`] for popularity and overrates it. It names films that
/// exist but are not in the catalog, and its choices get noisier down the list. It writes with
/// [`Mistakes`]. The same seed and example give the same answer.
#[derive(Debug, Clone)]
pub struct WorldTeacher {
    /// The seed of its errors.
    pub seed: u64,
    /// Errors of writing: invented titles, wrong years, duplicates, broken lines.
    pub mistakes: Mistakes,
}

impl WorldTeacher {
    /// A teacher with default mistakes. About 70% of its lines name a film of the catalog, 17% name
    /// one that is not in it, and the rest name none at all.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            mistakes: Mistakes {
                invented: 0.06,
                wrong_year: 0.04,
                ..Mistakes::default()
            },
        }
    }

    /// The ranking behind the answer, without mistakes of writing.
    fn ranking(&self, example: &Example, n: usize, rng: &mut ChaCha8Rng) -> Vec<Item> {
        let world = World::embedded();
        let taste = misread(world.shown_taste(example), rng);
        let mut left: Vec<(f64, Item)> = known(world)
            .map(|film| (taste.of(film) + FAME * film.fame, film.name()))
            .filter(|(_, name)| !example.seen.contains(name))
            .collect();
        let mut list = Vec::new();
        while list.len() < n && !left.is_empty() {
            let noise = NOISE + NOISE_PER_RANK * list.len() as f64;
            let next = best(left.iter().map(|(score, _)| score + noise * gumbel(rng)), 1)[0];
            list.push(left.swap_remove(next.index()).1);
        }
        list
    }
}

impl Teacher for WorldTeacher {
    fn recommend(&self, example: &Example, n: usize) -> Result<String, ServiceError> {
        let mut rng = seeded::rng(self.seed, "teacher", &example.id);
        let list = self.ranking(example, n, &mut rng);
        Ok(self.mistakes.write(&list, n, &mut rng))
    }
}

/// The teacher describes a title by the film whose title shares the rarest words with it. An
/// existing film is described by itself. An invented title is described by one of those that it was
/// made from.
impl Describer for WorldTeacher {
    fn describe(&self, item: &Item) -> Result<Option<String>, ServiceError> {
        let known: Vec<(Vec<String>, &Film)> = known(World::embedded())
            .map(|film| (words(&film.item.title), film))
            .collect();
        let mut films: HashMap<&String, f64> = HashMap::new();
        known
            .iter()
            .flat_map(|(title, _)| title)
            .for_each(|word| *films.entry(word).or_default() += 1.0);
        let rarity = |word: &String| 1.0 / films.get(word).unwrap_or(&1.0);
        let asked = words(&item.title);
        // The weighted Jaccard index of the two sets of words.
        let similarity = |title: &[String]| -> f64 {
            let (common, other): (Vec<_>, Vec<_>) =
                title.iter().partition(|word| asked.contains(word));
            let common: f64 = common.into_iter().map(rarity).sum();
            common
                / (asked.iter().map(rarity).sum::<f64>()
                    + other.into_iter().map(rarity).sum::<f64>())
        };
        let years_off = |film: &Film| {
            item.year
                .zip(film.item.year)
                .map(|(asked, year)| asked.abs_diff(year))
        };
        let nearest = known.iter().max_by(|(a, film), (b, other)| {
            similarity(a)
                .total_cmp(&similarity(b))
                .then_with(|| years_off(other).cmp(&years_off(film)))
        });
        let Item { title: name, year } = item.clone();
        let text = |film: &Film| {
            CatalogItem {
                title: name,
                year,
                ..film.item.clone()
            }
            .text()
        };
        Ok(nearest
            .filter(|(title, _)| similarity(title) > 0.0)
            .map(|(_, film)| text(film)))
    }
}

/// The films that the teacher knows.
fn known(world: &World) -> impl Iterator<Item = &Film> {
    world.films().iter().chain(world.elsewhere())
}

/// The words of a title, each once.
fn words(title: &str) -> Vec<String> {
    let mut words: Vec<String> = title
        .to_lowercase()
        .split_whitespace()
        .map(str::to_string)
        .collect();
    words.sort();
    words.dedup();
    words
}

fn misread(mut taste: Taste, rng: &mut ChaCha8Rng) -> Taste {
    taste.weights.retain(|_, _| rng.random_bool(TAKEN_IN));
    taste
        .weights
        .values_mut()
        .for_each(|weight| *weight *= rng.random_range(0.4..1.6));
    taste
}
