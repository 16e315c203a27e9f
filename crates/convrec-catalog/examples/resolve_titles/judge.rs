//! Measures how well names are resolved.

use convrec_catalog::{FuzzyIndex, Guess, YEAR_TOLERANCE};

use crate::queries::{Query, QuerySet};

/// A query with the guess of the index.
pub struct Judged<'q> {
    pub source: &'q str,
    pub query: &'q Query,
    pub guess: Guess,
}

pub fn guesses(sets: &[QuerySet]) -> Vec<Judged<'_>> {
    let mut judged = Vec::new();
    for set in sets {
        let index = FuzzyIndex::new(&set.catalog);
        let of = |query| Judged {
            source: &set.source,
            query,
            guess: index.resolve(&query.name, YEAR_TOLERANCE),
        };
        judged.extend(set.queries.iter().map(of));
    }
    judged
}

/// Counts of decisions.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// Names of items that are in the catalog.
    pub there: usize,
    /// Names that mean no item.
    pub not_there: usize,
    pub correct: usize,
    pub accepted: usize,
    /// Names that were accepted although no item would have been correct.
    pub false_accepts: usize,
}

impl Counts {
    pub fn of<'q>(judged: impl IntoIterator<Item = &'q Judged<'q>>, confidence: f64) -> Self {
        let mut counts = Self::default();
        for Judged { query, guess, .. } in judged {
            let id = guess.at_least(confidence);
            counts.there += usize::from(query.answer.is_some());
            counts.not_there += usize::from(query.answer.is_none());
            counts.accepted += usize::from(id.is_some());
            counts.correct += usize::from(id.is_some() && id == query.answer);
            counts.false_accepts += usize::from(id.is_some() && query.answer.is_none());
        }
        counts
    }

    pub fn n(&self) -> usize {
        self.there + self.not_there
    }

    pub fn precision(&self) -> f64 {
        self.correct as f64 / self.accepted as f64
    }

    pub fn recall(&self) -> f64 {
        self.correct as f64 / self.there as f64
    }

    pub fn abstained(&self) -> f64 {
        1.0 - self.accepted as f64 / self.n() as f64
    }

    pub fn false_accept_rate(&self) -> f64 {
        self.false_accepts as f64 / self.not_there as f64
    }

    /// The share of correct decisions: the item that is meant, or none where the name means none.
    pub fn accuracy(&self) -> f64 {
        (self.correct + self.not_there - self.false_accepts) as f64 / self.n() as f64
    }
}
