//! Which training data can be used, by one rule for each fault, and how much was not.
//!
//! | fault | what becomes of it |
//! |---|---|
//! | an item of the ground truth or of a demonstration that is not in the catalog | refused |
//! | an item of the ground truth that was seen | the item is left out |
//! | a sample without any other item in its ground truth | the sample is left out |
//! | a seen or repeated item in a demonstration | the item is left out |
//! | a demonstration of more than N items | cut after the first N |
//! | a demonstration of fewer than N items | left out where N are needed, else used as it is |
//! | a demonstration without any item | left out |
//! | a prompt longer than the model's positions | its oldest turns are left out |
//! | a last turn longer than that | the sample is left out |

use std::fmt;

use convrec_catalog::Catalog;
use convrec_core::{Demonstration, Example, Item, ItemId};
use rayon::prelude::*;

use crate::task::{Sample, Task, TaskError, TokenPair};

/// How much of some data is used, and what was done with the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataReport {
    /// Samples or demonstrations that are used.
    pub used: usize,
    /// Samples left out because every item of their ground truth was seen, or there is none.
    pub without_ground_truth: usize,
    /// Items left out of a ground truth because they were seen.
    pub seen_ground_truth: usize,
    /// Items left out of a demonstration because they were seen.
    pub seen_items: usize,
    /// Items left out of a demonstration because they stand in it before.
    pub repeated_items: usize,
    /// Demonstrations cut after their first N items.
    pub cut: usize,
    /// Demonstrations of fewer than N items that are used.
    pub short: usize,
    /// Demonstrations left out because they have too few items.
    pub too_short: usize,
    /// Conversations whose oldest turns were left out of the prompt.
    pub shortened: usize,
    /// Samples or demonstrations left out because their last turn does not fit the model.
    pub too_long: usize,
}

impl DataReport {
    /// Whether all data is used as it is.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self
            == Self {
                used: self.used,
                ..Self::default()
            }
    }
}

/// One line: what is used, and each fault that was found with its count.
impl fmt::Display for DataReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} used", self.used)?;
        let faults = [
            (
                self.without_ground_truth,
                "left out, as no unseen item of the ground truth is left",
            ),
            (
                self.too_short,
                "left out, as they have too few usable items",
            ),
            (
                self.too_long,
                "left out, as their last turn does not fit the model",
            ),
            (
                self.shortened,
                "without their oldest turns, to fit the model",
            ),
            (self.cut, "cut to the length of the model's lists"),
            (
                self.short,
                "shorter than the model's lists, and used as they are",
            ),
            (
                self.seen_ground_truth,
                "items left out of the ground truth, as they were seen",
            ),
            (
                self.seen_items,
                "items left out of the lists, as they were seen",
            ),
            (
                self.repeated_items,
                "items left out of the lists, as they stand there before",
            ),
        ];
        let mut found = faults.iter().filter(|(count, _)| *count > 0);
        found.try_for_each(|(count, what)| write!(f, "; {count} {what}"))
    }
}

/// The samples that can be used, in ids.
///
/// # Errors
/// [`TaskError`] for the first sample that is refused.
pub fn samples(task: &Task, examples: &[Example]) -> Result<(Vec<Sample>, DataReport), TaskError> {
    let (mut samples, mut report) = (Vec::new(), DataReport::default());
    let made: Vec<_> = examples
        .par_iter()
        .map(|example| task.sample_and_cut(example))
        .collect();
    for (example, made) in examples.iter().zip(made) {
        let (sample, is_cut) = match made {
            Err(TaskError::TooLong { .. }) => {
                report.too_long += 1;
                continue;
            }
            sample => sample?,
        };
        let catalog = task.catalog();
        let seen = |item: &&Item| {
            catalog
                .find(item)
                .is_some_and(|id| sample.seen.contains(&id))
        };
        report.seen_ground_truth += example.ground_truth.iter().filter(seen).count();
        if sample.ground_truth.is_empty() {
            report.without_ground_truth += 1;
            continue;
        }
        report.shortened += usize::from(is_cut);
        samples.push(sample);
    }
    report.used = samples.len();
    Ok((samples, report))
}

/// The demonstrations that can be used, in ids. `whole` leaves out lists of fewer than N items.
///
/// # Errors
/// [`TaskError`] for the first demonstration that is refused.
pub fn pairs(
    task: &Task,
    demonstrations: &[Demonstration],
    whole: bool,
) -> Result<(Vec<TokenPair>, DataReport), TaskError> {
    let (mut pairs, mut report) = (Vec::new(), DataReport::default());
    let mut mended = Vec::new();
    for demonstration in demonstrations {
        let list = mend(task.catalog(), demonstration, &mut report);
        let n = task.n_ranks();
        if list.is_empty() || (whole && list.len() < n) {
            report.too_short += 1;
            continue;
        }
        report.cut += usize::from(list.len() > n);
        report.short += usize::from(list.len() < n);
        mended.push(Demonstration {
            list: list.into_iter().take(n).collect(),
            ..demonstration.clone()
        });
    }
    let made: Vec<_> = mended
        .par_iter()
        .map(|demonstration| task.pair_and_cut(demonstration))
        .collect();
    for read in made {
        match read {
            Err(TaskError::TooLong { .. }) => report.too_long += 1,
            read => {
                let (pair, is_cut) = read?;
                pairs.push(pair);
                report.shortened += usize::from(is_cut);
            }
        }
    }
    report.used = pairs.len();
    Ok((pairs, report))
}

/// The list of a demonstration without seen and repeated items. Items that are not in the catalog
/// stay: the task refuses them by name.
fn mend(catalog: &Catalog, demonstration: &Demonstration, report: &mut DataReport) -> Vec<Item> {
    let seen: Vec<ItemId> = catalog.seen_ids(&demonstration.example.seen);
    let mut listed = Vec::new();
    let mut kept = Vec::new();
    for item in &demonstration.list {
        match catalog.find(item) {
            Some(id) if seen.contains(&id) => report.seen_items += 1,
            Some(id) if listed.contains(&id) => report.repeated_items += 1,
            id => {
                listed.extend(id);
                kept.push(item.clone());
            }
        }
    }
    kept
}

/// At most `most` of some samples, evenly spread.
#[must_use]
pub fn evenly<T>(samples: Vec<T>, most: usize) -> Vec<T> {
    let stride = samples.len().div_ceil(most.max(1)).max(1);
    samples.into_iter().step_by(stride).collect()
}
