//! The decoder: one struct per part, in the names and layout of Hugging Face checkpoints, so that
//! weights go in and out without renaming.

use burn::module::Module;
use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use convrec_kernels::{DecodeRow, Packing};

use crate::cache::LayerCache;
use crate::config::{ConfigError, Family, ModelConfig};
use crate::init::Init;
use crate::layers::{Embedding, Linear, RmsNorm};
use crate::lora_config::LoraConfig;
use crate::rope::{RotaryFrequencies, Rotation};

/// A decoder-only language model: the weights, their shape, and where they are.
///
/// A burn [`Module`]: optimisers step it, `policy.valid()` is the same policy without autodiff.
/// Parameters are numbered in the order of the file, so the same shape always has the same
/// parameter ids.
#[derive(Module, Debug)]
pub struct Policy {
    pub(crate) model: Decoder,
    pub(crate) lm_head: Option<Linear>,
    /// The shape of the adapters in the blocks, where there are any.
    #[module(skip)]
    pub(crate) lora: Option<LoraConfig>,
    #[module(skip)]
    config: ModelConfig,
    #[module(skip)]
    frequencies: RotaryFrequencies,
    #[module(skip)]
    checkpoints: bool,
}

#[derive(Module, Debug)]
pub(crate) struct Decoder {
    pub(crate) embed_tokens: Embedding,
    pub(crate) layers: Vec<Block>,
    norm: RmsNorm,
}

#[derive(Module, Debug)]
pub(crate) struct Block {
    input_layernorm: RmsNorm,
    pub(crate) self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

#[derive(Module, Debug)]
pub(crate) struct Attention {
    pub(crate) q_proj: Linear,
    pub(crate) k_proj: Linear,
    pub(crate) v_proj: Linear,
    pub(crate) o_proj: Linear,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

#[derive(Module, Debug)]
pub(crate) struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

/// What all blocks of one forward pass over M tokens share.
pub(crate) struct Pass<'a> {
    pub(crate) rotation: Rotation,
    pub(crate) sight: Sight<'a>,
}

/// Which tokens a token sees.
pub(crate) enum Sight<'a> {
    /// Those of its sequence.
    Packed(&'a Packing),
    /// The same; keys and values are kept, at the places `[M]` of the caches' prompts.
    Prompts {
        packing: &'a Packing,
        places: Tensor<1, Int>,
        caches: &'a mut [LayerCache],
    },
    /// Those in the caches, where the new ones are kept at the places `[M]` of the caches' rows.
    Rows {
        rows: &'a [DecodeRow],
        places: Tensor<1, Int>,
        caches: &'a mut [LayerCache],
    },
}

impl Policy {
    /// A policy with random weights: normal of deviation `1/sqrt(in)` (the embedding too, so that
    /// the first logits have deviation 1), the two matrices that write to the residual stream
    /// scaled down by `sqrt(2 layers)` (GPT-2's rule). The same seed gives the same weights on
    /// every device.
    ///
    /// # Errors
    /// When `config` makes no sense.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        Self::build(config, Init::random(seed, device))
    }

    /// A policy whose matrices take no memory until they are set, or read as zeros.
    pub(crate) fn blank(config: &ModelConfig, device: &Device) -> Result<Self, ConfigError> {
        Self::build(config, Init::blank(device))
    }

    fn build(config: &ModelConfig, mut init: Init<'_>) -> Result<Self, ConfigError> {
        config.check()?;
        let c = config;
        let (d, q, kv) = (
            c.hidden_size,
            c.num_attention_heads * c.head_dim,
            c.num_key_value_heads * c.head_dim,
        );
        let (bias, qk_norm) = (c.family == Family::Qwen2, c.family == Family::Qwen3);
        let residual = 1.0 / (2.0 * c.num_hidden_layers as f64).sqrt();
        let model = Decoder {
            embed_tokens: Embedding {
                weight: init.matrix([c.vocab_size, d], 1.0 / (d as f64).sqrt()),
            },
            layers: (0..c.num_hidden_layers)
                .map(|_| Block {
                    input_layernorm: init.norm(d, c),
                    self_attn: Attention {
                        q_proj: init.linear(q, d, 1.0, bias),
                        k_proj: init.linear(kv, d, 1.0, bias),
                        v_proj: init.linear(kv, d, 1.0, bias),
                        o_proj: init.linear(d, q, residual, false),
                        q_norm: qk_norm.then(|| init.norm(c.head_dim, c)),
                        k_norm: qk_norm.then(|| init.norm(c.head_dim, c)),
                        heads: c.num_attention_heads,
                        kv_heads: c.num_key_value_heads,
                        head_dim: c.head_dim,
                    },
                    post_attention_layernorm: init.norm(d, c),
                    mlp: Mlp {
                        gate_proj: init.linear(c.intermediate_size, d, 1.0, false),
                        up_proj: init.linear(c.intermediate_size, d, 1.0, false),
                        down_proj: init.linear(d, c.intermediate_size, residual, false),
                    },
                })
                .collect(),
            norm: init.norm(d, c),
        };
        let lm_head = (!c.tie_word_embeddings).then(|| init.linear(c.vocab_size, d, 1.0, false));
        let frequencies = RotaryFrequencies::new(config);
        Ok(Self {
            model,
            lm_head,
            lora: None,
            frequencies,
            config: config.clone(),
            checkpoints: false,
        })
    }

