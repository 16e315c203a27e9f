use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use convrec_catalog::{Catalog, YEAR_TOLERANCE};
use convrec_core::{Example, Item, ItemId};
use itertools::Itertools;

use crate::Scorer;

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

impl PopularityScorer {
    /// How often each item was relevant, the own dialog of `example` left out. Shape `[C]`.
    pub(crate) fn counts(&self, example: &Example) -> Vec<u32> {
        let mut counts = self.counts.clone();
        let own = self.of_dialog.get(example.dialog_id());
        own.into_iter()
            .flatten()
            .for_each(|item| counts[item.index()] -= 1);
        counts
    }
}

impl Scorer for PopularityScorer {
    fn scores(&self, example: &Example) -> Vec<f32> {
        let counts = self.counts(example);
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
pub struct CooccurrenceScorer {
    catalog: Arc<Catalog>,
    popularity: Option<PopularityScorer>,
    /// The distinct items of each dialog.
    dialogs: HashMap<String, BTreeSet<ItemId>>,
    counts: Vec<u32>,
    /// For each item the items named beside it, with the number of dialogs.
    together: Vec<HashMap<ItemId, u32>>,
}

impl CooccurrenceScorer {
    /// Counts training dialogs. Items outside of the catalog are not counted.
    pub fn new(catalog: &Catalog, training: &[Example]) -> Self {
        Self::of(&Arc::new(catalog.clone()), training)
    }

    pub(crate) fn of(shared: &Arc<Catalog>, training: &[Example]) -> Self {
        let catalog = shared.as_ref();
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
            catalog: shared.clone(),
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

/// What is counted of the items that were named beside the seen ones. Shape `[C]` each.
pub(crate) struct Beside {
    /// The sum over the seen items of n(j, v) / sqrt(n(j)).
    pub(crate) together: Vec<f32>,
    /// The same over the [`LAST`] seen items alone.
    pub(crate) together_last: Vec<f32>,
    /// The sum over the seen items of ln(1 + n(j, v) |dialogs| / ((n(j) + 5) (n(v) + 5))).
    pub(crate) lift: Vec<f32>,
    /// n(v), the dialogs that name the item.
    pub(crate) named: Vec<f32>,
}

/// The latest seen items.
const LAST: usize = 2;
/// What both counts of a lift are raised by: rare items would be lifted by chance.
const RARE: f32 = 5.0;

impl CooccurrenceScorer {
    /// Counts beside seen items, the own dialog of `example` left out.
    pub(crate) fn beside(&self, example: &Example) -> Beside {
        let n = self.catalog.len();
        let own = self.dialogs.get(example.dialog_id());
        let mut named: Vec<f32> = self.counts.iter().map(|count| *count as f32).collect();
        own.into_iter()
            .flatten()
            .for_each(|item| named[item.index()] -= 1.0);
        let dialogs = (self.dialogs.len() - usize::from(own.is_some())) as f32;
        let [mut together, mut together_last, mut lift] = [(); 3].map(|()| vec![0.0; n]);
        let seen = ids(&self.catalog, &example.seen);
        for (place, item) in seen.iter().enumerate() {
            let count = named[item.index()];
            if count == 0.0 {
                continue;
            }
            let is_last = place + LAST >= seen.len();
            let own = own.filter(|items| items.contains(item));
            for (other, n) in &self.together[item.index()] {
                let n = (n - u32::from(own.is_some_and(|items| items.contains(other)))) as f32;
                let (other, share) = (other.index(), n / count.sqrt());
                together[other] += share;
                together_last[other] += if is_last { share } else { 0.0 };
                lift[other] += (n * dialogs / ((count + RARE) * (named[other] + RARE))).ln_1p();
            }
        }
        Beside {
            together,
            together_last,
            lift,
            named,
        }
    }
}

impl Scorer for CooccurrenceScorer {
    fn scores(&self, example: &Example) -> Vec<f32> {
        let mut scores = match &self.popularity {
            Some(popularity) => popularity.scores(example),
            None => vec![0.0; self.catalog.len()],
        };
        scores
            .iter_mut()
            .for_each(|score| *score *= POPULARITY_WEIGHT);
        let own = self.dialogs.get(example.dialog_id());
        for seen in ids(&self.catalog, &example.seen) {
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
pub(crate) fn ids(catalog: &Catalog, items: &[Item]) -> Vec<ItemId> {
    items
        .iter()
        .filter_map(|item| catalog.find_within(item, YEAR_TOLERANCE))
        .unique()
        .collect()
}
