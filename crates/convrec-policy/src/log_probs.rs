//! The log-probability of every completion token, with gradients, for a trainer.

use burn::tensor::{IndexingUpdateOp, Tensor};
use convrec_kernels::Packing;

use crate::constraint::Allowed;
use crate::decoder::{Policy, indices};
use crate::recompute::{Head, Tape};

/// A prompt and its completion as token ids.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// The prompt, at least one token.
    pub prompt: &'a [u32],
    /// The completion, which may be empty.
    pub completion: &'a [u32],
}

/// Numbers of every completion token, `[B, T]` with T the longest completion; 0 on padding.
#[derive(Debug)]
pub struct TokenLogProbs {
    /// The log-probabilities in nats, with gradients where the policy has them.
    pub log_probs: Tensor<2>,
    /// The entropies of the distributions that the tokens were drawn from, in nats, with gradients
    /// likewise. A loss may add them as a bonus.
    pub entropies: Tensor<2>,
    /// The backward pass from a loss to the weights.
    pub tape: Tape,
}

impl Policy {
    /// Log-probabilities of the completion tokens under `softmax(logits / temperature)`, each given
    /// all before it.
    ///
    /// There is one forward pass over all tokens, without padding. Adjacent sequences with the same
    /// prompt share it: it is computed once, and the completions branch from it. Logits are
    /// computed for the M completion tokens only, in parts where there are many, so that `[M, V]`
    /// never exists at once.
    ///
    /// # Panics
    /// When `sequences` or one of the prompts is empty, a token is not in the vocabulary, or
    /// `temperature` is not positive.
    pub fn log_probs(&self, sequences: &[Sequence<'_>], temperature: f32) -> TokenLogProbs {
        let all: Vec<(usize, usize)> = places(sequences).collect();
        self.at(sequences, &all, None, vec![], temperature)
    }

    /// The same under `softmax(logits / temperature)` renormalised over the tokens that were
    /// allowed: the distribution that [`Policy::generate_constrained`] draws from. `allowed` has an
    /// entry for each sequence. Where only one token is allowed the log-probability and the entropy
    /// are 0, and nothing is computed.
    ///
    /// Only the rows of the output matrix that are allowed somewhere are read.
    ///
    /// # Panics
    /// When [`Policy::log_probs`] panics, and when `allowed` does not fit the sequences.
    pub fn log_probs_constrained(
        &self,
        sequences: &[Sequence<'_>],
        allowed: &[&Allowed],
        temperature: f32,
    ) -> TokenLogProbs {
        let fits = sequences
            .iter()
            .zip(allowed)
            .all(|(s, allowed)| s.completion.len() == allowed.len());
        assert!(
            fits && sequences.len() == allowed.len(),
            "one entry of `allowed` for every token of every sequence"
        );
        let chosen: Vec<(usize, usize)> = places(sequences)
            .filter(|&(row, t)| !allowed[row].is_forced(t))
            .collect();
        let sets = chosen
            .iter()
            .map(|&(row, t)| allowed[row].at(t).to_vec())
            .collect();
        // A prior anywhere makes one everywhere: zeros where nothing is added.
        let prior = |&(row, t): &(usize, usize)| match allowed[row].prior_at(t) {
            Some(prior) => prior.to_vec(),
            None => vec![0.0; allowed[row].at(t).len()],
        };
        let has_prior = chosen
            .iter()
            .any(|&(row, t)| allowed[row].prior_at(t).is_some());
        let priors = match has_prior {
            true => chosen.iter().map(prior).collect(),
            false => vec![],
        };
        self.at(sequences, &chosen, Some(sets), priors, temperature)
    }

    /// The numbers at M `places`, each a row and a token of its completion, with the tokens allowed
    /// there, and what is added to their logits where there is a prior.
    fn at(
        &self,
        sequences: &[Sequence<'_>],
        places: &[(usize, usize)],
        allowed: Option<Vec<Vec<u32>>>,
        prior: Vec<Vec<f32>>,
        temperature: f32,
    ) -> TokenLogProbs {
        assert!(temperature > 0.0, "temperature must be positive");
        assert!(!sequences.is_empty(), "at least one sequence");
        sequences
            .iter()
            .flat_map(|s| [s.prompt, s.completion])
            .for_each(|tokens| self.assert_known(tokens));
        if let Some(row) = sequences.iter().position(|s| s.prompt.is_empty()) {
            panic!("the prompt of row {row} is empty");
        }
        let width = sequences
            .iter()
            .map(|s| s.completion.len())
            .max()
            .unwrap_or(0);
        let (b, device) = (sequences.len(), self.device());
        if places.is_empty() {
            let zeros = Tensor::zeros([b, width], &device);
            return TokenLogProbs {
                log_probs: zeros.clone(),
                entropies: zeros,
                tape: Tape::empty(),
            };
        }
        let packed = Packed::new(sequences);
        let ids = indices(packed.tokens.iter().map(|token| *token as usize), &device);
        let head = Head {
            read: places
                .iter()
                .map(|&(row, t)| packed.before(row, t))
                .collect(),
            targets: places
                .iter()
                .map(|&(row, t)| sequences[row].completion[t] as usize)
                .collect(),
            allowed,
            prior,
            temperature,
        };
        let write = indices(places.iter().map(|&(row, t)| row * width + t), &device);
        let (log_probs, entropies, tape) = self.compute(ids, packed.packing, head);
        // Numbers are added to zeros, so that gradients reach the M places and nothing else.
        let spread = |values: Tensor<1>| {
            let zeros = Tensor::<1>::zeros([b * width], &values.device());
            zeros
                .select_assign(0, write.clone(), values, IndexingUpdateOp::Add)
                .reshape([b, width])
        };
        TokenLogProbs {
            log_probs: spread(log_probs),
            entropies: spread(entropies),
            tape,
        }
    }
}

/// Every completion token, as a row and its place there.
fn places(sequences: &[Sequence<'_>]) -> impl Iterator<Item = (usize, usize)> {
    let of_row = |(row, sequence): (usize, &Sequence<'_>)| {
        (0..sequence.completion.len()).map(move |t| (row, t))
    };
    sequences.iter().enumerate().flat_map(of_row)
}

/// Sequences end to end. Adjacent sequences with one prompt have it once. The last token of a
/// completion is left out, as it is only ever a target.
struct Packed {
    packing: Packing,
    tokens: Vec<u32>,
    /// For each row the place of the last token of its prompt, and the beginning of its completion.
    rows: Vec<(usize, usize)>,
}

impl Packed {
    fn new(sequences: &[Sequence<'_>]) -> Self {
        let mut packed = Self {
            packing: Packing::default(),
            tokens: vec![],
            rows: vec![],
        };
        for group in sequences.chunk_by(|a, b| a.prompt == b.prompt) {
            let prompt = group[0].prompt;
            let inner = |sequence: &Sequence<'_>| sequence.completion.len().saturating_sub(1);
            let last = packed.tokens.len() + prompt.len() - 1;
            packed.tokens.extend(prompt);
            // A branch attends to two sets of keys. A prompt with one completion needs none.
            if let [only] = group {
                packed.packing.add(prompt.len() + inner(only));
                packed.push(last, &only.completion[..inner(only)]);
                continue;
            }
            let trunk = packed.packing.add(prompt.len());
            for sequence in group {
                packed.packing.branch(trunk, inner(sequence));
                packed.push(last, &sequence.completion[..inner(sequence)]);
            }
        }
        packed
    }

    fn push(&mut self, last_of_prompt: usize, completion: &[u32]) {
        self.rows.push((last_of_prompt, self.tokens.len()));
        self.tokens.extend(completion);
    }

    /// The place whose hidden state predicts token t: that of the token before it.
    fn before(&self, row: usize, t: usize) -> usize {
        let (last_of_prompt, completion) = self.rows[row];
        if t == 0 {
            last_of_prompt
        } else {
            completion + t - 1
        }
    }
}
