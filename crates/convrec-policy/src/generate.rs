//! Sampling completions of a list of prompts, by an [`Engine`] that takes them on one after the
//! other.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::constraint::Constraint;
use crate::decoder::Policy;
use crate::engine::{Engine, EngineLimits, Outcome, Ticket};
use crate::generation::{Completion, Generation};
use crate::request::{Request, Writer};

impl Policy {
    /// Samples `group_size` completions of each prompt: `[P][G]`, in the order of the prompts.
    ///
    /// A prompt is run once for all of its completions. Completions that have ended leave the
    /// batch, and further prompts take their place. Use a policy without autodiff
    /// (`policy.valid()`): with it, every step is kept for a backward pass that never comes.
    /// Logits that are NaN (weights that have diverged) give log-probabilities that are NaN.
    ///
    /// # Panics
    /// When a prompt is empty or holds a token that is not in the vocabulary, `group_size` or
    /// `max_new_tokens` is 0, or [`Sampling::check`](crate::Sampling::check) fails.
    pub fn generate(&self, prompts: &[&[u32]], config: &Generation) -> Vec<Vec<Completion>> {
        self.run_batches(prompts, config, &|_| None, &|p, g| by_place(config, p, g))
    }

    /// Samples as [`Policy::generate`] does, each completion under a constraint. `begin(p)` makes
    /// the constraint of a completion of prompt p.
    ///
    /// Tokens are drawn from the distribution renormalised over the allowed tokens;
    /// log-probabilities and entropies are of that distribution, and 0 where there is no
    /// choice. [`Policy::log_probs_constrained`] computes the same numbers. A completion also ends
    /// where nothing is allowed any more. All constraints that `begin` makes of one prompt are
    /// equal.
    ///
    /// Tokens without a choice cost no forward pass of their own: they are decoded together
    /// with the next choice. Logits are computed of the allowed tokens only.
    ///
    /// # Panics
    /// When [`Policy::generate`] panics, and when a constraint allows nothing to begin with.
    pub fn generate_constrained<'c>(
        &self,
        prompts: &[&[u32]],
        config: &Generation,
        begin: &dyn Fn(usize) -> Box<dyn Constraint + 'c>,
    ) -> Vec<Vec<Completion>> {
        self.run_batches(prompts, config, &|p| Some(begin(p)), &|p, g| {
            by_place(config, p, g)
        })
    }

    /// Samples with a seed for each prompt in place of the config's: what is drawn for a prompt
    /// then does not depend on which others there are. Completions are constrained where `begin` is
    /// given.
    ///
    /// # Panics
    /// When [`Policy::generate_constrained`] panics, and when there are not as many seeds as
    /// prompts.
    pub fn generate_seeded<'c>(
        &self,
        prompts: &[&[u32]],
        seeds: &[u64],
        config: &Generation,
        begin: Option<&dyn Fn(usize) -> Box<dyn Constraint + 'c>>,
    ) -> Vec<Vec<Completion>> {
        assert_eq!(prompts.len(), seeds.len(), "a seed for each prompt");
        self.run_batches(prompts, config, &|p| Some(begin?(p)), &|p, g| {
            (seeds[p], g as u64)
        })
    }

    /// Samples for a part of a longer list of prompts, so that several devices can share the list.
    /// These are the prompts from place `first` on, and they get the completions that they get in
    /// the whole list. Completions are constrained where `begin` is given.
    ///
    /// # Panics
    /// When [`Policy::generate_constrained`] panics.
    pub fn generate_part<'c>(
        &self,
        prompts: &[&[u32]],
        first: usize,
        config: &Generation,
        begin: Option<&dyn Fn(usize) -> Box<dyn Constraint + 'c>>,
    ) -> Vec<Vec<Completion>> {
        self.run_batches(prompts, config, &|p| Some(begin?(p)), &|p, g| {
            by_place(config, first + p, g)
        })
    }

    fn run_batches<'c>(
        &self,
        prompts: &[&[u32]],
        config: &Generation,
        begin: Begin<'_, 'c>,
        stream: Stream<'_>,
    ) -> Vec<Vec<Completion>> {
        assert!(
            config.group_size > 0 && config.max_new_tokens > 0,
            "group_size and max_new_tokens must be positive"
        );
        config
            .sampling
            .check()
            .unwrap_or_else(|e| panic!("sampling, {e}"));
        prompts.iter().for_each(|prompt| self.assert_known(prompt));
        assert!(
            prompts.iter().all(|prompt| !prompt.is_empty()),
            "a prompt is empty"
        );
        let mut results: Vec<Vec<Completion>> = vec![vec![]; prompts.len()];
        let limits = limits(prompts, config);
        let mut engine = Engine::new(self, limits);
        // The longest first: the room of one that is done is enough for the next.
        let mut waiting: Vec<usize> = (0..prompts.len()).collect();
        waiting.sort_by_key(|&p| prompts[p].len());
        let mut prompt_of: HashMap<Ticket, usize> = HashMap::new();
        while !(waiting.is_empty() && engine.is_idle()) {
            // Constraints take memory, so they are made no earlier than they are needed.
            while engine.waiting_rows() < limits.rows
                && let Some(p) = waiting.pop()
            {
                let writer = |g: usize| {
                    let (seed, stream) = stream(p, g);
                    Writer {
                        constraint: begin(p),
                        ..Writer::new(seed, stream)
                    }
                };
                let request = Request {
                    prompt: Cow::Borrowed(prompts[p]),
                    sampling: config.sampling,
                    max_new_tokens: config.max_new_tokens,
                    end_token: config.end_token,
                    writers: (0..config.group_size).map(writer).collect(),
                    search: None,
                    top: 0,
                    client: 0,
                    deadline: None,
                };
                let ticket = engine.submit(request);
                let ticket = ticket.unwrap_or_else(|e| panic!("prompt {p}: {e}"));
                prompt_of.insert(ticket, p);
            }
            engine.step();
            for (ticket, outcome) in engine.take_finished() {
                if let (Some(p), Outcome::Done(written)) = (prompt_of.remove(&ticket), outcome) {
                    results[p] = written.into_iter().map(|w| w.completion).collect();
                }
            }
        }
        results
    }
}

/// A new batch of prompts enters when so large a part of the room is free: the more at once, the
/// faster.
const FREE_SHARE: usize = 4;

/// Prompt tokens in one forward pass.
const PREFILL_TOKENS: usize = 16_384;

/// Room for as many prompts as fit, each as long as the longest one.
fn limits(prompts: &[&[u32]], config: &Generation) -> EngineLimits {
    let slots = (config.max_rows / config.group_size).clamp(1, prompts.len().max(1));
    let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
    let places = longest + config.group_size.saturating_mul(config.max_new_tokens);
    EngineLimits {
        rows: slots * config.group_size,
        tokens: slots.saturating_mul(places).max(1),
        waiting: usize::MAX,
        prefill: PREFILL_TOKENS,
        free_share: FREE_SHARE,
        // A prompt is read once for all of its completions as it is, and a resumed run has the
        // bits of one that was not cut.
        prefix: 0,
    }
}

/// Makes the constraint of prompt p.
type Begin<'a, 'c> = &'a dyn Fn(usize) -> Option<Box<dyn Constraint + 'c>>;

/// The seed and the stream of random numbers of completion g of prompt p.
type Stream<'a> = &'a dyn Fn(usize, usize) -> (u64, u64);

/// One seed, and a stream for each place.
fn by_place(config: &Generation, p: usize, g: usize) -> (u64, u64) {
    (config.seed, (p * config.group_size + g) as u64)
}
