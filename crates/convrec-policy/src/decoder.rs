//! The policy: its weights, and forward passes through all blocks.

use burn::module::Module;
use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use convrec_kernels::Packing;

use crate::block::{Block, Pass, Sight};
use crate::config::{ConfigError, Family, ModelConfig};
use crate::init::Init;
use crate::layers::{Embedding, Linear, RmsNorm};
use crate::lora_config::{LoraConfig, Projection};
use crate::rope::RotaryFrequencies;
use crate::safetensors_file::WeightType;
use crate::saved_modules::SavedModules;
use crate::work;

/// A decoder-only language model: the weights, their shape, and where they are.
///
/// It is a burn [`Module`]: optimisers step it, and `policy.valid()` is the same policy without
/// autodiff. Parameters are numbered in the order of the file, so the same shape always has the
/// same parameter ids.
#[derive(Module, Debug)]
pub struct Policy {
    pub(crate) model: Decoder,
    pub(crate) lm_head: Option<Linear>,
    /// The shape of the adapters in the blocks, where there are any.
    #[module(skip)]
    pub(crate) lora: Option<LoraConfig>,
    /// The weights that an adapter brings its own versions of, where there are any.
    #[module(skip)]
    pub(crate) saved_modules: Option<SavedModules>,
    #[module(skip)]
    config: ModelConfig,
    #[module(skip)]
    frequencies: RotaryFrequencies,
    #[module(skip)]
    checkpoints: bool,
    /// The type that the weights had in the files that they were read from.
    #[module(skip)]
    pub(crate) weight_type: WeightType,
    #[module(skip)]
    pub(crate) base_name: Option<String>,
}

#[derive(Module, Debug)]
pub(crate) struct Decoder {
    pub(crate) embed_tokens: Embedding,
    pub(crate) layers: Vec<Block>,
    pub(crate) norm: RmsNorm,
}

