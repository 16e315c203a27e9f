//! Which training data can be used, by one rule for each fault, and how much was not.
//!
//! | fault | what becomes of it |
//! |---|---|
//! | an item of the ground truth or of a demonstration that is not in the catalog | the sample is refused, or skipped with `--skip-bad` |
//! | an item of the ground truth that was seen | the item is left out |
//! | a sample without any other item in its ground truth | the sample is left out |
//! | a seen or repeated item in a demonstration | the item is left out |
//! | a demonstration of more than N items | cut after the first N |
//! | a demonstration of fewer than N items | left out where N are needed, else used as it is |
//! | a demonstration without any item | left out |
//! | a prompt longer than the model's positions | its oldest turns are left out |
//! | a last turn longer than that | the sample is left out |

use std::collections::HashMap;
use std::fmt;

use convrec_catalog::{Catalog, YEAR_TOLERANCE};
use convrec_core::{
    BadRow, BadRowPolicy, BadRows, Candidates, Demonstration, Example, Item, ItemId,
};
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
                "left out, as they have no ground truth that is not seen",
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
    let (samples, report) = samples_in_order(task, examples)?;
    Ok((samples.into_iter().flatten().collect(), report))
}

/// One entry for each example: the sample in ids, or `None` where it cannot be used.
///
/// # Errors
/// As [`samples`].
pub fn samples_in_order(
    task: &Task,
    examples: &[Example],
) -> Result<(Vec<Option<Sample>>, DataReport), TaskError> {
    let mut report = DataReport::default();
    let made = examples
        .par_iter()
        .map(|example| task.sample_and_cut(example));
    let made: Vec<_> = made.collect();
    let samples = examples.iter().zip(made).map(|(example, made)| {
        let (sample, is_cut) = match made {
            Err(TaskError::TooLong { .. }) => {
                report.too_long += 1;
                return Ok(None);
            }
            made => made?,
        };
        if !has_ground_truth(task.catalog(), example, &sample.seen, &mut report) {
            return Ok(None);
        }
        report.used += 1;
        report.shortened += usize::from(is_cut);
        Ok(Some(sample))
    });
    let samples = samples.collect::<Result<Vec<_>, TaskError>>()?;
    Ok((samples, report))
}

/// A conversation to be answered, in ids; it needs no ground truth.
///
/// # Errors
/// [`TaskError`], also where its last turn does not fit the model.
pub fn conversation(task: &Task, example: &Example) -> Result<(Sample, DataReport), TaskError> {
    let (sample, is_cut) = task.sample_and_cut(example)?;
    let report = DataReport {
        used: 1,
        shortened: usize::from(is_cut),
        ..DataReport::default()
    };
    Ok((sample, report))
}

/// The examples on which a list can be right: those with ground truth that was not seen. The report
/// counts the others.
#[must_use]
pub fn with_ground_truth(catalog: &Catalog, examples: Vec<Example>) -> (Vec<Example>, DataReport) {
    let mut report = DataReport::default();
    let mut kept = examples;
    kept.retain(|example| {
        let seen = catalog.seen_ids(&example.seen);
        has_ground_truth(catalog, example, &seen, &mut report)
    });
    report.used = kept.len();
    (kept, report)
}

/// How much the ground truth of conversations can teach, where all of them are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// Conversations.
    pub conversations: usize,
    /// Those without any item of the catalog in their ground truth that was not seen.
    pub without_ground_truth: usize,
    /// Items of a ground truth that were seen.
    pub seen_ground_truth: usize,
    /// Items of a ground truth that are not in the catalog, or mean several of its items.
    pub unknown_ground_truth: usize,
}

/// One line: how many conversations there are, and each fault that was found with its count.
impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} used", self.conversations)?;
        let faults = [
            (
                self.without_ground_truth,
                "teach Adjust nothing, as no unseen item of the catalog is in their ground truth",
            ),
            (
                self.seen_ground_truth,
                "items left out of the ground truth, as they were seen",
            ),
            (
                self.unknown_ground_truth,
                "items left out of the ground truth, as they are not in the catalog",
            ),
        ];
        let mut found = faults.iter().filter(|(count, _)| *count > 0);
        found.try_for_each(|(count, what)| write!(f, "; {count} {what}"))
    }
}

/// What the ground truth of conversations holds.
#[must_use]
pub fn survey(catalog: &Catalog, examples: &[Example]) -> Survey {
    let mut found = Survey {
        conversations: examples.len(),
        ..Survey::default()
    };
    for example in examples {
        let seen = catalog.seen_ids(&example.seen);
        let mut is_left = false;
        for item in &example.ground_truth {
            match catalog.find_within(item, YEAR_TOLERANCE) {
                None => found.unknown_ground_truth += 1,
                Some(id) if seen.contains(&id) => found.seen_ground_truth += 1,
                Some(_) => is_left = true,
            }
        }
        found.without_ground_truth += usize::from(!is_left);
    }
    found
}