    /// Whether training keeps only the inputs of the blocks and computes the rest once more on the
    /// way back ([`Tape::backward`](crate::Tape::backward)): about a third more time for a
    /// fraction of the memory. Changes results by rounding at most.
    pub fn with_gradient_checkpointing(self, on: bool) -> Self {
        Self {
            checkpoints: on,
            ..self
        }
    }

    /// Whether [`with_gradient_checkpointing`](Self::with_gradient_checkpointing) is on.
    pub fn checkpoints(&self) -> bool {
        self.checkpoints
    }

    /// The shape of this policy.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device of the weights.
    pub fn device(&self) -> Device {
        self.model.norm.weight.val().device()
    }

    /// Hidden states of whole sequences under causal attention: ids `[B, T]` to `[B, T, D]`.
    ///
    /// Rows that are shorter than T are padded on the right with any known id: no real position
    /// sees the padding. The final norm is applied; [`Policy::logits`] goes on from here.
    pub fn hidden(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [b, t] = ids.dims();
        self.hidden_packed(ids.reshape([b * t]), &Packing::rectangle(b, t))
            .reshape([b, t, self.config.hidden_size])
    }

    /// As [`Policy::hidden`], for sequences end to end in one batch, some going on where another
    /// ended: ids `[M]` to `[M, D]`. There is no padding, and a prompt is computed once for all
    /// of its completions.
    ///
    /// # Panics
    /// When there are not as many ids as tokens in the packing.
    pub fn hidden_packed(&self, ids: Tensor<1, Int>, packing: &Packing) -> Tensor<2> {
        let rotation = self
            .frequencies
            .rotation(&packing.positions(), &ids.device());
        self.run(
            ids,
            Pass {
                rotation,
                sight: Sight::Packed(packing),
            },
        )
    }

    /// As [`Policy::hidden`], for sequences padded anywhere: `present` `[B][T]` says which
    /// positions are real; padding is seen by nobody and positions are counted over real tokens
    /// only. The result is 0 at padding.
    ///
    /// # Panics
    /// When `present` has another shape than `ids`.
    pub fn hidden_masked(&self, ids: Tensor<2, Int>, present: &[Vec<bool>]) -> Tensor<3> {
        let ([b, t], device) = (ids.dims(), ids.device());
        assert!(
            present.len() == b && present.iter().all(|row| row.len() == t),
            "`present` must be [{b}][{t}], as the ids"
        );
        let mut packing = Packing::default();
        present.iter().for_each(|row| {
            packing.add(row.iter().filter(|real| **real).count());
        });
        let real = present
            .iter()
            .flatten()
            .enumerate()
            .filter(|(_, real)| **real)
            .map(|(place, _)| place);
        let real = indices(real, &device);
        let hidden = self.hidden_packed(ids.reshape([b * t]).select(0, real.clone()), &packing);
        let d = self.config.hidden_size;
        let zeros = Tensor::<2>::zeros([b * t, d], &device);
        zeros
            .select_assign(0, real, hidden, IndexingUpdateOp::Add)
            .reshape([b, t, d])
    }

