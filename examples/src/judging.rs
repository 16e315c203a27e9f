//! Rankings held against examples.

use convrec_catalog::Catalog;
use convrec_core::{Example, Item, ItemId};
use convrec_metrics::{JudgedList, Measure};
use convrec_train::evaluate::judge_ranking;

/// Judges a ranking of catalog items for an example: seen items leave it, exact match, at most `n`
/// items.
pub fn judge(catalog: &Catalog, example: &Example, ranking: &[ItemId], n: usize) -> JudgedList {
    let ids = |items: &[Item]| {
        items
            .iter()
            .filter_map(|item| catalog.find(item))
            .collect::<Vec<_>>()
    };
    judge_ranking(ranking, &ids(&example.seen), &ids(&example.ground_truth), n).1
}

/// The mean of a measure.
pub fn mean<'a>(measure: Measure, judged: impl IntoIterator<Item = &'a JudgedList>) -> f64 {
    // From 0.0 on: the empty sum of floats is -0.0.
    let (sum, n) = judged.into_iter().fold((0.0, 0usize), |(sum, n), list| {
        (sum + measure.of(list), n + 1)
    });
    sum / n as f64
}
