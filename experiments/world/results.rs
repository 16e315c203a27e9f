//! The results of all variants, over all seeds.

use std::ops::Range;

use convrec_metrics::JudgedList;
use convrec_metrics::stats::Error;
use convrec_train::Record;
use quickstart::N;

use crate::evidence::{Evidence, mean};
use crate::outcome::{Done, Judged};

/// Records of a log that are averaged at its beginning and at its end, as one batch says little.
const WINDOW: usize = 5;

/// The finished variants.
pub struct Results {
    /// The seeds of their runs.
    pub seeds: Vec<u64>,
    /// The variants.
    pub variants: Vec<Runs>,
    /// For each seed, the best lists by each user's known taste.
    pub best: Vec<Vec<JudgedList>>,
}

/// The runs of a variant.
pub struct Runs {
    /// The variant's name.
    pub name: String,
    /// One a seed.
    pub done: Vec<Done>,
}

/// The kind of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// Only lists of N different unseen catalog items can be written.
    Constrained,
    /// Any text can be written.
    Unconstrained,
}

impl Lists {
    /// The lists of this kind of a variant.
    pub fn of(self, done: &Done) -> &Judged {
        match self {
            Lists::Constrained => &done.outcome.constrained,
            Lists::Unconstrained => &done.outcome.unconstrained,
        }
    }
}

impl Results {
    /// The variant of that name, if it was run.
    pub fn variant(&self, name: &str) -> Option<&Runs> {
        self.variants.iter().find(|variant| variant.name == name)
    }
}

impl Runs {
    /// A value of each list, by seed.
    pub fn values(&self, lists: Lists, of: &dyn Fn(&JudgedList) -> f64) -> Vec<Vec<f64>> {
        let seed = |done: &Done| {
            lists
                .of(done)
                .lists
                .iter()
                .map(|list| of(&list.judged()))
                .collect()
        };
        self.done.iter().map(seed).collect()
    }

    /// This variant minus another, by some measure.
    ///
    /// # Errors
    /// As [`Evidence::paired`].
    pub fn less(
        &self,
        other: &Runs,
        lists: Lists,
        of: &dyn Fn(&JudgedList) -> f64,
    ) -> Result<Evidence, Error> {
        Evidence::paired(&self.values(lists, of), &other.values(lists, of))
    }

    /// A number at the beginning and at the end of training, for each seed; empty where there was
    /// none.
    pub fn ends(&self, of: &dyn Fn(&Record) -> Option<f64>) -> Vec<[f64; 2]> {
        let of_run = |done: &Done| ends(&done.log, of);
        self.done.iter().filter_map(of_run).collect()
    }

    /// Whether training was stopped, or lost half of the reward that it began with, by seed.
    pub fn diverged(&self) -> Vec<bool> {
        let ends = self.ends(&|record| number(record, "dcg"));
        let fell = |seed: usize| {
            ends.get(seed)
                .is_some_and(|[first, last]| *last < first / 2.0)
        };
        self.done
            .iter()
            .enumerate()
            .map(|(seed, done)| done.outcome.stopped.is_some() || fell(seed))
            .collect()
    }
}

/// A number at the beginning and at the end of a log; none where it was never logged.
pub fn ends(log: &[Record], of: &dyn Fn(&Record) -> Option<f64>) -> Option<[f64; 2]> {
    let curve: Vec<f64> = log.iter().filter_map(of).collect();
    let window = WINDOW.min(curve.len().div_ceil(2));
    (window > 0).then(|| [mean(&curve[..window]), mean(&curve[curve.len() - window..])])
}

/// A number of a record.
pub fn number(record: &Record, field: &str) -> Option<f64> {
    record.get(field)?.as_f64()
}

/// The mean relevance of some ranks of the rollouts.
pub fn relevance(record: &Record, ranks: Range<usize>) -> Option<f64> {
    let values = record.get("rank_relevance")?.as_array()?;
    let values: Vec<f64> = values
        .get(ranks)?
        .iter()
        .filter_map(serde_json::Value::as_f64)
        .collect();
    Some(mean(&values))
}

/// The share of some ranks that hit.
pub fn hits(list: &JudgedList, ranks: Range<usize>) -> f64 {
    let n = ranks.len();
    ranks
        .filter(|rank| list.hits().get(*rank).copied().unwrap_or(false))
        .count() as f64
        / n as f64
}

/// For each rank the share of lists that hit there.
pub fn hits_per_rank<'a>(lists: impl Iterator<Item = &'a JudgedList> + Clone) -> Vec<f64> {
    (0..N)
        .map(|rank| {
            mean(
                &lists
                    .clone()
                    .map(|list| hits(list, rank..rank + 1))
                    .collect::<Vec<_>>(),
            )
        })
        .collect()
}
