//! Between the world of conversations and that of token ids: what a policy is asked, and what its
//! answer means.
mod answer;
mod constraint;
mod error;
mod sample;

use std::sync::Arc;

use convrec_catalog::Catalog;
use convrec_core::{Candidates, Example};
use convrec_retrieve::Retriever;
use convrec_text::Prompter;
use convrec_text::segments::Segmentation;

pub use self::answer::Answer;
use self::constraint::Constraining;
pub use self::constraint::InCatalog;
pub use self::error::TaskError;
pub use self::sample::{Sample, TokenPair};

/// A catalog, a way to write prompts, and the length of the lists that are wanted; constrained or
/// not.
///
/// Under a constraint ([`Task::constrained`]) every list, in rollouts and in evaluations, is one of
/// exactly N different catalog items that were not seen, and log-probabilities are renormalised
/// over what could be written instead.
#[derive(Debug, Clone)]
pub struct Task {
    catalog: Catalog,
    prompter: Prompter,
    n_ranks: usize,
    segmentation: Segmentation,
    trie: Option<Constraining>,
    retriever: Option<Arc<Retriever>>,
    /// The largest number of tokens in a prompt.
    longest_prompt: usize,
}

impl Task {
    /// # Panics
    /// When `n_ranks` is 0.
    pub fn new(catalog: Catalog, prompter: Prompter, n_ranks: usize) -> Self {
        assert!(n_ranks > 0, "a list has at least one rank");
        Self {
            catalog,
            prompter,
            n_ranks,
            segmentation: Segmentation::OneParse,
            trie: None,
            retriever: None,
            longest_prompt: usize::MAX,
        }
    }

    /// This task with prompts of at most so many tokens, so that a prompt and its list fit the
    /// positions of a model. The oldest turns of a longer conversation are left out, up to the next
    /// one of the user; where the last turn alone does not fit, the sample is refused.
    pub fn with_longest_prompt(self, tokens: usize) -> Self {
        Self {
            longest_prompt: tokens,
            ..self
        }
    }

    /// This task with constrained lists of what a retriever finds, [`Retriever::prior`]: nothing
    /// else can be written, and the scores are added to the policy's logits. A policy that adds
    /// nothing lists what the retriever ranks first.
    #[must_use]
    pub fn with_retriever(self, retriever: Arc<Retriever>) -> Self {
        Self {
            retriever: Some(retriever),
            ..self
        }
    }

    /// Whether a retriever finds what lists may hold.
    pub fn has_retriever(&self) -> bool {
        self.retriever.is_some()
    }

    /// This task with unconstrained lists read so. [`Segmentation::Reference`] pairs rewards and
    /// tokens as the public Python code does, which is for comparisons; constrained lists are never
    /// read as text, and the same either way.
    pub fn with_segmentation(self, segmentation: Segmentation) -> Self {
        Self {
            segmentation,
            ..self
        }
    }

    /// How the tokens of unconstrained lists are given to ranks.
    pub fn segmentation(&self) -> Segmentation {
        self.segmentation
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// How prompts are written.
    pub fn prompter(&self) -> &Prompter {
        &self.prompter
    }

    /// N, the number of items wanted.
    pub fn n_ranks(&self) -> usize {
        self.n_ranks
    }

    /// Candidates that another search found for `example`, with what the retriever says of each.
    /// They stay as they are where there is no retriever or they have scores.
    #[must_use]
    pub fn prior_among(&self, example: &Example, candidates: Candidates) -> Candidates {
        match &self.retriever {
            Some(retriever) if candidates.scores().is_none() => {
                retriever.prior_among(example, candidates.items())
            }
            _ => candidates,
        }
    }

    /// What the retriever finds, where there is one.
    pub(crate) fn found(&self, example: &Example) -> Option<Candidates> {
        Some(self.retriever.as_ref()?.prior(example))
    }
}