impl Policy {
    /// A policy with random weights. They are normal with deviation `1/sqrt(in)`, the embedding
    /// too, so that the first logits have deviation 1. The two matrices that write to the residual
    /// stream are scaled down by `sqrt(2 layers)` (GPT-2's rule). The same seed gives the same
    /// weights on every device.
    ///
    /// # Errors
    /// [`ConfigError`] when a field of `config` is wrong.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        Self::build(config, Init::random(seed, device))
    }

    /// A policy whose matrices take no memory until they are set, or read as zeros.
    pub(crate) fn blank(config: &ModelConfig, device: &Device) -> Result<Self, ConfigError> {
        Self::build(config, Init::blank(device))
    }

    fn build(config: &ModelConfig, mut init: Init<'_>) -> Result<Self, ConfigError> {
        config.check()?;
        convrec_kernels::warn_if_composed(init.device());
        let c = config;
        let d = c.hidden_size;
        let model = Decoder {
            embed_tokens: Embedding {
                weight: init.matrix([c.vocab_size, d], 1.0 / (d as f64).sqrt()),
                packed: None,
            },
            layers: (0..c.num_hidden_layers)
                .map(|layer| init.block(c, layer))
                .collect(),
            norm: init.norm(d, c),
        };
        let lm_head = (!c.tie_word_embeddings).then(|| init.linear(c.vocab_size, d, 1.0, false));
        let frequencies = RotaryFrequencies::new(config);
        Ok(Self {
            model,
            lm_head,
            lora: None,
            saved_modules: None,
            frequencies,
            config: config.clone(),
            checkpoints: false,
            weight_type: WeightType::F32,
            base_name: None,
        })
    }

    /// Turns gradient checkpointing on or off. With it, training keeps only the inputs of the
    /// blocks and computes the rest once more in the backward pass
    /// ([`Tape::backward`](crate::Tape::backward)). It takes about a third more time and a fraction
    /// of the memory, and changes results by rounding at most.
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

    /// The name of the model: the folder or the hub's name that it was read from, where there is
    /// one. [`Policy::save_lora`] writes it down as the base of the adapter.
    pub fn base_name(&self) -> Option<&str> {
        self.base_name.as_deref()
    }

    /// This policy under another name; see [`Policy::base_name`].
    #[must_use]
    pub fn with_base_name(mut self, name: impl Into<String>) -> Self {
        self.base_name = Some(name.into());
        self
    }

    pub(crate) fn config_mut(&mut self) -> &mut ModelConfig {
        &mut self.config
    }

    /// The type of the weights in the files that they were read from; f32 where they are new.
    /// [`SaveOptions::as_loaded`](crate::SaveOptions::as_loaded) saves in it.
    pub fn weight_type(&self) -> WeightType {
        self.weight_type
    }

    /// The device of the weights.
    pub fn device(&self) -> Device {
        self.model.norm.weight.lazy_device()
    }

    /// Hidden states of whole sequences under causal attention: ids `[B, T]` to `[B, T, D]`.
    ///
    /// Rows that are shorter than T are padded on the right with any known id. No real position
    /// sees the padding. The final norm is applied; [`Policy::logits`] goes on from here.
    pub fn hidden(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [b, t] = ids.dims();
        self.hidden_packed(ids.reshape([b * t]), &Packing::rectangle(b, t))
            .reshape([b, t, self.config.hidden_size])
    }

    /// Hidden states of sequences that lie end to end in one batch, some going on where another
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

    /// Hidden states of sequences that are padded anywhere. `present` `[B][T]` says which positions
    /// are real. No token sees padding, and positions are counted over real tokens only. The result
    /// is 0 at padding.
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
        match self.packed_output() {
            Some(matrix) => matrix.linear(hidden),
            None => convrec_kernels::linear(hidden, self.output_matrix()),
        }
    }

    /// `[V, D]`, unpacked where it is packed.
    pub(crate) fn output_matrix(&self) -> Tensor<2> {
        if let Some(matrix) = self.packed_output() {
            return matrix.select(0..matrix.dims()[0], &self.device());
        }
        self.lm_head.as_ref().map_or_else(
            || self.model.embed_tokens.weight.val(),
            |head| head.weight.val(),
        )
    }

    /// Checks ids on the host. Devices treat an id beyond the embedding in different ways, and none
    /// reports it.
    pub(crate) fn assert_known(&self, tokens: &[u32]) {
        let v = self.config.vocab_size;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= v) {
            panic!(
                "token {token} is not in the policy's vocabulary of {v}: the tokenizer is of \
                 another model"
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

    /// The same before the final norm.
    pub(crate) fn blocks(&self, ids: Tensor<1, Int>, mut pass: Pass<'_>) -> Tensor<2> {
        let mut x = self.embed(ids);
        for layer in 0..self.model.layers.len() {
            x = self.block(layer, x, &mut pass);
        }
        x
    }

    /// ids `[M]` to `[M, D]`.
    pub(crate) fn embed(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        work::count_pass();
        let x = self.model.embed_tokens.forward(ids);
        match self.config.family {
            Family::Gemma | Family::Gemma3 => {
                x.mul_scalar((self.config.hidden_size as f64).sqrt() as f32)
            }
            _ => x,
        }
    }

    /// x `[M, D]` to `[M, D]`.
    pub(crate) fn block(&self, layer: usize, x: Tensor<2>, pass: &mut Pass<'_>) -> Tensor<2> {
        work::count_block(x.dims()[0]);
        self.model.layers[layer].forward(x, pass, layer)
    }

    pub(crate) fn layer(&self, layer: usize) -> &Block {
        &self.model.layers[layer]
    }

    /// The final norm.
    pub(crate) fn normalise(&self, x: Tensor<2>) -> Tensor<2> {
        self.model.norm.forward(x)
    }
}

impl Decoder {
    /// The projections of all blocks, each with the place of its block, in the order of the file.
    pub(crate) fn projections_mut(
        &mut self,
    ) -> impl Iterator<Item = (usize, Projection, &mut Linear)> {
        self.layers
            .iter_mut()
            .enumerate()
            .flat_map(|(layer, block)| {
                let projections = block.projections_mut();
                projections.map(move |(projection, linear)| (layer, projection, linear))
            })
    }
}

pub(crate) fn indices(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.map(|value| value as i64).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}
