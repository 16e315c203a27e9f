use std::borrow::Cow;

use convrec_core::{Demonstration, Example, ItemId};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::TeacherItem;
use crate::Fit;

/// Conversations after Remap and Reflect. Adjust is fitted to them and applied to them.
///
/// Rows of scores over the catalog are not kept, only their parts: s_reflect = E q + additions. E
/// `[C, D]` are the catalog's embeddings and q `[D]` is the conversation's query. Exact matches and
/// ratings are additions to a few items. 10^5 conversations therefore take some hundred megabytes,
/// for a catalog of any size.
#[derive(Debug, Clone)]
pub struct Scored<'e> {
    /// All conversations that were asked about.
    pub(super) examples: Cow<'e, [Example]>,
    /// Those that were answered, in the same order.
    pub(super) rows: Vec<Row>,
    /// A query for each row `[rows, D]`; D is 0 where Remap is off.
    pub(super) queries: Array2<f32>,
    pub(super) failures: Vec<Failure>,
}

/// The scores of one conversation besides its query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// Its place among the conversations.
    pub(super) example: usize,
    pub(super) teacher: Vec<TeacherItem>,
    /// The catalog items that the teacher named, exactly or by a likely guess, and their weights
    /// p.
    pub(super) exact: Vec<(ItemId, f32)>,
    pub(super) ratings: Vec<(ItemId, i8)>,
    /// Candidates that the judge did not rate.
    pub(super) unrated: usize,
    pub(super) remap: Vec<ItemId>,
    pub(super) reflect: Vec<ItemId>,
    pub(super) seen: Vec<ItemId>,
}

/// A conversation without an answer. It is left out of everything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("sample `{id}`: {problem}")]
pub struct Failure {
    /// The conversation's [`Example::id`].
    pub id: String,
    /// The service that failed, what happened and what to do.
    pub problem: String,
}

impl Scored<'_> {
    /// All conversations that were asked about, answered or not.
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// The conversations without an answer.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// The places of the conversations that were answered, in order: those of the
    /// [rows](crate::Steps).
    pub fn answered(&self) -> impl ExactSizeIterator<Item = usize> {
        self.rows.iter().map(|row| row.example)
    }

    /// The rows for whose conversations `keep` holds, to fit to some and to finish others. All
    /// conversations stay, so that places keep their meaning.
    #[must_use]
    pub fn select(&self, keep: impl Fn(&Example) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.rows.len())
            .filter(|&row| keep(&self.examples[self.rows[row].example]))
            .collect();
        Self {
            examples: self.examples.clone(),
            rows: kept.iter().map(|&row| self.rows[row].clone()).collect(),
            queries: self.queries.select(ndarray::Axis(0), &kept),
            failures: self.failures.clone(),
        }
    }
}

/// The lists of one conversation after each step. Seen items are removed, except from the teacher's
/// list. A step that is switched off leaves the list as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    /// The conversation's place among those that the pipeline was given.
    pub example: usize,
    /// The items of the raw answer, in the catalog or not.
    pub teacher: Vec<TeacherItem>,
    /// The list after Remap.
    pub remap: Vec<ItemId>,
    /// The list after Reflect.
    pub reflect: Vec<ItemId>,
    /// The list after Adjust: the demonstration.
    pub adjust: Vec<ItemId>,
}

/// The output of a pipeline.
#[derive(Debug)]
#[non_exhaustive]
pub struct PipelineOutput {
    /// The demonstrations, in the order of the conversations. A conversation whose list is empty
    /// gives none. With Remap that only happens where everything was seen.
    pub demonstrations: Vec<Demonstration>,
    /// The lists after each step, one for each conversation that was answered.
    pub steps: Vec<Steps>,
    /// The adjustment, where it was fitted.
    pub fit: Option<Fit>,
    /// The conversations that got no answer.
    pub failures: Vec<Failure>,
    /// The counts.
    pub counts: Counts,
}

impl PipelineOutput {
    /// The same output, where every conversation was answered.
    ///
    /// # Errors
    /// [`Failure`] of the first conversation that was not.
    pub fn complete(self) -> Result<Self, Failure> {
        match self.failures.first() {
            None => Ok(self),
            Some(failure) => Err(failure.clone()),
        }
    }
}

/// The counts of a run, for its manifest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counts {
    /// The number of conversations asked about.
    pub conversations: usize,
    /// The number of conversations without an answer.
    pub failed: usize,
    /// The number of answers in which no item could be read, such as refusals. Their lists come
    /// from the conversation alone.
    pub empty: usize,
    /// The number of items that the teacher named, at most N a conversation.
    pub named: usize,
    /// The number of named items that are in the catalog.
    pub named_in_catalog: usize,
    /// The number of other named items that were taken for an item that they most likely mean.
    pub guessed: usize,
    /// The number of candidates that the judge was asked to rate.
    pub candidates: usize,
    /// The number of candidates without a rating. They count as 0.
    pub unrated: usize,
    /// The number of demonstrations.
    pub demonstrations: usize,
}

impl Scored<'_> {
    pub(super) fn counts(&self) -> Counts {
        let teacher = || self.rows.iter().flat_map(|row| &row.teacher);
        let unrated = self.rows.iter().map(|row| row.unrated).sum();
        Counts {
            conversations: self.examples.len(),
            failed: self.failures.len(),
            empty: self
                .rows
                .iter()
                .filter(|row| row.teacher.is_empty())
                .count(),
            named: teacher().count(),
            named_in_catalog: teacher().filter(|named| named.id.is_some()).count(),
            guessed: teacher().filter(|named| named.guess.is_some()).count(),
            candidates: self.rows.iter().map(|row| row.ratings.len()).sum::<usize>() + unrated,
            unrated,
            demonstrations: 0,
        }
    }
}
