//! What a trainer needs of a policy: the log-probability of every completion token, with gradients.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

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
        assert!(temperature > 0.0, "temperature must be positive");
        let b = sequences.len();
        let width = sequences.iter().map(|s| s.completion.len()).max().expect("at least one sequence");
        sequences.iter().flat_map(|s| [s.prompt, s.completion]).for_each(|tokens| self.assert_known(tokens));
        let device = self.device();
        let places = Places::of(sequences);
        if places.read.is_empty() {
            let zeros = Tensor::zeros([b, width], &device);
            return TokenLogProbs { log_probs: zeros.clone(), entropies: zeros };
        }
        let hidden = self.hidden(places.ids(sequences, &device)); // [B, L, D]
        let [_, l, d] = hidden.dims();
        let index = |values: Vec<i64>| {
            let n = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [n]), &device)
        };
        let hidden = hidden.reshape([b * l, d]).select(0, index(places.read)); // [M, D]
        let targets = index(places.targets); // [M]
        let (log_probs, entropies) =
            convrec_kernels::token_log_probs(hidden, self.output_matrix(), targets, temperature); // [M] each
        let write = index(places.write);
        let spread = |values: Tensor<1>| {
            let zeros = Tensor::<1>::zeros([b * width], &values.device());
            zeros.select_assign(0, write.clone(), values, IndexingUpdateOp::Add).reshape([b, width])
        };
        TokenLogProbs { log_probs: spread(log_probs), entropies: spread(entropies) }
    }
}

/// Where the completion tokens are read from (rows of `[B L]`) and written to (places of `[B T]`).
struct Places {
    read: Vec<i64>,
    write: Vec<i64>,
    targets: Vec<i64>,
    length: usize,
}

impl Places {
    fn of(sequences: &[Sequence<'_>]) -> Self {
        let width = sequences.iter().map(|s| s.completion.len()).max().unwrap_or(0);
        // The last token is only ever a target.
        let length = sequences.iter().map(|s| s.prompt.len() + s.completion.len() - 1).max().unwrap_or(0);
        let mut places = Self { read: vec![], write: vec![], targets: vec![], length };
        for (row, sequence) in sequences.iter().enumerate() {
            assert!(!sequence.prompt.is_empty(), "the prompt of row {row} is empty");
            for (t, token) in sequence.completion.iter().enumerate() {
                places.read.push((row * length + sequence.prompt.len() - 1 + t) as i64);
                places.write.push((row * width + t) as i64);
                places.targets.push(i64::from(*token));
            }
        }
        places
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
