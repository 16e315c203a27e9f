//! Forward passes through caches: a prefill of each prompt, then decoding of the rows' pending
//! tokens.

use burn::tensor::Tensor;
use convrec_kernels::{DecodeRow, Packing};

use crate::block::{Pass, Sight};
use crate::cache::{LayerCache, Slots};
use crate::decoder::{Policy, indices};

/// Tokens a row that caches have room for before they grow.
const FIRST_CAPACITY: usize = 128;

pub(crate) struct Session<'a> {
    pub(crate) policy: &'a Policy,
    layers: Vec<LayerCache>,
    slots: Slots,
}

/// A row that goes on.
pub(crate) struct Going<'a> {
    /// The row's slot, and that of its prompt.
    pub(crate) row: usize,
    pub(crate) prompt: usize,
    pub(crate) prompt_length: usize,
    /// All tokens that it has written.
    pub(crate) tokens: &'a [u32],
    /// How many of these no forward pass has seen yet; at least one.
    pub(crate) pending: usize,
}

impl<'a> Session<'a> {
    /// Slots for prompts of at most `longest` tokens, and for rows that write at most `new`.
    pub(crate) fn new(
        policy: &'a Policy,
        prompts: usize,
        longest: usize,
        rows: usize,
        new: usize,
    ) -> Self {
        let slots = Slots {
            prompts,
            prompt_length: longest,
            rows,
            capacity: new.clamp(1, FIRST_CAPACITY),
        };
        let (shape, device) = (policy.config(), policy.device());
        let layers = (0..shape.num_hidden_layers)
            .map(|layer| LayerCache::new(slots, shape, layer, &device))
            .collect();
        Self {
            policy,
            layers,
            slots,
        }
    }

    /// Runs prompts and keeps their keys and values in their slots. Gives the hidden states of
    /// their last tokens, `[prompts, D]`.
    pub(crate) fn prefill(&mut self, prompts: &[(usize, &[u32])]) -> Tensor<2> {
        let device = self.policy.device();
        let mut packing = Packing::default();
        let ranges: Vec<_> = prompts
            .iter()
            .map(|(_, prompt)| packing.add(prompt.len()))
            .collect();
        let longest = self.slots.prompt_length;
        let places = prompts
            .iter()
            .flat_map(|(slot, prompt)| (0..prompt.len()).map(move |t| slot * longest + t));
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
        let most = going.iter().map(|row| row.tokens.len()).max().unwrap_or(0);
        while self.slots.capacity < most {
            self.layers.iter_mut().for_each(LayerCache::grow);
            self.slots.capacity *= 2;
        }
        let of_row = |going: &Going<'_>| {
            let Going {
                row,
                prompt,
                prompt_length,
                tokens,
                pending,
            } = *going;
            DecodeRow {
                row,
                prompt,
                prompt_length,
                filled: tokens.len(),
                new: pending,
            }
        };
        let rows: Vec<DecodeRow> = going.iter().map(of_row).collect();
        let capacity = self.slots.capacity;
        let new = |row: &DecodeRow| row.filled - row.new..row.filled;
        let places = rows
            .iter()
            .flat_map(|row| new(row).map(move |t| row.row * capacity + t));
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

    /// From now on there are as many rows as in `from`: row r goes on from what row `from[r]` has
    /// written.
    pub(crate) fn copy_rows(&mut self, from: &[usize]) {
        let from = indices(from.iter().copied(), &self.policy.device());
        self.layers
            .iter_mut()
            .for_each(|layer| layer.copy_rows(&from));
    }
}
