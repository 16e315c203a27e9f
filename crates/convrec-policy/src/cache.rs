//! Keys and values of earlier tokens: those of a prompt once for all of its completions, those of
//! each completion in a buffer that seldom grows.

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor};
use convrec_kernels::{DecodeCache, DecodeRow};

use crate::config::ModelConfig;

/// One layer's cache: slots for prompts and for the rows that write completions.
pub(crate) struct LayerCache {
    /// Taken out while it is written, so that the buffers are uniquely held and changed in place.
    buffers: Option<DecodeCache>,
}

/// How many slots there are, and how long they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slots {
    /// P
    pub(crate) prompts: usize,
    /// Tp, tokens of the longest prompt.
    pub(crate) prompt_length: usize,
    /// R
    pub(crate) rows: usize,
    /// Tokens a row that the buffers have room for.
    pub(crate) capacity: usize,
}

impl LayerCache {
    pub(crate) fn new(slots: Slots, config: &ModelConfig, layer: usize, device: &Device) -> Self {
        let (hk, d) = (config.num_key_value_heads, config.head_dim);
        let prompts = || Tensor::zeros([slots.prompts, slots.prompt_length, hk, d], device);
        let own = || Tensor::zeros([slots.rows, slots.capacity, hk, d], device);
        let buffers = DecodeCache {
            prompt_k: prompts(),
            prompt_v: prompts(),
            own_k: own(),
            own_v: own(),
            window: config
                .sliding_window
                .as_ref()
                .and_then(|window| window.of(layer)),
        };
        Self {
            buffers: Some(buffers),
        }
    }

    fn change(&mut self, f: impl FnOnce(DecodeCache) -> DecodeCache) {
        self.buffers = self.buffers.take().map(f);
    }

    /// Writes keys and values `[M, Hk, d]` to the places `[M]` of the prompts' slots: token t of
    /// slot p is at p Tp + t.
    pub(crate) fn write_prompts(&mut self, places: &Tensor<1, Int>, k: Tensor<3>, v: Tensor<3>) {
        self.change(|cache| DecodeCache {
            prompt_k: write(cache.prompt_k, places, k),
            prompt_v: write(cache.prompt_v, places, v),
            ..cache
        });
    }

    /// As [`write_prompts`](Self::write_prompts), to the rows' slots: token t of row r is at r
    /// capacity + t.
    pub(crate) fn write_rows(&mut self, places: &Tensor<1, Int>, k: Tensor<3>, v: Tensor<3>) {
        self.change(|cache| DecodeCache {
            own_k: write(cache.own_k, places, k),
            own_v: write(cache.own_v, places, v),
            ..cache
        });
    }

    /// Doubles the rows' capacity.
    pub(crate) fn grow(&mut self) {
        let longer = |x: Tensor<4>| Tensor::cat(vec![x.clone(), x.zeros_like()], 1);
        self.change(|cache| DecodeCache {
            own_k: longer(cache.own_k),
            own_v: longer(cache.own_v),
            ..cache
        });
    }

    /// Row r takes over what row `from[r]` holds.
    pub(crate) fn copy_rows(&mut self, from: &Tensor<1, Int>) {
        let pick = |x: Tensor<4>| x.select(0, from.clone());
        self.change(|cache| DecodeCache {
            own_k: pick(cache.own_k),
            own_v: pick(cache.own_v),
            ..cache
        });
    }

    /// Attention of the rows' new tokens, q `[M, H, d]` to `[M, H, d]`.
    pub(crate) fn attend(&self, q: Tensor<3>, rows: &[DecodeRow]) -> Tensor<3> {
        convrec_kernels::decode_attention(
            q,
            self.buffers
                .as_ref()
                .expect("only taken out within a change"),
            rows,
        )
    }
}

fn write(buffer: Tensor<4>, places: &Tensor<1, Int>, values: Tensor<3>) -> Tensor<4> {
    let ([slots, length, hk, d], [m, ..]) = (buffer.dims(), values.dims());
    let flat = buffer.reshape([slots * length, hk * d]);
    let flat = flat.select_assign(
        0,
        places.clone(),
        values.reshape([m, hk * d]),
        IndexingUpdateOp::Assign,
    );
    flat.reshape([slots, length, hk, d])
}
