//! Rankings held against examples: the steps of a cloning pipeline, baselines.

use convrec_catalog::Catalog;
use convrec_cloning::Cloned;
use convrec_core::{Example, Item, ItemId};
use convrec_metrics::{JudgedList, Measure, lists};
use convrec_train::evaluate::judge_ranking;

/// Judges a ranking of catalog items for an example: seen items leave it, exact match, at most `n` items.
pub fn judge(catalog: &Catalog, example: &Example, ranking: &[ItemId], n: usize) -> JudgedList {
    let ids = |items: &[Item]| items.iter().filter_map(|item| catalog.find(item)).collect::<Vec<_>>();
    judge_ranking(ranking, &ids(&example.seen), &ids(&example.groundtruth), n).1
}

/// The mean of a measure.
pub fn mean<'a>(measure: Measure, judged: impl IntoIterator<Item = &'a JudgedList>) -> f64 {
    // From 0.0 on: the empty sum of floats is -0.0.
    let (sum, n) = judged.into_iter().fold((0.0, 0usize), |(sum, n), list| (sum + measure.of(list), n + 1));
    sum / n as f64
}

/// The lists after a step of the pipeline.
pub struct Step {
    /// The step.
    pub name: &'static str,
    /// Share of the named items that are in the catalog.
    pub in_catalog: f64,
    /// The lists, against the truth.
    pub judged: Vec<JudgedList>,
}

/// The teacher's lists and what each step made of them. `examples` are those that the pipeline ran on.
pub fn steps(cloned: &Cloned, catalog: &Catalog, examples: &[Example], n: usize) -> Vec<Step> {
    let named: Vec<Vec<bool>> =
        cloned.steps.iter().map(|steps| steps.teacher.iter().map(|item| item.id.is_some()).collect()).collect();
    let inside = lists::catalog_share(&named, |inside| *inside).unwrap_or(0.0);
    let step = |name, in_catalog, list: &dyn Fn(usize) -> Vec<ItemId>| {
        let judged = examples.iter().enumerate().map(|(i, example)| judge(catalog, example, &list(i), n));
        Step { name, in_catalog, judged: judged.collect() }
    };
    vec![
        step("teacher", inside, &|i| cloned.steps[i].teacher.iter().filter_map(|item| item.id).collect()),
        step("+ remap", 1.0, &|i| cloned.steps[i].remap.clone()),
        step("+ reflect", 1.0, &|i| cloned.steps[i].reflect.clone()),
        step("+ adjust", 1.0, &|i| cloned.steps[i].adjust.clone()),
    ]
}
