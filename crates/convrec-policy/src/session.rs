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

/// A prompt that is read.
pub(crate) struct Prompt<'a> {
    /// The place of its first token.
    pub(crate) first: usize,
    pub(crate) tokens: &'a [u32],
    /// How many of its tokens have their keys and values in place; not all of them.
    pub(crate) known: usize,
}

/// Tokens of a prompt that attend to those before them together, which bounds memory.
const CHUNK: usize = 64;

impl Prompt<'_> {
    /// Its tokens that are not known, as rows behind those that are.
    fn rows(&self) -> impl Iterator<Item = DecodeRow> {
        let (first, known) = (self.first, self.known);
        let left = self.tokens.len() - known;
        (0..left).step_by(CHUNK).map(move |done| {
            let new = CHUNK.min(left - done);
            DecodeRow {
                prompt: first,
                prompt_length: known,
                own: first + known,
                filled: done + new,
                new,
            }
        })
    }
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
    pub(crate) fn prefill(&mut self, prompts: &[Prompt<'_>]) -> Tensor<2> {
        let device = self.policy.device();
        // Those that are new come first. Of the others the tokens that are not known are rows.
        let (new, begun): (Vec<usize>, Vec<usize>) =
            (0..prompts.len()).partition(|n| prompts[*n].known == 0);
        let order = || new.iter().chain(&begun).map(|n| &prompts[*n]);
        let mut packing = Packing::default();
        for n in &new {
            packing.add(prompts[*n].tokens.len());
        }
        let rows: Vec<DecodeRow> = begun.iter().flat_map(|n| prompts[*n].rows()).collect();
        let of_rows = begun.iter().map(|n| &prompts[*n]);
        let of_rows = of_rows.flat_map(|prompt| prompt.known..prompt.tokens.len());
        let positions: Vec<usize> = packing.positions().into_iter().chain(of_rows).collect();
        let places = order()
            .flat_map(|prompt| prompt.first + prompt.known..prompt.first + prompt.tokens.len());
        let places = indices(places, &device);
        let ids = order().flat_map(|prompt| &prompt.tokens[prompt.known..]);
        let ids = indices(ids.map(|token| *token as usize), &device);
        let rotation = self.policy.frequencies().rotation(&positions, &device);
        let sight = Sight::Cached {
            packing: &packing,
            rows: &rows,
            places,
            caches: &mut self.layers,
        };
        let hidden = self.policy.run(ids, Pass { rotation, sight }); // [M, D]
        let mut last = vec![0; prompts.len()];
        let mut end = 0;
        for n in new.iter().chain(&begun) {
            end += prompts[*n].tokens.len() - prompts[*n].known;
            last[*n] = end - 1;
        }
        hidden.select(0, indices(last.into_iter(), &device))
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
        let sight = Sight::Cached {
            packing: &Packing::default(),
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

    /// Copies keys and values from other caches to places of this session.
    pub(crate) fn copy_from(&mut self, others: &[LayerCache], from: &[usize], to: &[usize]) {
        copy_between(self.policy, others, &mut self.layers, from, to);
    }

    /// Copies keys and values from places of this session to other caches.
    pub(crate) fn copy_to(&self, others: &mut [LayerCache], from: &[usize], to: &[usize]) {
        copy_between(self.policy, &self.layers, others, from, to);
    }
}

fn copy_between(
    policy: &Policy,
    source: &[LayerCache],
    target: &mut [LayerCache],
    from: &[usize],
    to: &[usize],
) {
    if from.is_empty() {
        return;
    }
    let device = policy.device();
    let [from, to] = [from, to].map(|places| indices(places.iter().copied(), &device));
    for (source, target) in source.iter().zip(target) {
        target.copy_from(source, &from, &to);
    }
}
