//! What an [`Engine`](crate::Engine) is asked, and what comes of it.

use std::borrow::Cow;
use std::time::Instant;

use crate::config::ConfigError;
use crate::constraint::Constraint;
use crate::generation::Completion;
use crate::sampling::Sampling;
use crate::search::Search;

/// Completions of one prompt.
pub struct Request<'a> {
    /// The prompt's tokens, at least one.
    pub prompt: Cow<'a, [u32]>,
    /// How each token is drawn.
    pub sampling: Sampling,
    /// A completion that has not ended after so many tokens is cut, a constrained one too.
    pub max_new_tokens: usize,
    /// The token that ends a completion and is part of it.
    pub end_token: u32,
    /// One for each completion, at least one; none where there is a search. Their constraints are
    /// equal to begin with.
    pub writers: Vec<Writer<'a>>,
    /// Looks for several completions together, in place of writers. The sampling then has a
    /// temperature alone.
    pub search: Option<Search<'a>>,
    /// For each token that was drawn, so many of the likeliest tokens are kept in
    /// [`Written::top`].
    pub top: usize,
    /// Whose request it is. Room that becomes free goes to the client with the fewest completions
    /// under way.
    pub client: u64,
    /// When the request is given up.
    pub deadline: Option<Instant>,
}

impl Request<'_> {
    /// Completions side by side.
    pub(crate) fn rows(&self) -> usize {
        let search = self.search.as_ref();
        search.map_or(self.writers.len(), |search| search.num_beams)
    }
}

/// How one completion of a [`Request`] is written.
pub struct Writer<'a> {
    /// Of the random numbers.
    pub seed: u64,
    /// Completions with the same seed and other streams are drawn independently.
    pub stream: u64,
    /// What may be written; anything where there is none.
    pub constraint: Option<Box<dyn Constraint + 'a>>,
    /// Is told every token, and whether the completion ends with it.
    pub stop: Option<Box<dyn FnMut(u32) -> bool + Send + 'a>>,
}

impl<'a> Writer<'a> {
    /// A writer of whatever the policy says.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        Self {
            seed,
            stream,
            constraint: None,
            stop: None,
        }
    }

    /// This writer under a constraint.
    #[must_use]
    pub fn within(self, constraint: impl Constraint + 'a) -> Self {
        Self {
            constraint: Some(Box::new(constraint)),
            ..self
        }
    }
}

/// A completion with what else was likely.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The completion.
    pub completion: Completion,
    /// For each of its tokens the likeliest ones with their log-probabilities, best first; empty
    /// where there was no choice or none were asked for ([`Request::top`]).
    pub top: Vec<Vec<(u32, f32)>>,
}

/// A request that an [`Engine`](crate::Engine) does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// As many requests wait as may.
    #[error("{waiting} requests wait already; ask again later")]
    Full {
        /// The number of requests that wait.
        waiting: usize,
    },
    /// The prompt and its completions never fit the cache.
    #[error("the prompt and its completions need {needed} tokens; expected at most {most}")]
    Tokens {
        /// Tokens of the prompt and of all completions, each as long as it may become.
        needed: usize,
        /// Tokens of the cache.
        most: usize,
    },
    /// More completions than are written side by side, or none.
    #[error("{asked} completions of a prompt; expected 1 to {most}")]
    Rows {
        /// The number that was asked for.
        asked: usize,
        /// The largest number.
        most: usize,
    },
    /// The prompt is empty, or the completions shall have no tokens.
    #[error("`{0}` is empty; expected at least one token")]
    Empty(&'static str),
    /// The prompt holds a token that the policy does not know.
    #[error("token {token} is not in the policy's vocabulary of {known}")]
    Token {
        /// The token.
        token: u32,
        /// The size of the vocabulary.
        known: usize,
    },
    /// The sampling makes no sense.
    #[error(transparent)]
    Sampling(#[from] ConfigError),
    /// The search makes no sense.
    #[error("{0}")]
    Search(String),
    /// The constraint allows nothing.
    #[error("the constraint allows nothing")]
    NothingAllowed,
}
