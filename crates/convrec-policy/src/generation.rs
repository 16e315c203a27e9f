//! What is sampled, and what comes of it.

use crate::sampling::Sampling;

/// What to generate.
#[derive(Debug, Clone)]
pub struct Generation {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// G, completions of each prompt.
    pub group_size: usize,
    /// A completion that has not ended by then is cut, a constrained one too.
    pub max_new_tokens: usize,
    /// Ends a completion and is part of it. Under a constraint that ends by itself, one that it
    /// never allows will do, as `u32::MAX`.
    pub end_token: u32,
    /// At most so many completions are sampled side by side, but those of one prompt at least;
    /// bounds memory (there is room for as many prompts, all as long as the longest one),
    /// changes no result.
    pub max_rows: usize,
    /// The same seed gives the same completions, however prompts are batched.
    pub seed: u64,
}

/// One sampled completion of T tokens; all three lists are of length T, at least 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// With the end token, where it ended.
    pub tokens: Vec<u32>,
    /// Of each token under `softmax(logits / temperature)` (greedy: of the logits), before
    /// filters, in nats: the very numbers that [`Policy::log_probs`](crate::Policy::log_probs) computes, to rounding.
    pub log_probs: Vec<f32>,
    /// Of that same distribution, in nats.
    pub entropies: Vec<f32>,
    /// Whether the end token was drawn; otherwise the completion was cut.
    pub ended: bool,
    /// Forward passes that it took part in, that of its prompt included: as many as tokens, or,
    /// under a constraint, one more than choices after the first token.
    pub passes: usize,
}