/// The rows whose items are in the catalog, as far as they must be: the ground truth of examples,
/// and the lists of demonstrations. The others are refused with their number, or skipped, as
/// `policy` says. `file` names the data in errors.
///
/// # Errors
/// [`BadRows`] when rows are refused, or none is left.
pub fn in_catalog<T: InCatalogRow>(
    catalog: &Catalog,
    rows: Vec<T>,
    file: &str,
    policy: BadRowPolicy,
) -> Result<(Vec<T>, BadRows), BadRows> {
    let mut bad = BadRows {
        rows_read: rows.len(),
        ..BadRows::default()
    };
    let mut kept = Vec::with_capacity(rows.len());
    for (number, row) in rows.into_iter().enumerate() {
        if row.is_in(catalog) {
            kept.push(row);
            continue;
        }
        // The nearest items are searched for in the whole catalog, so not for every row.
        let problem = match bad.count < WORDED {
            true => row.problem(catalog),
            false => "an item of it is not in the catalog".into(),
        };
        bad.push(BadRow {
            row: number,
            place: file.into(),
            problem,
        });
    }
    match policy {
        BadRowPolicy::Skip if !kept.is_empty() || bad.is_empty() => Ok((kept, bad)),
        BadRowPolicy::Refuse if bad.is_empty() => Ok((kept, bad)),
        _ => Err(bad),
    }
}

/// Bad rows that are described in full.
const WORDED: usize = 10;

/// A row whose items must be in the catalog.
pub trait InCatalogRow {
    /// Whether they are.
    fn is_in(&self, catalog: &Catalog) -> bool;

    /// What to say of a row whose items are not: the sample, the field, the item, and what to do.
    fn problem(&self, catalog: &Catalog) -> String;
}

impl InCatalogRow for Example {
    fn is_in(&self, catalog: &Catalog) -> bool {
        let mut items = self.ground_truth.iter();
        items.all(|item| catalog.find_within(item, YEAR_TOLERANCE).is_some())
    }

    fn problem(&self, catalog: &Catalog) -> String {
        let error = catalog.example_ids(self).err();
        error.map_or_else(String::new, |error| error.to_string())
    }
}

impl InCatalogRow for Demonstration {
    fn is_in(&self, catalog: &Catalog) -> bool {
        self.list.iter().all(|item| catalog.find(item).is_some())
    }

    fn problem(&self, catalog: &Catalog) -> String {
        let mut items = self.list.iter();
        let foreign = items.find(|item| catalog.find(item).is_none());
        let error = foreign.map(|item| TaskError::NotInCatalog {
            id: self.example.id.clone(),
            field: "list",
            item: item.clone(),
        });
        error.map_or_else(String::new, |error| error.to_string())
    }
}

/// Whether any item of the ground truth was not seen. What was seen is counted.
fn has_ground_truth(
    catalog: &Catalog,
    example: &Example,
    seen: &[ItemId],
    report: &mut DataReport,
) -> bool {
    let ids: Vec<Option<ItemId>> = example
        .ground_truth
        .iter()
        .map(|item| catalog.find_within(item, YEAR_TOLERANCE))
        .collect();
    let was_seen = |id: &&Option<ItemId>| id.is_some_and(|id| seen.contains(&id));
    let n_seen = ids.iter().filter(was_seen).count();
    report.seen_ground_truth += n_seen;
    let is_left = n_seen < ids.len();
    report.without_ground_truth += usize::from(!is_left);
    is_left
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
    // A conversation often has several lists, and a retriever takes longer than all the rest.
    let first = first_of_each(&mended);
    let find = |(place, first): (usize, &usize)| {
        (place == *first).then(|| task.found(&mended[place].example))?
    };
    let found: Vec<Option<Candidates>> = first.par_iter().enumerate().map(find).collect();
    let made: Vec<_> = mended
        .par_iter()
        .zip(&first)
        .map(|(demonstration, first)| task.pair_and_cut(demonstration, found[*first].clone()))
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

/// For each demonstration the place of the first one of the same conversation.
fn first_of_each(demonstrations: &[Demonstration]) -> Vec<usize> {
    let mut of_id: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut firsts = Vec::with_capacity(demonstrations.len());
    for (place, Demonstration { example, .. }) in demonstrations.iter().enumerate() {
        let others = of_id.entry(example.id.as_str()).or_default();
        let same = |other: &&usize| demonstrations[**other].example == *example;
        // Ids that say nothing must not make this slow.
        let first = others.iter().take(16).find(same).copied();
        firsts.push(first.unwrap_or(place));
        if first.is_none() {
            others.push(place);
        }
    }
    firsts
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
