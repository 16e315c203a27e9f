//! Several rankings of the same conversations, measured and compared.

use std::collections::HashSet;

use convrec_catalog::{Catalog, top_k};
use convrec_core::{Example, ItemId};
use convrec_demonstrations::scripted::{PopularityScorer, Scorer, Scorers};
use convrec_metrics::stats::{PairedTest, cluster_bootstrap, paired_test};
use convrec_metrics::{JudgedList, Measure};
use convrec_train::evaluate::judge_example;

use crate::Table;
use crate::output::{say, say_table};

/// Draws of the bootstrap and of the permutation test.
const DRAWS: usize = 2000;
/// The seed of both.
const SEED: u64 = 1;

/// Judged lists of several systems for the same samples.
#[derive(Debug)]
pub struct Comparison {
    /// The dialog of each sample: samples of one dialog are resampled together.
    dialogs: Vec<String>,
    measures: Vec<Measure>,
    systems: Vec<System>,
}

/// A name, and the judged lists of one run or of several, as with other seeds.
#[derive(Debug)]
struct System {
    name: String,
    runs: Vec<Vec<Option<JudgedList>>>,
}

/// Recall and NDCG at 5, 10, 15 and 20 as far as lists of `n_ranks` items go, and at `n_ranks`.
#[must_use]
pub fn recall_and_ndcg(n_ranks: usize) -> Vec<Measure> {
    let cuts = [5, 10, 15, 20].into_iter().filter(|k| *k < n_ranks);
    let cuts: Vec<usize> = cuts.chain([n_ranks]).collect();
    let recall = cuts.iter().map(|k| Measure::Recall(*k));
    let ndcg = cuts.iter().map(|k| Measure::Ndcg(*k));
    recall.chain(ndcg).collect()
}

impl Comparison {
    /// A comparison without systems. `dialogs` names the dialog of each sample.
    pub fn new(
        dialogs: impl IntoIterator<Item = impl Into<String>>,
        measures: Vec<Measure>,
    ) -> Self {
        Self {
            dialogs: dialogs.into_iter().map(Into::into).collect(),
            measures,
            systems: vec![],
        }
    }

    /// Adds a system with its judged list of each sample, in the order of the samples. Samples that
    /// have no list of some system are left out of the whole comparison.
    ///
    /// # Panics
    /// When there is not one entry for each sample.
    pub fn add<L: Into<Option<JudgedList>>>(&mut self, name: impl Into<String>, lists: Vec<L>) {
        let name = name.into();
        self.systems.push(System { name, runs: vec![] });
        self.add_run(lists);
    }

    /// Adds another run of the last system, as with another seed. A measure of a sample is then its
    /// mean over the runs.
    ///
    /// # Panics
    /// As [`add`](Self::add), and when there is no system.
    pub fn add_run<L: Into<Option<JudgedList>>>(&mut self, lists: Vec<L>) {
        let lists: Vec<Option<JudgedList>> = lists.into_iter().map(Into::into).collect();
        assert_eq!(lists.len(), self.dialogs.len(), "one entry for each sample");
        let system = self.systems.last_mut().expect("a system");
        system.runs.push(lists);
    }

    /// Adds the ranking of a scorer, best first, without seen items.
    ///
    /// # Panics
    /// As [`add`](Self::add).
    pub fn add_scorer(
        &mut self,
        name: &str,
        scorer: &dyn Scorer,
        catalog: &Catalog,
        examples: &[Example],
        n_ranks: usize,
    ) {
        let judged = |example: &Example| {
            let best = top_k(&scorer.scores(example), n_ranks + example.seen.len());
            let ranking: Vec<ItemId> = best.into_iter().map(|(id, _)| id).collect();
            judge_example(catalog, example, &ranking, n_ranks)
        };
        self.add(name, examples.iter().map(judged).collect());
    }

    /// Adds the baselines that count: popularity, BM25, co-occurrence and the heuristic teacher,
    /// learned from the conversations of `train`. `examples` are the samples, in their order.
    ///
    /// # Panics
    /// As [`add`](Self::add).
    pub fn add_baselines(
        &mut self,
        catalog: &Catalog,
        examples: &[Example],
        train: &[Example],
        n_ranks: usize,
    ) {
        let popularity = PopularityScorer::new(catalog, train);
        let scorers = Scorers::new(catalog, train);
        let baselines: [(&str, &dyn Scorer); 4] = [
            ("popularity", &popularity),
            ("bm25", &scorers.bm25),
            ("cooccurrence", &scorers.cooccurrence),
            ("heuristic teacher", &scorers.heuristic()),
        ];
        for (name, scorer) in baselines {
            self.add_scorer(name, scorer, catalog, examples, n_ranks);
        }
    }

