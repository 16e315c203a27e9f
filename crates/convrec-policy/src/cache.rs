//! Keys and values of earlier tokens: those of a prompt once for all of its completions, those of each completion in
//! a buffer that is allocated once.

use burn::tensor::{Bool, Int, Tensor, activation};

use crate::decoder::HIDDEN;

/// One layer's cache. P prompts with G completions each; B = P G; completions of a prompt are adjacent.
pub(crate) struct LayerCache {
    /// `[P, Hk, Tp, d]`
    prompt: Option<(Tensor<4>, Tensor<4>)>,
    /// `[B, Hk, capacity, d]`, of which `len` are filled.
    own: Option<(Tensor<4>, Tensor<4>)>,
    len: usize,
    group: usize,
    capacity: usize,
}

impl LayerCache {
    pub(crate) fn new(group: usize, capacity: usize) -> Self {
        Self { prompt: None, own: None, len: 0, group, capacity }
    }

    pub(crate) fn set_prompt(&mut self, k: Tensor<4>, v: Tensor<4>) {
        let [p, hk, _, d] = k.dims();
        let empty = || Tensor::zeros([p * self.group, hk, self.capacity, d], &k.device());
        self.own = Some((empty(), empty()));
        self.prompt = Some((k, v));
        self.len = 0;
    }

    /// Appends one token a row: k, v `[B, Hk, 1, d]`.
    pub(crate) fn push(&mut self, k: Tensor<4>, v: Tensor<4>) {
        let [b, hk, _, d] = k.dims();
        // Taken out while written, so that the buffer is uniquely held and changed in place.
        let (own_k, own_v) = self.own.take().expect("a prompt was set before the first token");
        let place = [0..b, 0..hk, self.len..self.len + 1, 0..d];
        self.own = Some((own_k.slice_assign(place.clone(), k), own_v.slice_assign(place, v)));
        self.len += 1;
    }

    /// Attention of one new token a row: q `[B, Hk, g, d]` over the prompt's keys and the row's own.
    ///
    /// The queries of a prompt's G completions meet its keys in one product.
    pub(crate) fn attend(&self, q: Tensor<4>, hidden: Option<&Tensor<4, Bool>>) -> Tensor<4> {
        let (prompt_k, prompt_v) = self.prompt.clone().expect("a prompt was set before the first token");
        let (own_k, own_v) = self.own.clone().expect("a prompt was set before the first token");
        let [p, hk, tp, d] = prompt_k.dims();
        let [b, _, g, _] = q.dims();
        let n = self.group;
        // [B, Hk, g, x] with the completions of a prompt beside its heads, [P, Hk, G g, x], and back
        let by_prompt =
            |x: Tensor<4>, last| x.reshape([p, n, hk, g * last]).swap_dims(1, 2).reshape([p, hk, n * g, last]);
        let by_row = |x: Tensor<4>, last| x.reshape([p, hk, n, g * last]).swap_dims(1, 2).reshape([b, hk, g, last]);
        let mut prompt_scores = by_prompt(q.clone(), d).matmul(prompt_k.swap_dims(2, 3)); // [P, Hk, G g, Tp]
        if let Some(hidden) = hidden {
            prompt_scores = prompt_scores.mask_fill(hidden.clone().expand([p, hk, n * g, tp]), HIDDEN);
        }
        let filled = |x: Tensor<4>| x.slice([0..b, 0..hk, 0..self.len, 0..d]);
        let own_scores = q.matmul(filled(own_k).swap_dims(2, 3)); // [B, Hk, g, len]
        let scores = Tensor::cat(vec![by_row(prompt_scores, tp), own_scores], 3);
        let weights = activation::softmax(scores, 3); // [B, Hk, g, Tp + len]
        let prompt_weights = by_prompt(weights.clone().slice([0..b, 0..hk, 0..g, 0..tp]), tp);
        let own_weights = weights.slice([0..b, 0..hk, 0..g, tp..tp + self.len]);
        by_row(prompt_weights.matmul(prompt_v), d) + own_weights.matmul(filled(own_v))
    }

    /// Keeps the prompts at `keep`, each with all of its completions (`rows`).
    pub(crate) fn select(&mut self, keep: &Tensor<1, Int>, rows: &Tensor<1, Int>) {
        let pick = |pair: Option<(Tensor<4>, Tensor<4>)>, index: &Tensor<1, Int>| {
            pair.map(|(k, v)| (k.select(0, index.clone()), v.select(0, index.clone())))
        };
        self.prompt = pick(self.prompt.take(), keep);
        self.own = pick(self.own.take(), rows);
    }
}
