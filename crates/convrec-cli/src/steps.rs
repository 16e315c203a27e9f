//! The figures of a teacher's lists after each step of the pipeline, and the gain of each step.

use std::collections::HashMap;

use convrec_catalog::Catalog;
use convrec_core::{Example, ItemId};
use convrec_demonstrations::{PipelineOutput, Steps};
use convrec_metrics::stats::cluster_bootstrap;
use convrec_metrics::{JudgedList, Measure, lists};

use crate::Table;
use convrec_train::evaluate::judge_example;

/// The lists after a step of the pipeline.
pub struct Step {
    /// The step.
    pub name: String,
    /// Share of the named items that are in the catalog.
    pub in_catalog: f64,
    /// The items of the lists that are in the catalog.
    pub lists: Vec<Vec<ItemId>>,
    /// The judged lists.
    pub judged: Vec<JudgedList>,
}

/// The teacher's lists and the lists after each step, for the answered conversations. `examples`
/// are those that the pipeline ran on.
pub fn steps(
    output: &PipelineOutput,
    catalog: &Catalog,
    examples: &[Example],
    n: usize,
) -> Vec<Step> {
    let inside = |steps: &Steps| {
        steps
            .teacher
            .iter()
            .map(|item| item.id.is_some())
            .collect::<Vec<_>>()
    };
    let named: Vec<Vec<bool>> = output.steps.iter().map(inside).collect();
    let inside = lists::catalog_share(&named, |inside| *inside).unwrap_or(0.0);
    let step = |name: &str, in_catalog, list: &dyn Fn(&Steps) -> Vec<ItemId>| {
        let lists: Vec<Vec<ItemId>> = output.steps.iter().map(list).collect();
        let judged = output
            .steps
            .iter()
            .zip(&lists)
            .map(|(s, list)| judge_example(catalog, &examples[s.example], list, n));
        Step {
            name: name.into(),
            in_catalog,
            judged: judged.collect(),
            lists,
        }
    };
    vec![
        step("teacher", inside, &|steps| {
            steps.teacher.iter().filter_map(|item| item.id).collect()
        }),
        step("+ remap", 1.0, &|steps| steps.remap.clone()),
        step("+ reflect", 1.0, &|steps| steps.reflect.clone()),
        step("+ adjust", 1.0, &|steps| steps.adjust.clone()),
    ]
}

/// The printed figures of each step.
pub struct Figures<'a> {
    measures: Vec<Measure>,
    /// The answered conversations' places.
    places: Vec<usize>,
    /// Their dialogs: samples of one dialog are resampled together.
    dialogs: Vec<&'a str>,
    popularity: HashMap<ItemId, f64>,
    n: usize,
    catalog: &'a Catalog,
}

impl<'a> Figures<'a> {
    /// Recall and NDCG at 5, 10, 20 (those up to `n`) of the answered conversations of `output`.
    /// The popularity of an item is the share of `examples` in which it is relevant.
    pub fn new(
        output: &PipelineOutput,
        catalog: &'a Catalog,
        examples: &'a [Example],
        n: usize,
    ) -> Self {
        let cuts: Vec<usize> = [5, 10, 20]
            .into_iter()
            .filter(|k| *k < n)
            .chain([n])
            .collect();
        let measures = cuts
            .iter()
            .map(|k| Measure::Recall(*k))
            .chain(cuts.iter().map(|k| Measure::Ndcg(*k)));
        let mut popularity: HashMap<ItemId, f64> = HashMap::new();
        let right = examples
            .iter()
            .flat_map(|example| &example.ground_truth)
            .filter_map(|item| catalog.find(item));
        right.for_each(|item| *popularity.entry(item).or_default() += 1.0 / examples.len() as f64);
        let dialogs = output
            .steps
            .iter()
            .map(|steps| examples[steps.example].dialog_id())
            .collect();
        let places = output.steps.iter().map(|steps| steps.example).collect();
        Self {
            measures: measures.collect(),
            places,
            dialogs,
            popularity,
            n,
            catalog,
        }
    }

    /// Whether the same conversations were answered. Only then can lists be compared one by one.
    pub fn same_conversations(&self, output: &PipelineOutput) -> bool {
        output
            .steps
            .iter()
            .map(|steps| &steps.example)
            .eq(&self.places)
    }

    /// A table with a row for each step: means with 95% intervals.
    pub fn table<'s>(&self, steps: impl IntoIterator<Item = &'s Step>) -> Table {
        let measures = self.measures.iter().map(Measure::to_string);
        let heading = ["step", "in catalog"]
            .map(String::from)
            .into_iter()
            .chain(measures);
        let mut table = Table::new(heading.chain(["popularity", "coverage"].map(String::from)));
        let catalog = self.catalog.iter().map(|(item, _)| item).collect();
        for step in steps {
            let measured = self
                .measures
                .iter()
                .map(|measure| self.interval(&values(*measure, &step.judged)));
            let cut: Vec<&[ItemId]> = step
                .lists
                .iter()
                .map(|list| &list[..list.len().min(self.n)])
                .collect();
            let popular = |item: &ItemId| self.popularity.get(item).copied().unwrap_or(0.0);
            let popularity = lists::average_popularity(&cut, popular).unwrap_or(0.0);
            let coverage = lists::catalog_coverage(&cut, &catalog).unwrap_or(0.0);
            let cells = std::iter::once(format!("{:.3}", step.in_catalog)).chain(measured);
            table.row(
                &step.name,
                cells.chain([format!("{popularity:.4}"), format!("{coverage:.3}")]),
            );
        }
        table
    }

    /// A table of differences, sample by sample: the gain of each of `steps` over the one that it
    /// is paired with.
    pub fn differences<'s>(
        &self,
        heading: &str,
        pairs: impl IntoIterator<Item = (String, &'s Step, &'s Step)>,
    ) -> Table {
        let measures = self.measures.iter().map(Measure::to_string);
        let mut table = Table::new(std::iter::once(heading.to_string()).chain(measures));
        for (name, from, to) in pairs {
            let difference = |measure: &Measure| {
                let (from, to) = (values(*measure, &from.judged), values(*measure, &to.judged));
                let differences: Vec<f64> =
                    to.iter().zip(from).map(|(to, from)| to - from).collect();
                format!(
                    "{:+.4} {}",
                    differences.iter().sum::<f64>() / differences.len() as f64,
                    self.bounds(&differences)
                )
            };
            table.row(&name, self.measures.iter().map(difference));
        }
        table
    }

    fn interval(&self, values: &[f64]) -> String {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        format!("{mean:.4} {}", self.bounds(values))
    }

    fn bounds(&self, values: &[f64]) -> String {
        let interval = cluster_bootstrap(values, &self.dialogs, 1, 2000);
        interval.map_or_else(
            |_| String::new(),
            |interval| format!("[{:.3}, {:.3}]", interval.low, interval.high),
        )
    }
}

fn values(measure: Measure, judged: &[JudgedList]) -> Vec<f64> {
    judged.iter().map(|list| measure.of(list)).collect()
}
