//! Forward passes through caches: a prefill of each prompt, then decoding of the rows' pending
//! tokens.

use burn::tensor::Tensor;
use convrec_kernels::{DecodeRow, Packing};

use crate::block::{Pass, Sight};
use crate::cache::LayerCache;
use crate::decoder::{Policy, indices};

pub(crate) struct Session<'a> {
    pub(crate) policy: &'a Policy,
    layers: Vec<LayerCache>,
    places: usize,
}

/// A row that goes on.
pub(crate) struct Going<'a> {
    /// The place of the first token of its prompt.
    pub(crate) prompt: usize,
    pub(crate) prompt_length: usize,
    /// The place of the first token that it wrote.
    pub(crate) own: usize,
    /// All tokens that it has written.
    pub(crate) tokens: &'a [u32],
    /// How many of these no forward pass has seen yet; at least one.
    pub(crate) pending: usize,
}

impl<'a> Session<'a> {
    /// Room for so many tokens.
    pub(crate) fn new(policy: &'a Policy, places: usize) -> Self {
        let (shape, device) = (policy.config(), policy.device());
        let layers = (0..shape.num_hidden_layers)
            .map(|layer| LayerCache::new(places, shape, layer, &device))
            .collect();
        Self {
            policy,
            layers,
            places,
        }
    }

    /// Makes room for so many tokens in all.
    pub(crate) fn grow(&mut self, places: usize) {
        if let Some(more) = places.checked_sub(self.places).filter(|more| *more > 0) {
            self.layers.iter_mut().for_each(|layer| layer.grow(more));
            self.places = places;
        }
    }

    /// Runs prompts and keeps their keys and values from a place on. Gives the hidden states of
    /// their last tokens, `[prompts, D]`.
    pub(crate) fn prefill(&mut self, prompts: &[(usize, &[u32])]) -> Tensor<2> {
        let device = self.policy.device();
        let mut packing = Packing::default();
        let ranges: Vec<_> = prompts
            .iter()
            .map(|(_, prompt)| packing.add(prompt.len()))
            .collect();
        let places = prompts
            .iter()
            .flat_map(|(first, prompt)| *first..first + prompt.len());
        let places = indices(places, &device);
        let ids = indices(
            prompts
                .iter()
                .flat_map(|(_, prompt)| *prompt)
                .map(|token| *token as usize),
            &device,
        );
        let rotation = self
            .policy
            .frequencies()
            .rotation(&packing.positions(), &device);
        let sight = Sight::Prompts {
            packing: &packing,
            places,
            caches: &mut self.layers,
        };
        let hidden = self.policy.run(ids, Pass { rotation, sight }); // [M, D]
        hidden.select(
            0,
            indices(ranges.iter().map(|id| packing.range(*id).end - 1), &device),
        )
    }

    /// Runs the pending tokens of rows. Gives the hidden states of their last tokens,
    /// `[rows, D]`. Rows of one prompt should be adjacent.
    pub(crate) fn decode(&mut self, going: &[Going<'_>]) -> Tensor<2> {
        let device = self.policy.device();
        let of_row = |going: &Going<'_>| DecodeRow {
            prompt: going.prompt,
            prompt_length: going.prompt_length,
            own: going.own,
            filled: going.tokens.len(),
            new: going.pending,
        };
        let rows: Vec<DecodeRow> = going.iter().map(of_row).collect();
        let new = |row: &DecodeRow| row.filled - row.new..row.filled;
        let places = rows
            .iter()
            .flat_map(|row| new(row).map(move |t| row.own + t));
        let positions: Vec<usize> = rows
            .iter()
            .flat_map(|row| new(row).map(move |t| row.prompt_length + t))
            .collect();
        let ids = going
            .iter()
            .flat_map(|row| &row.tokens[row.tokens.len() - row.pending..]);
        let ids = indices(ids.map(|token| *token as usize), &device);
        let rotation = self.policy.frequencies().rotation(&positions, &device);
        let sight = Sight::Rows {
            rows: &rows,
            places: indices(places, &device),
            caches: &mut self.layers,
        };
        let hidden = self.policy.run(ids, Pass { rotation, sight }); // [M, D]
        let ends = rows.iter().scan(0, |end, row| {
            *end += row.new;
            Some(*end - 1)
        });
        hidden.select(0, indices(ends, &device))
    }

    /// Copies keys and values from places to others; all are read before any is written.
    pub(crate) fn copy(&mut self, from: &[usize], to: &[usize]) {
        if from.is_empty() {
            return;
        }
        let device = self.policy.device();
        let [from, to] = [from, to].map(|places| indices(places.iter().copied(), &device));
        self.layers
            .iter_mut()
            .for_each(|layer| layer.copy(&from, &to));
    }
}
