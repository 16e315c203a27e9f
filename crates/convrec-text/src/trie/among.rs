//! The candidates of one list.

use convrec_core::{Candidates, ItemId};

use super::ListTrie;
use super::lines::{Lines, Node};

/// The candidates of one list that are not used up.
#[derive(Debug, Clone)]
pub(super) struct Among {
    /// Items with their scores, by id; scores of 0 where there are none.
    items: Vec<(ItemId, f32)>,
    is_scored: bool,
    /// The places of those that are left among the lines of this rank, ascending, with their
    /// scores.
    open: Vec<(u32, f32)>,
    /// The number of different items to begin with. Twins count once.
    pub(super) distinct: usize,
}

impl Among {
    /// The candidates that are in the trie and not in `used`. They have no [places](Self::place)
    /// yet.
    pub(super) fn new(trie: &ListTrie, used: &[ItemId], candidates: &Candidates) -> Self {
        let score = |n: usize| candidates.scores().map_or(0.0, |scores| scores[n]);
        let all = candidates.items().iter().enumerate();
        let mut items: Vec<(ItemId, f32)> = all.map(|(n, id)| (*id, score(n))).collect();
        items.retain(|(id, _)| id.index() < trie.n_items() && used.binary_search(id).is_err());
        items.sort_unstable_by_key(|(id, _)| *id);
        let ids: Vec<ItemId> = items.iter().map(|(id, _)| *id).collect();
        Self {
            distinct: trie.twins().distinct_among(&ids),
            is_scored: candidates.scores().is_some(),
            items,
            open: vec![],
        }
    }

    /// Finds the places of all candidates but the used ones among the lines of a rank.
    pub(super) fn place(&mut self, lines: &Lines<'_>, used: &[ItemId]) {
        let left = self.items.iter().filter(|(id, _)| !used.contains(id));
        self.open.clear();
        self.open
            .extend(left.map(|(id, score)| (lines.place_of[id.index()], *score)));
        self.open.sort_unstable_by_key(|(place, _)| *place);
    }

    /// Takes out items that are used up.
    pub(super) fn remove(&mut self, lines: &Lines<'_>, used: &[ItemId]) {
        for id in used {
            let place = lines.place_of[id.index()];
            if let Ok(at) = self.open.binary_search_by_key(&place, |(place, _)| *place) {
                self.open.remove(at);
            }
        }
    }

    /// Those below a node.
    pub(super) fn below(&self, node: &Node) -> &[(u32, f32)] {
        let before = |end| self.open.partition_point(|(place, _)| *place < end);
        &self.open[before(node.places.start)..before(node.places.end)]
    }

    /// The tokens that go on from a node to a candidate, ascending, and the prior of each where
    /// there are scores.
    pub(super) fn look_ahead(
        &self,
        lines: &Lines<'_>,
        node: &Node,
        tokens: &mut Vec<u32>,
        prior: &mut Vec<f32>,
    ) {
        prior.clear();
        let mut left = self.below(node);
        while let [(place, _), ..] = left {
            let edge = lines.edge_to(node, *place);
            let child = lines.follow(node, edge);
            let (below, others) =
                left.split_at(left.partition_point(|(place, _)| *place < child.places.end));
            tokens.push(lines.tokens[edge]);
            if self.is_scored {
                prior.push(log_sum(below));
            }
            left = others;
        }
    }
}

/// ln of the sum of e^score.
fn log_sum(below: &[(u32, f32)]) -> f32 {
    if let [(_, only)] = below {
        return *only;
    }
    let scores = below.iter().map(|(_, score)| f64::from(*score));
    let highest = scores.clone().fold(f64::NEG_INFINITY, f64::max);
    (scores
        .map(|score| (score - highest).exp())
        .sum::<f64>()
        .ln()
        + highest) as f32
}
