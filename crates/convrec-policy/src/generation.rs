//! The settings of sampling, and its results.

use crate::sampling::Sampling;

/// The settings of sampling: number, length and distribution of completions.
#[derive(Debug, Clone)]
pub struct Generation {
    /// The distribution of each token.
    pub sampling: Sampling,
    /// G, the number of completions of each prompt.
    pub group_size: usize,
    /// The number of tokens after which a completion is cut, a constrained one too.
    pub max_new_tokens: usize,
    /// The token that ends a completion and is part of it. A constraint that ends by itself needs
    /// none: a token that it never allows, such as `u32::MAX`, will do.
    pub end_token: u32,
    /// The most completions that are sampled side by side, at least those of one prompt. It bounds
    /// memory and changes no result. There is room for as many prompts as fit, each as long as the
    /// longest one.
    pub max_rows: usize,
    /// The seed. The same seed gives the same completions, however prompts are batched.
    pub seed: u64,
}

/// One sampled completion of T tokens, T at least 1. All three lists have length T.
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
