//! Beam search: the most likely completions under a constraint.

use crate::constraint::{Constraint, add_prior};
use crate::decoder::Policy;
use crate::session::{Going, Session};

/// A completion that a beam search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Beam {
    /// The tokens, with the end token where the constraint has one.
    pub tokens: Vec<u32>,
    /// The log-probability of all of it in nats, renormalised over the allowed tokens: the sum of what
    /// [`Policy::log_probs_constrained`] gives at temperature 1.
    pub log_prob: f64,
}

/// Tokens a beam that there is room for before the cache grows.
const FIRST_CAPACITY: usize = 32;

/// A beam with its way on.
#[derive(Clone)]
struct Open<C> {
    beam: Beam,
    constraint: C,
    /// How many of its tokens have their keys and values in the cache.
    cached: usize,
}

impl<C: Constraint> Open<C> {
    fn is_done(&self) -> bool {
        self.constraint.allowed().is_empty()
    }

    fn push(&mut self, token: u32, log_prob: f64) {
        self.beam.tokens.push(token);
        self.beam.log_prob += log_prob;
        self.constraint.push(token);
        // Without a choice there is nothing to search.
        while let [only] = *self.constraint.allowed() {
            self.beam.tokens.push(only);
            self.constraint.push(only);
        }
    }
}

impl Policy {
    /// The most likely completions of a prompt under a constraint, best first: at most `width` of
    /// them.
    ///
    /// Every step takes each of the `width` best beginnings on by one choice. The search ends when
    /// no beginning is more likely than the completions that were found. With a `width` of 1 it
    /// is greedy decoding; with one as large as the number of completions it is exact. Under
    /// the trie of one-item lists it ranks a catalog by the probability of each item (De Cao et
    /// al., "Autoregressive entity retrieval", arXiv 2010.00904).
    ///
    /// # Panics
    /// When `width` is 0, the prompt is empty or holds a token that is not in the vocabulary, or
    /// the constraint allows nothing to begin with.
    pub fn beam_search<C: Constraint + Clone>(
        &self,
        prompt: &[u32],
        constraint: C,
        width: usize,
    ) -> Vec<Beam> {
        assert!(
            width > 0 && !prompt.is_empty(),
            "a beam search needs a width and a prompt"
        );
        assert!(
            !constraint.allowed().is_empty(),
            "the constraint allows nothing"
        );
        self.assert_known(prompt);
        // Row r has the places from `prompt.len() + r * capacity` on.
        let mut capacity = FIRST_CAPACITY;
        let mut session = Session::new(self, prompt.len() + capacity);
        let hidden = session.prefill(&[(0, prompt)]);
        let begin = Open {
            beam: Beam {
                tokens: vec![],
                log_prob: 0.0,
            },
            constraint,
            cached: 0,
        };
        let mut done: Vec<Beam> = vec![];
        let mut open = vec![begin];
        let mut hidden = Some(hidden);
        loop {
            // The first round begins with the prompt's own hidden state. Later ones run what each
            // beginning has written since: its choice and the tokens that it left no choice.
            let hidden = hidden.take().unwrap_or_else(|| {
                let going = open.iter().enumerate().map(|(row, open)| Going {
                    prompt: 0,
                    prompt_length: prompt.len(),
                    own: prompt.len() + row * capacity,
                    tokens: &open.beam.tokens,
                    pending: open.beam.tokens.len() - open.cached,
                });
                session.decode(&going.collect::<Vec<_>>())
            });
            let allowed: Vec<&[u32]> = open.iter().map(|open| open.constraint.allowed()).collect();
            let logits =
                convrec_kernels::logits_constrained(hidden, self.output_matrix(), &allowed);
            let mut logits = logits
                .into_data()
                .try_into_vec_as::<f32>()
                .expect("logits are floats");
            let mut first = 0;
            for open in &open {
                let size = open.constraint.allowed().len();
                add_prior(&mut logits[first..first + size], open.constraint.prior());
                first += size;
            }
            let steps = best_steps(&open, &logits, width);
            let mut parents = vec![];
            let mut next = vec![];
            // A parent may have several children, or none: children copy its constraint here, and
            // its keys and values below.
            for (parent, token, log_prob) in steps {
                let mut child = Open {
                    cached: open[parent].beam.tokens.len(),
                    ..open[parent].clone()
                };
                child.push(token, log_prob);
                if child.is_done() {
                    done.push(child.beam);
                } else {
                    parents.push(parent);
                    next.push(child);
                }
            }
            done.sort_by(|a, b| b.log_prob.total_cmp(&a.log_prob));
            done.truncate(width);
            // A beginning only ever becomes less likely, so those below the worst of `width` whole
            // completions can never be among the best.
            let bar = if done.len() == width {
                done[width - 1].log_prob
            } else {
                f64::NEG_INFINITY
            };
            // NaN has no order: beginnings of weights that have diverged stay, and the search ends
            // with the constraint.
            let drop = |open: &Open<C>| open.beam.log_prob <= bar;
            let keep: Vec<bool> = next.iter().map(|open| !drop(open)).collect();
            let kept = |n: &usize| keep[*n];
            parents = (0..keep.len()).filter(kept).map(|n| parents[n]).collect();
            open = next
                .into_iter()
                .zip(&keep)
                .filter(|(_, keep)| **keep)
                .map(|(open, _)| open)
                .collect();
            if open.is_empty() {
                return done;
            }
            // Row n of the cache becomes that of the n-th beginning that is kept.
            let longest = open.iter().map(|open| open.beam.tokens.len()).max();
            let before = capacity;
            while capacity < longest.unwrap_or(0) {
                capacity *= 2;
            }
            session.grow(prompt.len() + open.len() * capacity);
            let cached = open
                .iter()
                .map(|open| open.cached)
                .zip(&parents)
                .enumerate();
            let places = cached.flat_map(|(row, (cached, parent))| {
                (0..cached).map(move |t| (parent * before + t, row * capacity + t))
            });
            let moved = places.filter(|(from, to)| from != to);
            let (from, to): (Vec<usize>, Vec<usize>) = moved
                .map(|(from, to)| (prompt.len() + from, prompt.len() + to))
                .unzip();
            session.copy(&from, &to);
        }
    }
}

/// The `width` most likely steps: beam, token, log-probability of the token.
fn best_steps<C: Constraint>(
    open: &[Open<C>],
    logits: &[f32],
    width: usize,
) -> Vec<(usize, u32, f64)> {
    let mut steps = vec![];
    let mut first = 0;
    for (parent, open) in open.iter().enumerate() {
        let allowed = open.constraint.allowed();
        let logits = &logits[first..first + allowed.len()];
        first += allowed.len();
        let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let log_sum = logits
            .iter()
            .map(|x| (f64::from(*x) - max).exp())
            .sum::<f64>()
            .ln()
            + max;
        steps.extend(
            allowed
                .iter()
                .zip(logits)
                .map(|(token, logit)| (parent, *token, f64::from(*logit) - log_sum)),
        );
    }
    let total = |(parent, _, log_prob): &(usize, u32, f64)| open[*parent].beam.log_prob + log_prob;
    steps.sort_by(|a, b| total(b).total_cmp(&total(a)));
    steps.truncate(width);
    steps
}
