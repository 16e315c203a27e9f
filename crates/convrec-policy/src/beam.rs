//! The best completions of prompts under a constraint.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::constraint::Constraint;
use crate::decoder::Policy;
use crate::engine::{Engine, EngineLimits, Outcome, Ticket};
use crate::request::{Request, Written};
use crate::sampling::Sampling;
use crate::search::Search;

/// A completion that a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Beam {
    /// The tokens, with the end token where the constraint has one.
    pub tokens: Vec<u32>,
    /// The log-probability of all of it in nats, renormalised over the allowed tokens: the sum of
    /// what [`Policy::log_probs_constrained`] gives at the temperature of the search.
    pub log_prob: f64,
}

/// Completions side by side, unless one search has more.
const ROWS: usize = 128;

/// A search ends with its constraint; it is as long as that lets it be.
const LENGTH: usize = u32::MAX as usize;

impl Policy {
    /// The most likely completions of a prompt under a constraint, best first: at most `width` of
    /// them.
    ///
    /// With a `width` of 1 it is greedy decoding; with one as large as the number of completions it
    /// is exact. Under the trie of one-item lists it ranks a catalog by the probability of each
    /// item (De Cao et al., "Autoregressive entity retrieval", arXiv 2010.00904).
    ///
    /// # Panics
    /// When [`Policy::search`] panics.
    pub fn beam_search<C: Constraint + Clone>(
        &self,
        prompt: &[u32],
        constraint: C,
        width: usize,
    ) -> Vec<Beam> {
        let begin = |_| Search::beams(constraint.clone(), width);
        self.search(&[prompt], 1.0, &begin).remove(0)
    }

    /// Searches for several completions of each prompt, of all prompts side by side: `[P]` lists,
    /// best first. `begin(p)` says what is looked for. Log-probabilities are of
    /// `softmax(logits / temperature)`.
    ///
    /// # Panics
    /// When a prompt is empty or holds a token that is not in the vocabulary, a search has no beams
    /// or gives back none or more than it has beams, its constraint allows nothing to begin with,
    /// or the temperature is negative.
    pub fn search<'c>(
        &'c self,
        prompts: &[&'c [u32]],
        temperature: f32,
        begin: &dyn Fn(usize) -> Search<'c>,
    ) -> Vec<Vec<Beam>> {
        let searches: Vec<Search<'c>> = (0..prompts.len()).map(begin).collect();
        let widest = searches.iter().map(|search| search.num_beams).max();
        let limits = EngineLimits {
            rows: ROWS.max(widest.unwrap_or(0)),
            tokens: usize::MAX,
            waiting: usize::MAX,
            prefix: 0,
            ..EngineLimits::default()
        };
        let mut engine = Engine::new(self, limits);
        let mut prompt_of: HashMap<Ticket, usize> = HashMap::new();
        for (p, search) in searches.into_iter().enumerate() {
            let ticket = engine.submit(Request {
                prompt: Cow::Borrowed(prompts[p]),
                sampling: Sampling {
                    temperature,
                    ..Sampling::default()
                },
                max_new_tokens: LENGTH,
                end_token: u32::MAX,
                writers: vec![],
                search: Some(search),
                top: 0,
                client: 0,
                deadline: None,
            });
            let ticket = ticket.unwrap_or_else(|e| panic!("prompt {p}: {e}"));
            prompt_of.insert(ticket, p);
        }
        let mut results = vec![vec![]; prompts.len()];
        while !engine.is_idle() {
            engine.step();
            for (ticket, outcome) in engine.take_finished() {
                if let (Some(p), Outcome::Done(written)) = (prompt_of.remove(&ticket), outcome) {
                    results[p] = written.into_iter().map(Beam::from).collect();
                }
            }
        }
        results
    }
}

impl From<Written> for Beam {
    fn from(written: Written) -> Self {
        let completion = written.completion;
        let log_probs = completion.log_probs.iter();
        Self {
            log_prob: log_probs.map(|log_prob| f64::from(*log_prob)).sum(),
            tokens: completion.tokens,
        }
    }
}
