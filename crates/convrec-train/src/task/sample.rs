//! Examples and demonstrations in ids.

use std::sync::Arc;

use convrec_catalog::ExampleIds;
use convrec_core::{Candidates, Demonstration, Example, Item, ItemId, Role};
use convrec_text::TokenizerError;

use super::constraint::without_aliases;
use super::{Task, TaskError};

/// An [`Example`] in ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// [`Example::id`].
    pub id: String,
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// Catalog items already seen. Seen items outside the catalog need no id: they cannot be
    /// recommended.
    pub seen: Vec<ItemId>,
    /// Catalog items that are right, each once, without those seen: no list can be right about
    /// these.
    pub ground_truth: Vec<ItemId>,
    /// The only items that a constrained list may hold, where not all of the catalog:
    /// [`Task::among`].
    pub candidates: Option<Arc<Candidates>>,
}

/// A [`Demonstration`] in ids.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenPair {
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// The tokens to imitate, end token included.
    pub completion: Vec<u32>,
    /// Catalog items already seen, as of a [`Sample`].
    pub seen: Vec<ItemId>,
    /// The only items that a constrained list may hold, as of a [`Sample`].
    pub candidates: Option<Arc<Candidates>>,
    /// Which tokens of the completion name an item of the example's ground truth.
    pub accepted: Vec<bool>,
}

impl Task {
    /// # Errors
    /// When a ground-truth item means no item of the catalog
    /// ([`Catalog::meant`](convrec_catalog::Catalog::meant)), the prompt cannot be written, or,
    /// under a constraint, fewer than N items are unseen.
    pub fn sample(&self, example: &Example) -> Result<Sample, TaskError> {
        Ok(self.sample_and_cut(example)?.0)
    }

    /// The same where [`list_cursor`](Self::list_cursor) says whether a list can be written, which
    /// may be shorter than N.
    ///
    /// # Errors
    /// When a ground-truth item means no item of the catalog, or the prompt cannot be written.
    pub fn sample_unchecked(&self, example: &Example) -> Result<Sample, TaskError> {
        Ok(self.unchecked(example)?.0)
    }

    /// The sample, and whether its conversation was shortened.
    pub(crate) fn sample_and_cut(&self, example: &Example) -> Result<(Sample, bool), TaskError> {
        let (sample, is_cut) = self.unchecked(example)?;
        self.check_open(&example.id, sample.open())?;
        Ok((sample, is_cut))
    }

    fn unchecked(&self, example: &Example) -> Result<(Sample, bool), TaskError> {
        let ExampleIds { seen, ground_truth } = self.catalog.example_ids(example)?;
        let seen = without_aliases(&self.catalog, seen);
        let candidates = self.found(example).map(Arc::from);
        let (prompt, is_cut) = self.prompt(example)?;
        let sample = Sample {
            id: example.id.clone(),
            prompt,
            seen,
            ground_truth,
            candidates,
        };
        Ok((sample, is_cut))
    }

    /// # Errors
    /// When an item of the list is not in the catalog (by its exact title and year), or the prompt
    /// cannot be written.
    pub fn pair(&self, demonstration: &Demonstration) -> Result<TokenPair, TaskError> {
        let found = self.found(&demonstration.example);
        Ok(self.pair_and_cut(demonstration, found)?.0)
    }

    /// The pair, and whether its conversation was shortened. `found` is what the retriever
    /// [finds](Self::found) for the example.
    pub(crate) fn pair_and_cut(
        &self,
        demonstration: &Demonstration,
        found: Option<Candidates>,
    ) -> Result<(TokenPair, bool), TaskError> {
        let id = &demonstration.example.id;
        let listed = demonstration.list.iter().map(|item| {
            let found = self.catalog.find(item);
            found.ok_or_else(|| not_in_catalog(id, "list", item))
        });
        let listed = listed.collect::<Result<Vec<ItemId>, TaskError>>()?;
        // As the catalog writes them: only so can a constrained list be written.
        let list: Vec<Item> = listed.iter().map(|id| self.catalog[*id].item()).collect();
        let failed = |source| TaskError::Prompt {
            id: demonstration.example.id.clone(),
            source,
        };
        let completion = self
            .prompter
            .completion(&list)
            .map_err(|e| failed(e.into()))?;
        let seen = self.seen(&demonstration.example);
        let (prompt, is_cut) = self.prompt(&demonstration.example)?;
        let pair = TokenPair {
            prompt,
            completion,
            seen,
            candidates: found.map(|found| with_listed(found, &listed).into()),
            accepted: self
                .accepted(&demonstration.example, &listed)
                .map_err(|e| failed(e.into()))?,
        };
        Ok((pair, is_cut))
    }

    /// Which tokens of a list's completion name an item of the ground truth.
    fn accepted(&self, example: &Example, listed: &[ItemId]) -> Result<Vec<bool>, TokenizerError> {
        let right = example.ground_truth.iter();
        let right: Vec<ItemId> = right.filter_map(|x| self.catalog.meant(x).ok()).collect();
        let mut accepted = vec![];
        for (rank, id) in listed.iter().enumerate() {
            let tokens = self.prompter.line(rank, &self.catalog[*id].item())?.len();
            accepted.extend(std::iter::repeat_n(right.contains(id), tokens));
        }
        accepted.push(false); // the end
        Ok(accepted)
    }

    fn seen(&self, example: &Example) -> Vec<ItemId> {
        without_aliases(&self.catalog, self.catalog.seen_ids(&example.seen))
    }

    /// The prompt, and whether the oldest turns of the conversation were left out of it.
    fn prompt(&self, example: &Example) -> Result<(Vec<u32>, bool), TaskError> {
        let written = |first: usize| {
            let written = self
                .prompter
                .prompt(&example.dialog[first..], &example.seen);
            written.map_err(|source| TaskError::Prompt {
                id: example.id.clone(),
                source,
            })
        };
        let whole = written(0)?;
        if whole.len() <= self.longest_prompt {
            return Ok((whole, false));
        }
        // A conversation begins with its user: templates want the roles by turns.
        let later = example.dialog.iter().enumerate().skip(1);
        let starts: Vec<usize> = later
            .filter(|(_, turn)| turn.role == Role::User)
            .map(|(place, _)| place)
            .collect();
        let (mut low, mut high) = (0, starts.len());
        let mut best = None;
        while low < high {
            let middle = (low + high) / 2;
            let prompt = written(starts[middle])?;
            if prompt.len() <= self.longest_prompt {
                best = Some(prompt);
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        match (best, starts.last()) {
            (Some(prompt), _) => Ok((prompt, true)),
            (None, last) => Err(TaskError::TooLong {
                id: example.id.clone(),
                found: last.map_or(Ok(whole.len()), |last| written(*last).map(|p| p.len()))?,
                most: self.longest_prompt,
            }),
        }
    }
}

/// What a retriever found, and all items of `listed`: those that it did not find are worth as much
/// as the last that it did.
fn with_listed(found: Candidates, listed: &[ItemId]) -> Candidates {
    if listed.iter().all(|id| found.items().contains(id)) {
        return found;
    }
    let scores = found.scores().unwrap_or_default();
    let last = scores.last().copied().unwrap_or(0.0);
    let all = found.items().iter().copied().zip(scores.iter().copied());
    Candidates::scored(all.chain(listed.iter().map(|id| (*id, last))))
}

fn not_in_catalog(id: &str, field: &'static str, item: &Item) -> TaskError {
    TaskError::NotInCatalog {
        id: id.into(),
        field,
        item: item.clone(),
    }
}
