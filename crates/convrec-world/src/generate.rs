//! Conversations by users whose taste is known.

use std::collections::{HashMap, HashSet};

use convrec_core::{Example, Item, ItemId};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::dialog::{MOST_WORDS, Said};
use crate::seeded;
use crate::taste::Taste;
use crate::world::World;

/// The number of conversations to generate, and their seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldConfig {
    /// The seed of users and conversations. The films are the same for all seeds.
    pub seed: u64,
    /// Number of examples to train on.
    pub n_train: usize,
    /// Number of examples to choose settings by.
    pub n_validation: usize,
    /// Number of examples to report on.
    pub n_test: usize,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            n_train: 4000,
            n_validation: 300,
            n_test: 500,
        }
    }
}

/// Generated conversations, and the tastes behind them.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Examples `world-train-1-1`, `world-train-2-1`, ...
    pub train: Vec<Example>,
    /// Examples `world-validation-1-1`, ...
    pub validation: Vec<Example>,
    /// Examples `world-test-1-1`, ...
    pub test: Vec<Example>,
    /// The taste behind each example, by its id.
    pub tastes: HashMap<String, Taste>,
}

impl World {
    /// Conversations in which users with a known taste say some of it.
    ///
    /// Each user has a taste that some film meets. The user names 1 to 3 films chosen by it
    /// (`seen`) and says some of its features. The ground truth is 3 to 6 further films chosen by
    /// it. A conversation has one turn or three and at most 45 words. No two are the same.
    ///
    /// The same config gives the same split. A larger number of training examples changes neither
    /// the other parts nor the earlier training examples.
    pub fn generate(&self, config: &WorldConfig) -> Split {
        let (mut tastes, mut told) = (HashMap::new(), HashSet::new());
        let mut part = |name: &str, count: usize| -> Vec<Example> {
            (1..=count)
                .map(|number| {
                    let id = format!("world-{name}-{number}-1");
                    let (example, taste) = self.converse(config.seed, &id, &mut told);
                    tastes.insert(id, taste);
                    example
                })
                .collect()
        };
        // The training part comes last, so that its size does not change the others.
        let (test, validation) = (
            part("test", config.n_test),
            part("validation", config.n_validation),
        );
        let train = part("train", config.n_train);
        Split {
            train,
            validation,
            test,
            tastes,
        }
    }

    fn converse(&self, seed: u64, id: &str, told: &mut HashSet<String>) -> (Example, Taste) {
        let mut rng = seeded::rng(seed, "conversation", id);
        loop {
            let taste = Taste::draw(self.films(), &mut rng);
            let seen = self.names(self.choose(&taste, &[], rng.random_range(1..=3), &mut rng));
            let ground_truth =
                self.names(self.choose(&taste, &seen, rng.random_range(3..=6), &mut rng));
            let dialog = Said::draw(&taste, seen.clone(), &mut rng).into_turns(&mut rng);
            let text = dialog
                .iter()
                .map(|turn| turn.content.as_str())
                .collect::<Vec<_>>()
                .join("\n");
            if text.split_whitespace().count() <= MOST_WORDS && told.insert(text) {
                return (
                    Example {
                        id: id.into(),
                        dialog,
                        seen,
                        ground_truth,
                    },
                    taste,
                );
            }
        }
    }

    fn names(&self, ids: Vec<ItemId>) -> Vec<Item> {
        ids.into_iter().map(|id| self.name(id)).collect()
    }
}
