use std::collections::{BTreeSet, HashMap};

use convrec_catalog::{Catalog, YEAR_TOLERANCE};
use convrec_core::{Example, Item, ItemId};
use itertools::Itertools;

use super::Scorer;

/// The weight of popularity beside co-occurrence. It is small, so that popularity only decides
/// where nothing else does.
const POPULARITY_WEIGHT: f32 = 0.03;

/// A scorer by popularity: how often an item was relevant in training, divided by the count of the
/// most popular item.
///
/// A training sample's own dialog is left out of the counts ([`Example::dialog_id`]), as a teacher
/// may not know the answer.
#[derive(Debug, Clone)]
pub struct PopularityScorer {
    counts: Vec<u32>,
    /// The ground truth of each dialog, with an item as often as it was relevant.
    of_dialog: HashMap<String, Vec<ItemId>>,
}

impl PopularityScorer {
    /// Counts the ground truth of training examples. Items outside of the catalog are not counted.
    pub fn new(catalog: &Catalog, training: &[Example]) -> Self {
        let mut popularity = Self {
            counts: vec![0; catalog.len()],
            of_dialog: HashMap::new(),
        };
        for example in training {
            let items = ids(catalog, &example.ground_truth);
            items
                .iter()
                .for_each(|item| popularity.counts[item.index()] += 1);
            popularity
                .of_dialog
                .entry(example.dialog_id().to_string())
                .or_default()
                .extend(items);
        }
        popularity
    }
}

impl Scorer for PopularityScorer {
    fn scores(&self, example: &Example) -> Vec<f32> {
        let mut counts = self.counts.clone();
        for item in self
            .of_dialog
            .get(example.dialog_id())
            .into_iter()
            .flatten()
        {
            counts[item.index()] -= 1;
        }
        let highest = counts.iter().copied().max().unwrap_or(0).max(1) as f32;
        counts
            .into_iter()
            .map(|count| count as f32 / highest)
            .collect()
    }
}

/// A scorer by co-occurrence: items that were named in the same training dialogs as the seen ones.
/// It is a strong baseline, and a fair stand-in for a teacher that knows which films go together.
///
/// The score of item v is the sum over the seen items j of n(j, v) / sqrt(n(j)), plus a little
/// [`PopularityScorer`]. n(j) is the number of training dialogs that name j (as seen or relevant),
/// n(j, v) of those that name both. A training sample's own dialog is left out of all counts.
#[derive(Debug)]
pub struct CooccurrenceScorer<'a> {
    catalog: &'a Catalog,
    popularity: Option<PopularityScorer>,
    /// The distinct items of each dialog.
    dialogs: HashMap<String, BTreeSet<ItemId>>,
    counts: Vec<u32>,
    /// For each item the items named beside it, with the number of dialogs.
    together: Vec<HashMap<ItemId, u32>>,
}

impl<'a> CooccurrenceScorer<'a> {
    /// Counts training dialogs. Items outside of the catalog are not counted.
    pub fn new(catalog: &'a Catalog, training: &[Example]) -> Self {
        let mut dialogs: HashMap<String, BTreeSet<ItemId>> = HashMap::new();
        for example in training {
            let named = [
                ids(catalog, &example.seen),
                ids(catalog, &example.ground_truth),
            ]
            .concat();
            dialogs
                .entry(example.dialog_id().to_string())
                .or_default()
                .extend(named);
        }
        let mut counts = vec![0; catalog.len()];
        let mut together = vec![HashMap::new(); catalog.len()];
        for items in dialogs.values() {
            for &item in items {
                counts[item.index()] += 1;
                for &other in items.iter().filter(|&&other| other != item) {
                    *together[item.index()].entry(other).or_default() += 1;
                }
            }
        }
        Self {
            catalog,
            popularity: Some(PopularityScorer::new(catalog, training)),
            dialogs,
            counts,
            together,
        }
    }

    /// The same scorer without popularity. Where nothing was named beside a seen item, all scores
    /// are 0, and another scorer may decide.
    pub fn alone(self) -> Self {
        Self {
            popularity: None,
            ..self
        }
    }
}

impl Scorer for CooccurrenceScorer<'_> {
    fn scores(&self, example: &Example) -> Vec<f32> {
        let mut scores = match &self.popularity {
            Some(popularity) => popularity.scores(example),
            None => vec![0.0; self.catalog.len()],
        };
        scores
            .iter_mut()
            .for_each(|score| *score *= POPULARITY_WEIGHT);
        let own = self.dialogs.get(example.dialog_id());
        for seen in ids(self.catalog, &example.seen) {
            let own = own.filter(|items| items.contains(&seen));
            let count = self.counts[seen.index()] - u32::from(own.is_some());
            if count == 0 {
                continue;
            }
            let share = 1.0 / (count as f32).sqrt();
            for (other, n) in &self.together[seen.index()] {
                let n = n - u32::from(own.is_some_and(|items| items.contains(other)));
                scores[other.index()] += share * n as f32;
            }
        }
        scores
    }
}

/// The distinct catalog items that are meant; others are left out.
pub(super) fn ids(catalog: &Catalog, items: &[Item]) -> Vec<ItemId> {
    items
        .iter()
        .filter_map(|item| catalog.find_within(item, YEAR_TOLERANCE))
        .unique()
        .collect()
}
