//! Finds the item that an inexact name means, with a confidence.
//!
//! A title is read as plain words ([`name`]): without accents, marks and articles, with numbers as
//! digits. Its parts, as before and behind a colon, are further readings. An inverted index of
//! trigrams ([`grams`]) finds the readings that are most similar to those of a name. Each pair is
//! described by a few numbers ([`similarity`]), and a conditional logit turns these into a
//! confidence. With the score s of each candidate it is exp(s) / (1 + sum of exp(s) over all
//! candidates), where 1 stands for "none of them". A close runner-up lowers the confidence, and so
//! does a name that is similar to nothing.

mod grams;
mod name;
mod similarity;

use std::collections::HashSet;

use convrec_core::{Item, ItemId};

use grams::Grams;
use icu_properties::CodePointMapData;
use icu_properties::props::Script;
use name::{Kind, Name};
pub use similarity::{FEATURES, Features, N_FEATURES};
use similarity::{Query, Reading, WEIGHTS, Year, log_odds};

use crate::{Catalog, Resolution};

/// Readings of catalog titles that are compared in full, for each reading of a name.
const N_CANDIDATES: usize = 16;

/// The share of letters by which a part of a title or name must be nearer than the whole to be
/// preferred.
const PART_PENALTY: f64 = 0.15;

/// The share of letters above which a title is not looked at further.
const MOST_DISTANT: f64 = 0.4;

/// The item that a name most likely means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guess {
    /// The likeliest item; none where nothing is similar, or where the exact rules find several.
    pub best: Option<ItemId>,
    /// The probability that it is meant, from 0 to 1; 1 where the exact rules found it.
    pub confidence: f64,
}

impl Guess {
    const NONE: Self = Self {
        best: None,
        confidence: 0.0,
    };

    /// The item, where it is meant with at least this confidence. [`CONFIDENT`] is a good choice.
    pub fn at_least(self, confidence: f64) -> Option<ItemId> {
        self.best.filter(|_| self.confidence >= confidence)
    }
}

/// The confidence to ask of a [`Guess`] by default.
pub const CONFIDENT: f64 = 0.6;

/// An item that a name may mean, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The item.
    pub id: ItemId,
    /// The similarity of the name and the item in numbers, which [`FEATURES`] names.
    pub features: Features,
}

/// An index of a catalog for names that are spelled differently from its titles.
#[derive(Debug, Clone)]
pub struct FuzzyIndex<'c> {
    catalog: &'c Catalog,
    grams: Grams,
    /// The words of all readings, one behind the other.
    words: String,
    readings: Vec<Place>,
    vocabulary: HashSet<Box<str>>,
}

/// A reading of a title.
#[derive(Debug, Clone, Copy)]
struct Place {
    item: ItemId,
    /// The end of its words. They begin where those of the reading before end.
    end: u32,
    kind: Kind,
}

impl<'c> FuzzyIndex<'c> {
    /// Indexes the titles of a catalog.
    pub fn new(catalog: &'c Catalog) -> Self {
        let (mut words, mut readings, mut vocabulary) = (String::new(), Vec::new(), HashSet::new());
        for (id, item) in catalog.iter() {
            for view in Name::read(&item.title, item.year).views {
                words.push_str(&view.words);
                for word in view.words.split(' ').filter(|_| view.kind.whole()) {
                    if !vocabulary.contains(word) {
                        vocabulary.insert(word.into());
                    }
                }
                let end =
                    u32::try_from(words.len()).expect("the titles have fewer than 2^32 letters");
                readings.push(Place {
                    item: id,
                    end,
                    kind: view.kind,
                });
            }
        }
        let grams = Grams::new(readings.len(), |n| text(&words, &readings, n));
        Self {
            catalog,
            grams,
            words,
            readings,
            vocabulary,
        }
    }

    /// The item that a name means: by [`Catalog::resolve`] where that finds one, else the most
    /// similar item.
    ///
    /// Where the exact rules find several items, there is no guess. A title whose year is more than
    /// `year_tolerance` off is as often a remake as a mistake: its confidence is about a third.
    pub fn resolve(&self, item: &Item, year_tolerance: u32) -> Guess {
        match self.catalog.resolve(item, year_tolerance) {
            Resolution::NotFound => self.guess(item),
            Resolution::Ambiguous(_) => Guess::NONE,
            found => Guess {
                best: found.id(),
                confidence: 1.0,
            },
        }
    }

