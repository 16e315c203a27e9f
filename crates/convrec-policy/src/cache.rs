//! Keys and values of earlier tokens: those of a prompt once for all of its completions, those of each completion in
//! a buffer that seldom grows.

use burn::tensor::{Int, Tensor};
use convrec_kernels::DecodeCache;

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
        if self.len == self.capacity {
            self.grow();
        }
        // Taken out while written, so that the buffer is uniquely held and changed in place.
        let (own_k, own_v) = self.own.take().expect("a prompt was set before the first token");
        let place = [0..b, 0..hk, self.len..self.len + 1, 0..d];
        self.own = Some((own_k.slice_assign(place.clone(), k), own_v.slice_assign(place, v)));
        self.len += 1;
    }

    /// Doubles the buffers.
    fn grow(&mut self) {
        let longer = |x: Tensor<4>| Tensor::cat(vec![x.clone(), x.zeros_like()], 2);
        self.own = self.own.take().map(|(k, v)| (longer(k), longer(v)));
        self.capacity *= 2;
    }

    /// Attention of one new token a row: q `[B, H, 1, d]` over the prompt's keys and the row's own.
    pub(crate) fn attend(&self, q: Tensor<4>, prompt_lengths: &[usize]) -> Tensor<4> {
        let (prompt_k, prompt_v) = self.prompt.clone().expect("a prompt was set before the first token");
        let (own_k, own_v) = self.own.clone().expect("a prompt was set before the first token");
        let cache = DecodeCache { prompt_k, prompt_v, prompt_lengths, own_k, own_v, filled: self.len };
        convrec_kernels::decode_attention(q, cache)
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
