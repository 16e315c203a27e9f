//! The kept results of a finished variant.

use std::path::PathBuf;

use convrec_metrics::{JudgedList, Measure};
use convrec_train::Record;
use convrec_train::evaluate::{Evaluation, ListHealth};
use quickstart::N;
use serde::{Deserialize, Serialize};

/// A finished variant of one seed.
#[derive(Debug, Clone)]
pub struct Done {
    /// Its folder.
    pub folder: PathBuf,
    /// Its lists for the test conversations.
    pub outcome: Outcome,
    /// The log of its training; empty where there was none.
    pub log: Vec<Record>,
    /// Seconds of its training, without what it started from.
    pub seconds: f64,
    /// The demonstrations that it learned to imitate, if any.
    pub made: Option<Made>,
}

/// A variant's greedy lists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Its constrained lists: only N different unseen catalog items can be written.
    pub constrained: Judged,
    /// Its unconstrained lists. Seen, repeated and off-catalog items are removed before judging.
    pub unconstrained: Judged,
    /// The reason where training was stopped before its end. The lists are then of the newest
    /// checkpoint.
    pub stopped: Option<String>,
}

/// Judged lists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judged {
    /// Their form.
    pub health: ListHealth,
    /// One a test conversation.
    pub lists: Vec<Hits>,
}

/// A judged list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hits {
    /// The ranks that hit, from 0.
    pub hits: Vec<usize>,
    /// The number of relevant items.
    pub relevant: usize,
}

impl From<&Evaluation> for Judged {
    fn from(evaluation: &Evaluation) -> Self {
        let lists = evaluation
            .samples
            .iter()
            .map(|sample| Hits::from(&sample.judged));
        Self {
            health: evaluation.health,
            lists: lists.collect(),
        }
    }
}

impl From<&JudgedList> for Hits {
    fn from(list: &JudgedList) -> Self {
        let hits = (0..list.hits().len())
            .filter(|rank| list.hits()[*rank])
            .collect();
        Self {
            hits,
            relevant: list.relevant(),
        }
    }
}

impl Hits {
    /// The list as measures want it; ranks without an item miss.
    pub fn judged(&self) -> JudgedList {
        JudgedList::new(
            (0..N).map(|rank| self.hits.contains(&rank)).collect(),
            self.relevant,
        )
    }
}

/// The quality of demonstrations, for the conversations that they were made for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Made {
    /// Their number.
    pub count: usize,
    /// Items in each, in the mean.
    pub items: f64,
    /// Their Recall@10.
    pub recall: f64,
    /// Their NDCG@10.
    pub ndcg: f64,
}

impl Made {
    /// The quality of these judged lists.
    pub fn of(count: usize, items: f64, judged: &[JudgedList]) -> Self {
        Self {
            count,
            items,
            recall: Measure::Recall(N).mean(judged),
            ndcg: Measure::Ndcg(N).mean(judged),
        }
    }
}
