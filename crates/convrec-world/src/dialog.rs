//! Puts a taste into words.

use convrec_core::{Item, Turn};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use crate::features::{Feature, Kind};
use crate::taste::Taste;

/// The largest number of words of a conversation.
pub(crate) const MOST_WORDS: usize = 45;

/// The part of a taste that a user says: some of its features, and liked films.
pub(crate) struct Said {
    features: Vec<Feature>,
    disliked: Option<Feature>,
    liked: Vec<Item>,
}

impl Said {
    /// Each feature is said with the chance of its kind. At least one liked feature is said.
    pub(crate) fn draw(taste: &Taste, liked: Vec<Item>, rng: &mut impl Rng) -> Said {
        let wanted: Vec<Feature> = taste
            .weights
            .iter()
            .filter(|(_, weight)| **weight > 0.0)
            .map(|(f, _)| *f)
            .collect();
        let disliked = taste
            .weights
            .iter()
            .find(|(_, weight)| **weight < 0.0)
            .map(|(f, _)| *f);
        let mut features = Vec::new();
        while features.is_empty() {
            features = wanted
                .iter()
                .copied()
                .filter(|feature| rng.random_bool(chance(feature.kind())))
                .collect();
        }
        Said {
            features,
            disliked: disliked.filter(|_| rng.random_bool(0.8)),
            liked,
        }
    }

    /// The turns of the conversation: one, or three with the recommender's in the middle.
    pub(crate) fn into_turns(self, rng: &mut impl Rng) -> Vec<Turn> {
        let (liked, wish, dislike) = (self.liked_films(rng), self.wish(rng), self.dislike(rng));
        let texts = match rng.random_range(0..5) {
            0 => vec![join(&[&liked, &wish, &dislike])],
            1 => vec![join(&[&wish, &liked, &dislike])],
            2 => vec![join(&[
                pick(&["Hi!", "Hello!", "Hey there."], rng),
                &liked,
                &wish,
                &dislike,
            ])],
            3 => vec![liked, pick(&ASK_WISH, rng).into(), join(&[&wish, &dislike])],
            _ => vec![
                wish,
                pick(&ASK_LIKED, rng).into(),
                join(&[&liked, &dislike]),
            ],
        };
        let turn = |(place, text)| {
            if place % 2 == 0 {
                Turn::user(text)
            } else {
                Turn::assistant(text)
            }
        };
        texts.into_iter().enumerate().map(turn).collect()
    }

    fn liked_films(&self, rng: &mut impl Rng) -> String {
        let titles = and(self.liked.iter().map(|item| item.title.as_str()));
        let frame = match self.liked.len() {
            1 => pick(
                &[
                    "I loved {} a lot.",
                    "I really liked {} last week.",
                    "My favorite is {} so far.",
                ],
                rng,
            ),
            _ => pick(
                &[
                    "I loved {} a lot.",
                    "I really liked {} last week.",
                    "My favorites are {} so far.",
                ],
                rng,
            ),
        };
        frame.replace("{}", &titles)
    }

    fn wish(&self, rng: &mut impl Rng) -> String {
        let begin = pick(
            &[
                "I want",
                "I am looking for",
                "I am in the mood for",
                "Can you recommend",
                "Please suggest",
            ],
            rng,
        );
        let (good, noun) = (
            pick(&["a good", "a great", "another"], rng),
            pick(&["movie", "film"], rng),
        );
        let genres = self.phrases(Kind::Genre, rng).join(" ");
        let eras = self.phrases(Kind::Era, rng).join(" ");
        let themes = and(self.phrases(Kind::Theme, rng).into_iter());
        let about = if themes.is_empty() {
            ""
        } else {
            pick(&["with", "about"], rng)
        };
        let end = if begin.starts_with("Can") { "?" } else { "." };
        join(&[begin, good, &genres, noun, &eras, about, &themes]) + end
    }

    fn dislike(&self, rng: &mut impl Rng) -> String {
        let Some(genre) = self.disliked else {
            return String::new();
        };
        let frame = pick(
            &[
                "No {} please.",
                "But no {} please.",
                "Just not {} this time.",
            ],
            rng,
        );
        frame.replace("{}", genre.phrases()[0])
    }

    fn phrases(&self, kind: Kind, rng: &mut impl Rng) -> Vec<&'static str> {
        self.features
            .iter()
            .filter(|f| f.kind() == kind)
            .map(|f| pick(f.phrases(), rng))
            .collect()
    }
}

const ASK_WISH: [&str; 3] = [
    "Nice choice! What are you in the mood for?",
    "Great taste! Any genre or theme?",
    "What would you like to see now?",
];
const ASK_LIKED: [&str; 3] = [
    "Sure! What did you like before?",
    "Which films did you enjoy?",
    "Tell me what you loved.",
];

/// The chance that a feature of this kind is said.
fn chance(kind: Kind) -> f64 {
    match kind {
        Kind::Genre => 0.7,
        Kind::Theme => 0.75,
        Kind::Era => 0.7,
    }
}

fn pick<'a>(texts: &[&'a str], rng: &mut impl Rng) -> &'a str {
    texts.choose(rng).expect("there is always something to say")
}

/// The parts that are not empty, with spaces between.
fn join(parts: &[&str]) -> String {
    parts
        .iter()
        .filter(|part| !part.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join(" ")
}

fn and<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(" and ")
}