    /// Whether no system was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.systems.is_empty()
    }

    /// A row for each system: means with 95% intervals by resampling dialogs.
    #[must_use]
    pub fn table(&self) -> Table {
        let kept = self.kept();
        let dialogs = self.dialogs(&kept);
        let mut table = Table::new(heading("", &self.measures));
        for system in &self.systems {
            let mean = |m: &Measure| mean(&system.values(*m, &kept), &dialogs);
            table.row(&system.name, self.measures.iter().map(mean));
        }
        table
    }

    /// A row for each system but the first: the first system's delta to it, with 95% intervals and
    /// the p value of a paired permutation test over dialogs.
    #[must_use]
    pub fn differences(&self) -> Table {
        let kept = self.kept();
        let dialogs = self.dialogs(&kept);
        let mut table = Table::new(heading("delta to first", &self.measures));
        let Some((first, others)) = self.systems.split_first() else {
            return table;
        };
        for other in others {
            let difference = |m: &Measure| {
                difference(&other.values(*m, &kept), &first.values(*m, &kept), &dialogs)
            };
            table.row(&other.name, self.measures.iter().map(difference));
        }
        table
    }

    /// Prints the [`table`](Self::table), and the [`differences`](Self::differences) where there
    /// are several systems.
    pub fn print(&self) {
        let kept = self.kept();
        let dialogs: HashSet<&str> = self.dialogs(&kept).into_iter().collect();
        say_table(&self.table());
        say(format_args!(
            "{} samples of {} dialogs; 95% intervals by resampling dialogs\n",
            kept.len(),
            dialogs.len()
        ));
        if self.systems.len() > 1 {
            say_table(&self.differences());
            say(
                "p: paired permutation test over dialogs, not corrected for the number of \
                 comparisons",
            );
        }
    }

    /// The places of the samples that every system has a list of.
    fn kept(&self) -> Vec<usize> {
        let all_have = |place: &usize| {
            let mut runs = self.systems.iter().flat_map(|system| &system.runs);
            runs.all(|lists| lists[*place].is_some())
        };
        (0..self.dialogs.len()).filter(all_have).collect()
    }

    fn dialogs(&self, kept: &[usize]) -> Vec<&str> {
        kept.iter()
            .map(|place| self.dialogs[*place].as_str())
            .collect()
    }
}

/// A mean with half of its interval's width.
fn mean(values: &[f64], dialogs: &[&str]) -> String {
    match cluster_bootstrap(values, dialogs, SEED, DRAWS) {
        Ok(found) => format!("{:.4} ±{:.4}", found.mean, (found.high - found.low) / 2.0),
        Err(_) => format!("{:.4}", plain_mean(values)),
    }
}

/// The mean difference with half of its interval's width, and the p value.
fn difference(ours: &[f64], theirs: &[f64], dialogs: &[&str]) -> String {
    match paired_test(ours, theirs, dialogs, SEED, DRAWS) {
        Ok(PairedTest {
            difference: d,
            p_value,
        }) => {
            let p = match p_value < 0.001 {
                true => "p < .001".to_string(),
                false => format!("p {p_value:.3}"),
            };
            format!("{:+.4} ±{:.4} {p}", d.mean, (d.high - d.low) / 2.0)
        }
        Err(_) => format!("{:+.4}", plain_mean(ours) - plain_mean(theirs)),
    }
}

/// A mean without an interval: one dialog cannot be resampled.
fn plain_mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn heading<'a>(corner: &str, measures: &'a [Measure]) -> impl Iterator<Item = String> + 'a {
    std::iter::once(corner.to_string()).chain(measures.iter().map(Measure::to_string))
}

impl System {
    /// A measure of each of these samples: its mean over the runs.
    fn values(&self, measure: Measure, kept: &[usize]) -> Vec<f64> {
        let of_run = |lists: &Vec<Option<JudgedList>>, place: usize| {
            lists[place].as_ref().map_or(0.0, |list| measure.of(list))
        };
        let mean = |place: &usize| {
            let sum: f64 = self.runs.iter().map(|lists| of_run(lists, *place)).sum();
            sum / self.runs.len() as f64
        };
        kept.iter().map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use convrec_core::ItemId;

    #[test]
    fn the_first_system_is_compared_with_the_others() {
        let list = |ids: [u32; 2], truth: u32| {
            JudgedList::from_ids(&ids.map(ItemId), &[ItemId(truth)].into())
        };
        let mut comparison = Comparison::new(["a", "a", "b", "c"], recall_and_ndcg(2));
        assert!(comparison.is_empty());
        comparison.add("hits", vec![list([1, 2], 1); 4]);
        comparison.add("misses", vec![list([1, 2], 3); 4]);
        let (table, differences) = (comparison.table().print(), comparison.differences().print());
        assert!(table.contains("1.0000 ±0.0000"), "{table}");
        assert!(table.contains("0.0000 ±0.0000"), "{table}");
        assert!(differences.contains("misses") && !differences.contains("| hits"));
        assert!(differences.contains("-1.0000"), "{differences}");
    }

    #[test]
    fn samples_without_a_list_are_left_out_for_all() {
        let list = |truth: u32| JudgedList::from_ids(&[ItemId(1)], &[ItemId(truth)].into());
        let mut comparison = Comparison::new(["a", "b", "c"], recall_and_ndcg(1));
        comparison.add("partly", vec![None, Some(list(1)), Some(list(1))]);
        comparison.add("all", vec![list(2), list(1), list(1)]);
        let table = comparison.table().print();
        assert_eq!(table.matches("1.0000 ±0.0000").count(), 4, "{table}");
    }

    #[test]
    fn measures_stop_at_the_length_of_the_lists() {
        let names: Vec<String> = recall_and_ndcg(10).iter().map(Measure::to_string).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!(recall_and_ndcg(3).len(), 2);
    }
}
