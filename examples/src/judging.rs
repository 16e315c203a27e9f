//! Rankings held against examples.

use convrec_catalog::Catalog;
use convrec_core::{Example, ItemId};
use convrec_metrics::{JudgedList, Measure};
use convrec_train::evaluate::judge_ranking;

/// Judges a ranking of catalog items for an example. Seen items leave it, and at most `n` items
/// count. Relevant items that are not in the catalog are passed over.
pub fn judge(catalog: &Catalog, example: &Example, ranking: &[ItemId], n: usize) -> JudgedList {
    let ground_truth = example.ground_truth.iter();
    let ground_truth: Vec<ItemId> = ground_truth
        .filter_map(|item| catalog.meant(item).ok())
        .collect();
    let ranking: Vec<ItemId> = ranking
        .iter()
        .map(|id| catalog.representative(*id))
        .collect();
    judge_ranking(&ranking, &catalog.seen_ids(&example.seen), &ground_truth, n).1
}

/// The mean of a measure.
pub fn mean<'a>(measure: Measure, judged: impl IntoIterator<Item = &'a JudgedList>) -> f64 {
    // From 0.0 on: the empty sum of floats is -0.0.
    let (sum, n) = judged.into_iter().fold((0.0, 0usize), |(sum, n), list| {
        (sum + measure.of(list), n + 1)
    });
    sum / n as f64
}
