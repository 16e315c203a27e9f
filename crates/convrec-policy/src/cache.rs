//! Keys and values of earlier tokens, in one pool of places for prompts and completions alike.

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor};
use convrec_kernels::{DecodeCache, DecodeRow};

use crate::config::ModelConfig;

/// One layer's cache.
pub(crate) struct LayerCache {
    /// Taken out while it is written, so that the buffers are uniquely held and changed in place.
    buffers: Option<DecodeCache>,
}

impl LayerCache {
    /// Room for so many tokens.
    pub(crate) fn new(places: usize, config: &ModelConfig, layer: usize, device: &Device) -> Self {
        let (hk, d) = (config.num_key_value_heads, config.head_dim);
        let pool = || Tensor::zeros([places, hk, d], device);
        let buffers = DecodeCache {
            k: pool(),
            v: pool(),
            window: config
                .sliding_window
                .as_ref()
                .and_then(|window| window.of(layer)),
        };
        Self {
            buffers: Some(buffers),
        }
    }

    fn change(&mut self, f: impl Fn(Tensor<3>, bool) -> Tensor<3>) {
        self.buffers = self.buffers.take().map(|cache| DecodeCache {
            k: f(cache.k, true),
            v: f(cache.v, false),
            ..cache
        });
    }

    /// Writes keys and values `[M, Hk, d]` to the places `[M]`.
    pub(crate) fn write(&mut self, places: &Tensor<1, Int>, k: Tensor<3>, v: Tensor<3>) {
        self.change(|pool, is_keys| {
            write(pool, places, if is_keys { k.clone() } else { v.clone() })
        });
    }

    /// Writes what stands at the places `from` to the places `to`.
    pub(crate) fn copy(&mut self, from: &Tensor<1, Int>, to: &Tensor<1, Int>) {
        self.change(|pool, _| {
            let values = pool.clone().select(0, from.clone());
            write(pool, to, values)
        });
    }

    /// Writes what stands at the places `from` of another cache to the places `to` of this one.
    pub(crate) fn copy_from(&mut self, other: &Self, from: &Tensor<1, Int>, to: &Tensor<1, Int>) {
        let other = other.held();
        self.change(|pool, is_keys| {
            let values = if is_keys { &other.k } else { &other.v };
            write(pool, to, values.clone().select(0, from.clone()))
        });
    }

    fn held(&self) -> &DecodeCache {
        let held = self.buffers.as_ref();
        held.expect("only taken out within a change")
    }

    /// Makes room for so many more tokens.
    pub(crate) fn grow(&mut self, places: usize) {
        self.change(|pool, _| {
            let [_, hk, d] = pool.dims();
            let more = Tensor::zeros([places, hk, d], &pool.device());
            Tensor::cat(vec![pool, more], 0)
        });
    }

    /// Attention of the rows' new tokens, q `[M, H, d]` to `[M, H, d]`.
    pub(crate) fn attend(&self, q: Tensor<3>, rows: &[DecodeRow]) -> Tensor<3> {
        convrec_kernels::decode_attention(q, self.held(), rows)
    }
}

fn write(pool: Tensor<3>, places: &Tensor<1, Int>, values: Tensor<3>) -> Tensor<3> {
    let ([length, hk, d], [m, ..]) = (pool.dims(), values.dims());
    let flat = pool.reshape([length, hk * d]);
    let flat = flat.select_assign(
        0,
        places.clone(),
        values.reshape([m, hk * d]),
        IndexingUpdateOp::Assign,
    );
    flat.reshape([length, hk, d])
}
