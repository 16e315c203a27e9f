//! Lists while they are written, and what they come to.

use std::collections::HashSet;
use std::sync::Arc;

use convrec_core::ItemId;
use convrec_policy::Constraint;
use convrec_text::ListCursor;

/// At most and at least so many of some items.
#[derive(Debug, Clone)]
pub(crate) struct Quota {
    pub(crate) items: Arc<HashSet<ItemId>>,
    pub(crate) at_most: Option<usize>,
    pub(crate) at_least: usize,
}

/// A list in the catalog that has so many items and keeps its quotas.
#[derive(Debug, Clone)]
pub(crate) struct ListConstraint {
    pub(crate) cursor: ListCursor,
    /// The list ends after so many items, without an end token.
    limit: Option<usize>,
    n: usize,
    quotas: Vec<Quota>,
    /// Items whose effect on the quotas was seen to.
    settled: usize,
}

impl ListConstraint {
    pub(crate) fn new(
        cursor: ListCursor,
        limit: Option<usize>,
        n: usize,
        quotas: Vec<Quota>,
    ) -> Self {
        let mut constraint = Self {
            cursor,
            limit,
            n,
            quotas,
            settled: 0,
        };
        constraint.keep_quotas();
        constraint
    }

    /// This list from here on to the end of the item that is being written.
    pub(crate) fn one_more(mut self) -> Self {
        self.limit = Some(self.cursor.items().len() + 1);
        self
    }

    /// Leaves out what would break a quota.
    fn keep_quotas(&mut self) {
        if self.quotas.is_empty() || self.cursor.items().len() >= self.n {
            return;
        }
        let left = self.n - self.cursor.items().len();
        let mut out: HashSet<ItemId> = HashSet::new();
        let full = self.quotas.iter().filter(|quota| quota.at_most == Some(0));
        full.for_each(|quota| out.extend(quota.items.iter()));
        let needy: Vec<&Quota> = self.quotas.iter().filter(|q| q.at_least > 0).collect();
        let needed: usize = needy.iter().map(|quota| quota.at_least).sum();
        if needed >= left {
            let all = (0..self.cursor.n_items() as u32).map(ItemId);
            out.extend(all.filter(|id| !needy.iter().any(|quota| quota.items.contains(id))));
        }
        if !out.is_empty() {
            self.cursor.exclude(out);
        }
    }
}

impl Constraint for ListConstraint {
    fn allowed(&self) -> &[u32] {
        match self.limit {
            Some(limit) if self.cursor.items().len() >= limit => &[],
            _ => self.cursor.allowed(),
        }
    }

    fn prior(&self) -> Option<&[f32]> {
        match self.limit {
            Some(limit) if self.cursor.items().len() >= limit => None,
            _ => self.cursor.prior(),
        }
    }

    fn push(&mut self, token: u32) {
        self.cursor.push(token);
        let written = self.cursor.items();
        if written.len() == self.settled || self.quotas.is_empty() {
            return;
        }
        for item in &written[self.settled..] {
            for quota in self.quotas.iter_mut().filter(|q| q.items.contains(item)) {
                quota.at_most = quota.at_most.map(|most| most.saturating_sub(1));
                quota.at_least = quota.at_least.saturating_sub(1);
            }
        }
        self.settled = self.cursor.items().len();
        self.keep_quotas();
    }
}

/// An item at its rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ranked {
    pub(crate) id: ItemId,
    /// Of the item at this rank, given those before.
    pub(crate) log_prob: f64,
    /// The place of its first token.
    pub(crate) first: usize,
}

/// Reads a list from its tokens as they come.
#[derive(Debug, Clone)]
pub(crate) struct ListReader {
    constraint: ListConstraint,
    log_prob: f64,
    tokens: usize,
    first: usize,
}

impl ListReader {
    pub(crate) fn new(constraint: ListConstraint) -> Self {
        Self {
            constraint,
            log_prob: 0.0,
            tokens: 0,
            first: 0,
        }
    }

    /// The items that end with these tokens.
    pub(crate) fn read(&mut self, tokens: &[u32], log_probs: &[f32]) -> Vec<Ranked> {
        let mut found = vec![];
        for (token, log_prob) in tokens.iter().zip(log_probs) {
            let before = self.constraint.cursor.items().len();
            // A list that was cut by a token of the request's own may hold any; it ends there.
            if !self.constraint.cursor.is_allowed(*token) {
                break;
            }
            self.constraint.push(*token);
            self.tokens += 1;
            self.log_prob += f64::from(*log_prob);
            if let Some(id) = self.constraint.cursor.items().get(before) {
                found.push(Ranked {
                    id: *id,
                    log_prob: self.log_prob,
                    first: self.first,
                });
                self.log_prob = 0.0;
                self.first = self.tokens;
            }
        }
        found
    }
}
