//! What a trainer needs of a policy: the log-probability of every completion token, with gradients.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use crate::constraint::Allowed;
use crate::decoder::Policy;

/// A prompt and what was written after it, as token ids.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// At least one token.
    pub prompt: &'a [u32],
    /// May be empty.
    pub completion: &'a [u32],
}

/// Per completion token, `[B, T]` with T the longest completion; 0 on padding.
pub struct TokenLogProbs {
    /// Natural logarithms, with gradients where the policy has them.
    pub log_probs: Tensor<2>,
    /// Entropy of the distribution that each token was drawn from, in nats, without gradients.
    pub entropies: Tensor<2>,
}

impl Policy {
    /// Log-probabilities of the completion tokens under `softmax(logits / temperature)`, each given all before it.
    ///
    /// One forward pass over `[B, L]` ids, L the longest prompt and completion together; logits are made of the M
    /// completion places only (on the CPU in chunks, so that `[M, V]` never exists at once).
    ///
    /// # Panics
    /// When `sequences` or one of the prompts is empty, a token is not in the vocabulary, or `temperature` is not positive.
    pub fn log_probs(&self, sequences: &[Sequence<'_>], temperature: f32) -> TokenLogProbs {
        let places = Places::of(sequences, |_, _| true);
        self.at(sequences, &places, temperature, |hidden, targets| {
            convrec_kernels::token_log_probs(hidden, self.output_matrix(), targets, temperature)
        })
    }

    /// As [`Policy::log_probs`], under `softmax(logits / temperature)` renormalised over the tokens that were allowed:
    /// what [`Policy::generate_within`] draws from. `allowed` has an entry for each sequence. Where only one token is
    /// allowed the log-probability and the entropy are 0, and nothing is computed.
    ///
    /// Only the rows of the output matrix that some place allows are read.
    ///
    /// # Panics
    /// As [`Policy::log_probs`], and when `allowed` does not fit the sequences.
    pub fn log_probs_within(
        &self,
        sequences: &[Sequence<'_>],
        allowed: &[&Allowed],
        temperature: f32,
    ) -> TokenLogProbs {
        let fits = sequences.iter().zip(allowed).all(|(s, allowed)| s.completion.len() == allowed.len());
        assert!(fits && sequences.len() == allowed.len(), "one entry of `allowed` for every token of every sequence");
        let places = Places::of(sequences, |row, t| !allowed[row].is_forced(t));
        let sets: Vec<&[u32]> = places.tokens.iter().map(|&(row, t)| allowed[row].at(t)).collect();
        self.at(sequences, &places, temperature, |hidden, targets| {
            convrec_kernels::token_log_probs_within(hidden, self.output_matrix(), targets, &sets, temperature)
        })
    }

    /// `compute` is given the hidden states `[M, D]` that the M places are read from, and their tokens `[M]`.
    fn at(
        &self,
        sequences: &[Sequence<'_>],
        places: &Places,
        temperature: f32,
        compute: impl FnOnce(Tensor<2>, Tensor<1, Int>) -> (Tensor<1>, Tensor<1>),
    ) -> TokenLogProbs {
        assert!(temperature > 0.0, "temperature must be positive");
        assert!(!sequences.is_empty(), "at least one sequence");
        sequences.iter().flat_map(|s| [s.prompt, s.completion]).for_each(|tokens| self.assert_known(tokens));
        let (b, width, device) = (sequences.len(), places.width, self.device());
        if places.tokens.is_empty() {
            let zeros = Tensor::zeros([b, width], &device);
            return TokenLogProbs { log_probs: zeros.clone(), entropies: zeros };
        }
        let hidden = self.hidden(places.ids(sequences, &device)); // [B, L, D]
        let [_, l, d] = hidden.dims();
        let index = |of: &dyn Fn(usize, usize) -> usize| {
            let values: Vec<i64> = places.tokens.iter().map(|&(row, t)| of(row, t) as i64).collect();
            let n = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [n]), &device)
        };
        // A token is predicted where the one before it stands.
        let read = index(&|row, t| row * l + sequences[row].prompt.len() - 1 + t);
        let targets = index(&|row, t| sequences[row].completion[t] as usize);
        let write = index(&|row, t| row * width + t);
        let (log_probs, entropies) = compute(hidden.reshape([b * l, d]).select(0, read), targets); // [M] each
        let spread = |values: Tensor<1>| {
            let zeros = Tensor::<1>::zeros([b * width], &values.device());
            zeros.select_assign(0, write.clone(), values, IndexingUpdateOp::Add).reshape([b, width])
        };
        TokenLogProbs { log_probs: spread(log_probs), entropies: spread(entropies) }
    }
}

/// The completion tokens whose log-probabilities are computed.
struct Places {
    /// The row and the place in its completion of each of the M tokens.
    tokens: Vec<(usize, usize)>,
    /// T, the longest completion.
    width: usize,
    /// L, the longest prompt and completion together.
    length: usize,
}

impl Places {
    fn of(sequences: &[Sequence<'_>], counts: impl Fn(usize, usize) -> bool) -> Self {
        for (row, sequence) in sequences.iter().enumerate() {
            assert!(!sequence.prompt.is_empty(), "the prompt of row {row} is empty");
        }
        let of_row = |row: usize| (0..sequences[row].completion.len()).map(move |t| (row, t));
        Self {
            tokens: (0..sequences.len()).flat_map(of_row).filter(|&(row, t)| counts(row, t)).collect(),
            width: sequences.iter().map(|s| s.completion.len()).max().unwrap_or(0),
            // The last token is only ever a target.
            length: sequences.iter().map(|s| s.prompt.len() + s.completion.len() - 1).max().unwrap_or(0),
        }
    }

    /// `[B, L]`, padded on the right with token 0, which nothing real sees.
    fn ids(&self, sequences: &[Sequence<'_>], device: &burn::tensor::Device) -> Tensor<2, Int> {
        let mut ids = Vec::with_capacity(sequences.len() * self.length);
        for sequence in sequences {
            let tokens = sequence.prompt.iter().chain(sequence.completion).map(|token| i64::from(*token));
            let padding = std::iter::repeat(0);
            ids.extend(tokens.chain(padding).take(self.length));
        }
        Tensor::from_data(TensorData::new(ids, [sequences.len(), self.length]), device)
    }
}
