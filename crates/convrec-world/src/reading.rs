//! Estimates the taste behind a conversation.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use convrec_core::{Example, Role};

use crate::features::{Feature, Kind};
use crate::taste::{self, Taste};
use crate::world::World;

impl World {
    /// An estimate of the taste from the conversation alone.
    ///
    /// A feature that the user says gets the mean weight of its kind, or -2 after "no" and "not"
    /// (see [`Taste`]). Any other feature of the films in `seen` gets 0.4 of that, times its
    /// share among these films.
    pub fn shown_taste(&self, example: &Example) -> Taste {
        let mut weights: BTreeMap<_, _> = said(example)
            .into_iter()
            .map(|(f, wanted)| (f, weight(f, wanted)))
            .collect();
        let liked: Vec<_> = example
            .seen
            .iter()
            .filter_map(|item| self.find(item))
            .collect();
        let mut guessed = BTreeMap::new();
        for feature in liked
            .iter()
            .flat_map(|id| &self.films()[id.index()].features)
        {
            *guessed.entry(*feature).or_default() +=
                UNSAID * weight(*feature, true) / liked.len() as f64;
        }
        for (feature, guess) in guessed {
            weights.entry(feature).or_insert(guess);
        }
        Taste { weights }
    }
}

/// The weight of a feature that all liked films have, as a share of its weight when said.
const UNSAID: f64 = 0.4;

fn weight(feature: Feature, wanted: bool) -> f64 {
    match feature.kind() {
        _ if !wanted => taste::DISLIKED,
        Kind::Genre => taste::GENRE,
        Kind::Theme => taste::THEME,
        Kind::Era => taste::ERA,
    }
}

/// The features that the user's turns name, and whether they are wanted.
pub(crate) fn said(example: &Example) -> Vec<(Feature, bool)> {
    /// The longest phrases come first, so that "the cold war" is found before "war". Spaces around
    /// a phrase make sure that only whole words are found.
    static PHRASES: LazyLock<Vec<(String, Feature)>> = LazyLock::new(|| {
        let all = Feature::all().flat_map(|f| {
            f.phrases()
                .iter()
                .map(move |phrase| (format!(" {phrase} "), f))
        });
        let mut phrases: Vec<_> = all.collect();
        phrases.sort_by_key(|(phrase, _)| std::cmp::Reverse(phrase.len()));
        phrases
    });
    let turns = example.dialog.iter().filter(|turn| turn.role == Role::User);
    let words = turns.flat_map(|turn| turn.content.split_whitespace());
    let words: Vec<&str> = words
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
        .collect();
    let mut text = format!(" {} ", words.join(" "));
    let mut found = Vec::new();
    for (phrase, feature) in PHRASES.iter() {
        while let Some(at) = text.find(phrase.as_str()) {
            let before = text[..at].to_lowercase();
            found.push((
                *feature,
                !before.ends_with(" no") && !before.ends_with(" not"),
            ));
            text.replace_range(at..at + phrase.len(), " | ");
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use convrec_core::{Item, Turn};

    use super::*;
    use crate::WorldConfig;

    #[test]
    fn whole_phrases_are_read_longest_first() {
        let dialog = vec![
            Turn::user("Hi! I want a sci-fi film with con artists and the cold war."),
            Turn::assistant("Something with vampires?"),
            Turn::user("I loved Cars and Wild Warriors. No scary please."),
        ];
        let example = Example {
            id: "a-1".into(),
            dialog,
            seen: vec![],
            ground_truth: vec![],
        };
        let mut found: Vec<_> = said(&example)
            .into_iter()
            .map(|(f, wanted)| (f.name(), wanted))
            .collect();
        found.sort();
        let expected = [
            ("Horror", false),
            ("Science Fiction", true),
            ("cold war", true),
            ("con artists", true),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn only_what_the_taste_holds_is_read_from_a_conversation() {
        let world = World::embedded();
        let split = world.generate(&WorldConfig {
            seed: 11,
            n_train: 3000,
            n_validation: 0,
            n_test: 0,
        });
        let mut read = 0;
        for example in &split.train {
            let said = said(example);
            let weights = &split.tastes[&example.id].weights;
            assert!(said.iter().any(|(_, wanted)| *wanted), "{example:?}");
            read += said.len();
            for (feature, wanted) in said {
                assert_eq!(
                    weights.get(&feature).map(|w| *w > 0.0),
                    Some(wanted),
                    "{feature} in {example:?}"
                );
            }
        }
        // About .7 of the features are said.
        let held: usize = split.tastes.values().map(|taste| taste.weights.len()).sum();
        assert!(
            (0.65..0.85).contains(&(read as f64 / held as f64)),
            "{read} of {held}"
        );
    }

    #[test]
    fn liked_films_fill_in_what_was_not_said() {
        let world = World::embedded();
        let seen = vec![Item::new("Heat", 1995), Item::new("Toy Story", 1995)];
        let dialog = vec![Turn::user(
            "I loved Heat and Toy Story. I want a crime movie.",
        )];
        let taste = world.shown_taste(&Example {
            id: "a-1".into(),
            dialog,
            seen,
            ground_truth: vec![],
        });
        let weight = |name: &str| taste.weights[&Feature::try_from(name.to_string()).unwrap()];
        assert_eq!(weight("Crime"), 1.0);
        assert!(
            (weight("heist") - 0.4).abs() < 1e-12,
            "half of the films, theme weight 2"
        );
        assert!(
            (weight("the nineties") - 0.4).abs() < 1e-12,
            "all films, era weight 1"
        );
    }
}