    /// Logits of hidden states: `[M, D]` to `[M, V]`, before any temperature.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        convrec_kernels::linear(hidden, self.output_matrix())
    }

    /// `[V, D]`
    pub(crate) fn output_matrix(&self) -> Tensor<2> {
        self.lm_head.as_ref().map_or_else(
            || self.model.embed_tokens.weight.val(),
            |head| head.weight.val(),
        )
    }

    /// Devices differ in what they do with an id beyond the embedding; none says what is wrong.
    pub(crate) fn assert_known(&self, tokens: &[u32]) {
        let v = self.config.vocab_size;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= v) {
            panic!(
                "token {token} is not in the policy's vocabulary of {v}: the tokenizer is of another model"
            );
        }
    }

    pub(crate) fn frequencies(&self) -> &RotaryFrequencies {
        &self.frequencies
    }

    /// ids `[M]` to `[M, D]`.
    pub(crate) fn run(&self, ids: Tensor<1, Int>, pass: Pass<'_>) -> Tensor<2> {
        self.normalise(self.blocks(ids, pass))
    }

    /// As [`run`](Self::run), before the final norm.
    pub(crate) fn blocks(&self, ids: Tensor<1, Int>, mut pass: Pass<'_>) -> Tensor<2> {
        let mut x = self.embed(ids);
        for layer in 0..self.model.layers.len() {
            x = self.block(layer, x, &mut pass);
        }
        x
    }

    /// ids `[M]` to `[M, D]`.
    pub(crate) fn embed(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        self.model.embed_tokens.forward(ids)
    }

    /// x `[M, D]` to `[M, D]`.
    pub(crate) fn block(&self, layer: usize, x: Tensor<2>, pass: &mut Pass<'_>) -> Tensor<2> {
        let block = &self.model.layers[layer];
        let x = x.clone()
            + block
                .self_attn
                .forward(block.input_layernorm.forward(x), pass, layer);
        x.clone() + block.mlp.forward(block.post_attention_layernorm.forward(x))
    }

    /// The final norm.
    pub(crate) fn normalise(&self, x: Tensor<2>) -> Tensor<2> {
        self.model.norm.forward(x)
    }
}

impl Decoder {
    /// The projections of each block, in the order of
    /// [`Projection::ALL`](crate::Projection::ALL).
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = [&mut Linear; 7]> {
        self.layers.iter_mut().map(
            |Block {
                 self_attn: a,
                 mlp: m,
                 ..
             }| {
                let Attention {
                    q_proj,
                    k_proj,
                    v_proj,
                    o_proj,
                    ..
                } = a;
                [
                    q_proj,
                    k_proj,
                    v_proj,
                    o_proj,
                    &mut m.gate_proj,
                    &mut m.up_proj,
                    &mut m.down_proj,
                ]
            },
        )
    }
}

impl Attention {
    /// x `[M, D]` to `[M, D]`.
    fn forward(&self, x: Tensor<2>, pass: &mut Pass<'_>, layer: usize) -> Tensor<2> {
        let [m, _] = x.dims();
        let (h, hk, d) = (self.heads, self.kv_heads, self.head_dim);
        let split = |linear: &Linear, heads| linear.forward(x.clone()).reshape([m, heads, d]);
        let norm = |norm: &Option<RmsNorm>, x: Tensor<3>| {
            norm.as_ref().map_or(x.clone(), |norm| norm.forward(x))
        };
        let q = pass
            .rotation
            .apply(norm(&self.q_norm, split(&self.q_proj, h))); // [M, H, d]
        let k = pass
            .rotation
            .apply(norm(&self.k_norm, split(&self.k_proj, hk))); // [M, Hk, d]
        let v = split(&self.v_proj, hk); // [M, Hk, d]
        let mixed = match &mut pass.sight {
            Sight::Packed(packing) => convrec_kernels::attention(q, k, v, packing),
            Sight::Prompts {
                packing,
                places,
                caches,
            } => {
                caches[layer].write_prompts(places, k.clone(), v.clone());
                convrec_kernels::attention(q, k, v, packing)
            }
            Sight::Rows {
                rows,
                places,
                caches,
            } => {
                caches[layer].write_rows(places, k, v);
                caches[layer].attend(q, rows)
            }
        }; // [M, H, d]
        self.o_proj.forward(mixed.reshape([m, h * d]))
    }
}

impl Mlp {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.down_proj.forward(convrec_kernels::swiglu(
            self.gate_proj.forward(x.clone()),
            self.up_proj.forward(x),
        ))
    }
}

pub(crate) fn indices(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.map(|value| value as i64).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}