    /// The items most similar to a name, the most likely one first; at most `n`.
    #[must_use]
    pub fn nearest(&self, item: &Item, n: usize) -> Vec<ItemId> {
        let candidates = self.candidates(item);
        let mut odds: Vec<(f64, ItemId)> = candidates
            .iter()
            .map(|candidate| (log_odds(&candidate.features, &WEIGHTS), candidate.id))
            .collect();
        odds.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        odds.into_iter().take(n).map(|(_, id)| id).collect()
    }

    fn guess(&self, item: &Item) -> Guess {
        let mut candidates = self.candidates(item);
        let odds: Vec<f64> = candidates
            .iter()
            .map(|candidate| log_odds(&candidate.features, &WEIGHTS).exp())
            .collect();
        let all = 1.0 + odds.iter().sum::<f64>();
        let best = (0..odds.len()).max_by(|&a, &b| odds[a].total_cmp(&odds[b]).then(b.cmp(&a)));
        best.map_or(Guess::NONE, |best| Guess {
            best: Some(candidates.swap_remove(best).id),
            confidence: odds[best] / all,
        })
    }

    /// The items that are compared with a name in full, by id.
    pub fn candidates(&self, item: &Item) -> Vec<Candidate> {
        let name = Name::read(&item.title, item.year);
        let mut pairs: Vec<Pair<'_>> = Vec::new();
        for view in &name.views {
            let query = Query::new(view);
            for near in self.grams.nearest(&view.words, N_CANDIDATES) {
                let Place { item: id, kind, .. } = self.readings[near as usize];
                if !kind.whole() && !view.kind.whole() {
                    continue;
                }
                let title = Reading {
                    words: text(&self.words, &self.readings, near as usize),
                    kind,
                };
                let distance = query.distance(title.words);
                if distance > MOST_DISTANT {
                    continue;
                }
                let year = Year::between(name.year, self.catalog[id].year);
                let features =
                    query.features(title, distance, year, |word| self.vocabulary.contains(word));
                let whole = kind.whole() && view.kind.whole();
                let preference = distance + if whole { 0.0 } else { PART_PENALTY };
                pairs.push(Pair {
                    id,
                    preference,
                    words: title.words,
                    year,
                    features,
                });
            }
        }
        pairs.sort_by(|a, b| a.id.cmp(&b.id).then(a.preference.total_cmp(&b.preference)));
        pairs.dedup_by_key(|pair| pair.id);
        // An item with the named year has no rivals among items of the same title with another year
        // or none.
        let near: HashSet<&str> = pairs
            .iter()
            .filter(|pair| pair.year.near())
            .map(|pair| pair.words)
            .collect();
        pairs.retain(|pair| pair.year.near() || !near.contains(pair.words));
        pairs
            .into_iter()
            .map(|Pair { id, features, .. }| Candidate { id, features })
            .collect()
    }
}

/// A reading of a name beside a reading of a title.
struct Pair<'a> {
    id: ItemId,
    /// The reading of an item with the smallest preference counts.
    preference: f64,
    words: &'a str,
    year: Year,
    features: Features,
}

/// The letters and digits of a title as plain text: no case, articles, accents, punctuation and
/// spaces, numbers as digits. `None` where letters are not Latin or nothing is left.
pub(crate) fn plain_letters(title: &str, year: Option<i32>) -> Option<String> {
    let scripts = CodePointMapData::<Script>::new();
    let plain = |c: char| {
        c.is_ascii() || !c.is_alphabetic() || {
            matches!(
                scripts.get(c),
                Script::Latin | Script::Common | Script::Inherited
            )
        }
    };
    if !title.chars().all(plain) {
        return None;
    }
    let whole = Name::read(title, year).views.into_iter().next()?;
    whole.kind.whole().then(|| whole.words.replace(' ', ""))
}

fn text<'a>(words: &'a str, readings: &[Place], n: usize) -> &'a str {
    let start = n.checked_sub(1).map_or(0, |before| readings[before].end);
    &words[start as usize..readings[n].end as usize]
}
