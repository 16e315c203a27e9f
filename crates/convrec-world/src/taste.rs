//! The likes of a user, with weights.

use std::collections::BTreeMap;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::features::{Feature, Kind};
use crate::films::Film;

/// Mean weights of a liked genre, theme and era, and the weight of a disliked genre.
pub(crate) const GENRE: f64 = 1.0;
pub(crate) const THEME: f64 = 2.0;
pub(crate) const ERA: f64 = 1.0;
pub(crate) const DISLIKED: f64 = -2.0;

/// A user's taste: a weight for some features, positive where the feature is liked.
///
/// The users of [`World::generate`](crate::World::generate) take theirs from a film, drawn evenly,
/// so that there is always something for them. With u even in 0.6..1.4, drawn anew for each
/// feature:
///
/// - one or two genres of the film, weight 1 u each
/// - two or three themes of the film (or the only one), weight 2 u each
/// - in 60% of cases its era, weight 1
/// - in 25% of cases a genre that it does not have, weight -2
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Taste {
    /// The weights. Features that are not in it weigh 0.
    pub weights: BTreeMap<Feature, f64>,
}

impl Taste {
    /// The sum of the weights of the film's features.
    pub fn of(&self, film: &Film) -> f64 {
        film.features
            .iter()
            .filter_map(|feature| self.weights.get(feature))
            .sum()
    }

    /// The taste of a new user.
    pub(crate) fn draw(films: &[Film], rng: &mut impl Rng) -> Taste {
        let film = films.choose(rng).expect("a world has films");
        let mut weights = BTreeMap::new();
        for (kind, mean, most) in [(Kind::Genre, GENRE, 2), (Kind::Theme, THEME, 3)] {
            let mut liked: Vec<Feature> = film
                .features
                .iter()
                .copied()
                .filter(|f| f.kind() == kind)
                .collect();
            liked.shuffle(rng);
            liked.truncate(rng.random_range(most - 1..=most));
            weights.extend(
                liked
                    .into_iter()
                    .map(|feature| (feature, mean * rng.random_range(0.6..1.4))),
            );
        }
        let era = film
            .features
            .iter()
            .copied()
            .find(|f| f.kind() == Kind::Era);
        weights.extend(era.filter(|_| rng.random_bool(0.6)).map(|era| (era, ERA)));
        if rng.random_bool(0.25) {
            let others =
                Feature::all().filter(|f| f.kind() == Kind::Genre && !film.features.contains(f));
            weights.extend(
                others
                    .collect::<Vec<_>>()
                    .choose(rng)
                    .map(|genre| (*genre, DISLIKED)),
            );
        }
        Taste { weights }
    }
}
