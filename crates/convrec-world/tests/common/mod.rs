//! Scores of a list against a ground truth, written for these tests alone.

use convrec_core::{Example, Item, ItemId};
use convrec_world::World;

/// A mean of NDCG@k and Recall@k.
pub struct Mean {
    k: usize,
    ndcg: f64,
    recall: f64,
    count: f64,
}

impl Mean {
    pub fn at(k: usize) -> Self {
        Self {
            k,
            ndcg: 0.0,
            recall: 0.0,
            count: 0.0,
        }
    }

    pub fn add(&mut self, list: &[ItemId], example: &Example) {
        let hits = list
            .iter()
            .take(self.k)
            .map(|id| example.ground_truth.contains(&World::embedded().name(*id)));
        let gains: Vec<f64> = hits
            .zip(2..)
            .filter(|(hit, _)| *hit)
            .map(|(_, place)| gain(place))
            .collect();
        let right = example.ground_truth.len();
        self.ndcg += gains.iter().sum::<f64>() / (2..right as i32 + 2).map(gain).sum::<f64>();
        self.recall += gains.len() as f64 / right as f64;
        self.count += 1.0;
    }

    pub fn ndcg(&self) -> f64 {
        self.ndcg / self.count
    }

    pub fn recall(&self) -> f64 {
        self.recall / self.count
    }
}

fn gain(place: i32) -> f64 {
    1.0 / f64::from(place).log2()
}

/// The films of the catalog among `items`, each once, without those seen.
#[allow(dead_code, reason = "not every test file reads answers")]
pub fn in_catalog(items: impl Iterator<Item = Item>, example: &Example) -> Vec<ItemId> {
    let mut list = Vec::new();
    for id in items
        .filter(|item| !example.seen.contains(item))
        .filter_map(|item| World::embedded().find(&item))
    {
        if !list.contains(&id) {
            list.push(id);
        }
    }
    list
}
