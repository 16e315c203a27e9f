use burn::module::Module;
use convrec_catalog::Catalog;
use convrec_core::{Candidates, Example, Item, ItemId, Turn};
use convrec_policy::Policy;

use super::Model;
use super::error::ModelError;
use crate::evaluate::{Decoding, evaluate};
use crate::task::{Task, TaskError};

/// A model that answers conversations with items of a catalog.
#[derive(Debug)]
pub struct Recommender {
    policy: Policy,
    task: Task,
    decoding: Decoding,
}

/// An item of a recommended list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recommendation {
    /// The place in the list, from 1.
    pub rank: usize,
    /// The place in the catalog.
    pub id: ItemId,
    /// The item.
    pub item: Item,
}

/// A conversation cannot be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecommendError {
    /// More items are asked for than the model writes.
    #[error("found n = {asked}, expected 1 to {most}, the length of the model's lists")]
    Length {
        /// The number that was asked for.
        asked: usize,
        /// The largest number.
        most: usize,
    },
    /// The prompt cannot be written, or too few items of the catalog are unseen.
    #[error(transparent)]
    Task(#[from] TaskError),
}

impl Model {
    /// A recommender over a catalog, with lists that cannot leave it.
    ///
    /// # Errors
    /// As [`Model::task`].
    pub fn recommender(&self, catalog: Catalog) -> Result<Recommender, ModelError> {
        Ok(Recommender::new(self, self.task(catalog)?))
    }
}

impl Recommender {
    /// A recommender for a task of this model, with constrained or unconstrained lists.
    #[must_use]
    pub fn new(model: &Model, task: Task) -> Self {
        Self {
            policy: model.policy.valid(),
            task,
            decoding: model.language.format.greedy(),
        }
    }

    /// The policy that answers.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The task of the model.
    #[must_use]
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Answers a conversation with at most `n` items, best first. Items of `seen` are never among
    /// them. A constrained list has all `n`; an unconstrained one holds the catalog items that the
    /// model named.
    ///
    /// # Errors
    /// [`RecommendError::Length`] when `n` is 0 or above N, [`RecommendError::Task`] when the
    /// prompt cannot be written or too few items are unseen.
    pub fn recommend(
        &self,
        conversation: &[Turn],
        seen: &[ItemId],
        n: usize,
    ) -> Result<Vec<Recommendation>, RecommendError> {
        self.answer(conversation, seen, n, None)
    }

    /// [`recommend`](Self::recommend) from among candidates alone: at most `n` of them, best first,
    /// and fewer where fewer are unseen. So it ranks what another search found. Candidates without
    /// scores get those of the model's retriever, where it has one ([`Task::prior_among`]). The
    /// lists must be constrained; else the candidates are passed over.
    ///
    /// # Errors
    /// As [`recommend`](Self::recommend), and [`RecommendError::Task`] when no candidate is left.
    pub fn recommend_among(
        &self,
        conversation: &[Turn],
        seen: &[ItemId],
        candidates: Candidates,
        n: usize,
    ) -> Result<Vec<Recommendation>, RecommendError> {
        self.answer(conversation, seen, n, Some(candidates))
    }

    fn answer(
        &self,
        conversation: &[Turn],
        seen: &[ItemId],
        n: usize,
        candidates: Option<Candidates>,
    ) -> Result<Vec<Recommendation>, RecommendError> {
        let most = self.task.n_ranks();
        if !(1..=most).contains(&n) {
            return Err(RecommendError::Length { asked: n, most });
        }
        let catalog = self.task.catalog();
        let example = Example {
            id: "conversation".into(),
            dialog: conversation.to_vec(),
            seen: seen.iter().map(|id| catalog[*id].item()).collect(),
            ground_truth: vec![],
        };
        let sample = self.task.sample(&example)?;
        let sample = match candidates {
            Some(candidates) => {
                let candidates = self.task.prior_among(&example, candidates);
                self.task.among(sample, candidates)?
            }
            None => sample,
        };
        let found = evaluate(&self.policy, &self.task, &[sample], &self.decoding);
        let list = found.samples[0].list.iter().take(n).enumerate();
        let recommendation = |(place, id): (usize, &ItemId)| Recommendation {
            rank: place + 1,
            id: *id,
            item: catalog[*id].item(),
        };
        Ok(list.map(recommendation).collect())
    }
}
