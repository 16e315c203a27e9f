//! The encoder: BERT (Devlin et al., arXiv 1810.04805) as transformers has it, without its pooler.

use burn::tensor::module::layer_norm;
use burn::tensor::{Device, Int, Tensor, TensorData};
use convrec_kernels::{Packing, attention, bias_gelu, linear};

use crate::config::Config;
use crate::error::EmbedError;
use crate::weights::Weights;

#[derive(Debug)]
pub(crate) struct Bert {
    config: Config,
    /// `[V, D]`
    words: Tensor<2>,
    /// `[P, D]`, with the embedding of token type 0 added, as a text stands alone.
    positions: Tensor<2>,
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    mix: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    norm: Norm,
}

#[derive(Debug)]
struct Linear {
    /// `[out, in]`
    weight: Tensor<2>,
    bias: Tensor<1>,
}

#[derive(Debug)]
struct Norm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
}

impl Bert {
    pub(crate) fn new(config: Config, weights: &Weights<'_>) -> Result<Self, EmbedError> {
        let (d, inner) = (config.hidden_size, config.intermediate_size);
        let linear = |name: String, out: usize, inner: usize| -> Result<Linear, EmbedError> {
            let weight = weights.tensor(&format!("{name}.weight"), [out, inner])?;
            Ok(Linear {
                weight,
                bias: weights.tensor(&format!("{name}.bias"), [out])?,
            })
        };
        let norm = |name: &str| -> Result<Norm, EmbedError> {
            let part = |part: &str| weights.tensor(&format!("{name}.LayerNorm.{part}"), [d]);
            Ok(Norm {
                weight: part("weight")?,
                bias: part("bias")?,
                epsilon: config.layer_norm_eps,
            })
        };
        let layer = |n: usize| -> Result<Layer, EmbedError> {
            let at = format!("encoder.layer.{n}");
            Ok(Layer {
                query: linear(format!("{at}.attention.self.query"), d, d)?,
                key: linear(format!("{at}.attention.self.key"), d, d)?,
                value: linear(format!("{at}.attention.self.value"), d, d)?,
                mix: linear(format!("{at}.attention.output.dense"), d, d)?,
                attention_norm: norm(&format!("{at}.attention.output"))?,
                up: linear(format!("{at}.intermediate.dense"), inner, d)?,
                down: linear(format!("{at}.output.dense"), d, inner)?,
                norm: norm(&format!("{at}.output"))?,
            })
        };
        weights.check_layers(config.num_hidden_layers)?;
        let words = weights.tensor("embeddings.word_embeddings.weight", [config.vocab_size, d])?;
        let positions: Tensor<2> = weights.tensor(
            "embeddings.position_embeddings.weight",
            [config.max_position_embeddings, d],
        )?;
        let types: Tensor<2> = weights.tensor(
            "embeddings.token_type_embeddings.weight",
            [config.type_vocab_size, d],
        )?;
        Ok(Self {
            words,
            positions: positions + types.narrow(0, 0, 1),
            norm: norm("embeddings")?,
            layers: (0..config.num_hidden_layers)
                .map(layer)
                .collect::<Result<_, _>>()?,
            config,
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The last hidden states `[M, D]` of all tokens of some texts, one text after the other. A
    /// text attends to itself alone.
    pub(crate) fn hidden(&self, texts: &[&[u32]]) -> Tensor<2> {
        let device = self.words.device();
        let mut packing = Packing::both_ways();
        for tokens in texts {
            packing.add(tokens.len());
        }
        let ids = indices(
            texts
                .iter()
                .flat_map(|tokens| tokens.iter().map(|id| *id as usize)),
            &device,
        );
        let positions = indices(
            texts
                .iter()
                .flat_map(|tokens| self.config.positions(tokens)),
            &device,
        );
        let x = self.words.clone().select(0, ids) + self.positions.clone().select(0, positions);
        let x = self.norm.forward(x);
        self.layers.iter().fold(x, |x, layer| {
            layer.forward(x, &packing, self.config.num_attention_heads)
        })
    }
}

impl Layer {
    /// x `[M, D]` to `[M, D]`.
    fn forward(&self, x: Tensor<2>, packing: &Packing, heads: usize) -> Tensor<2> {
        let [m, d] = x.dims();
        let split = |linear: &Linear| linear.forward(x.clone()).reshape([m, heads, d / heads]);
        let mixed = attention(
            split(&self.query),
            split(&self.key),
            split(&self.value),
            packing,
        )
        .reshape([m, d]);
        let x = self.attention_norm.forward(x + self.mix.forward(mixed));
        let inner = bias_gelu(
            linear(x.clone(), self.up.weight.clone()),
            self.up.bias.clone(),
        );
        self.norm.forward(x + self.down.forward(inner))
    }
}

impl Linear {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.weight.clone()) + self.bias.clone().unsqueeze()
    }
}

impl Norm {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        layer_norm(
            x,
            self.weight.clone(),
            Some(self.bias.clone()),
            self.epsilon,
        )
    }
}

fn indices(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.map(|value| value as i64).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}
