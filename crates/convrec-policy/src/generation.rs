//! What is sampled, and what comes of it.

use crate::sampling::Sampling;

/// How completions are sampled: how many, how long, from which distribution.
#[derive(Debug, Clone)]
pub struct Generation {
    /// How each token is drawn.
    pub sampling: Sampling,
    /// G, the number of completions of each prompt.
    pub group_size: usize,
    /// A completion that has not ended after so many tokens is cut, a constrained one too.
    pub max_new_tokens: usize,
    /// The token that ends a completion and is part of it. A constraint that ends by itself needs
    /// none: a token that it never allows, such as `u32::MAX`, will do.
    pub end_token: u32,
    /// At most so many completions are sampled side by side, and at least those of one prompt. It
    /// bounds memory and changes no result. There is room for as many prompts as fit, each as long
    /// as the longest one.
    pub max_rows: usize,
    /// The same seed gives the same completions, however prompts are batched.
    pub seed: u64,
}

/// One sampled completion of T tokens; all three lists are of length T, at least 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The tokens, with the end token where the completion ended.
    pub tokens: Vec<u32>,
    /// The log-probability of each token in nats, under `softmax(logits / temperature)` before any
    /// filter; under `softmax(logits)` when greedy. They are the numbers that
    /// [`Policy::log_probs`](crate::Policy::log_probs) computes, to rounding.
    pub log_probs: Vec<f32>,
    /// The entropy of that distribution at each token, in nats.
    pub entropies: Vec<f32>,
    /// Whether the end token was drawn; otherwise the completion was cut.
    pub ended: bool,
    /// The forward passes that it took part in, its prompt's included. There are as many as tokens
    /// or, under a constraint, one more than choices after the first token.
    pub passes: usize,
}
