//! The decoder: one struct per part, in the names and layout of Hugging Face checkpoints, so that weights go in and
//! out without renaming.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation, module::embedding};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::cache::LayerCache;
use crate::config::{ConfigError, Family, ModelConfig};
use crate::lora::{Lora, LoraConfig};
use crate::rope::{RotaryFrequencies, Rotation};

/// A decoder-only language model: the weights, their shape, and where they are.
///
/// A burn [`Module`]: optimisers step it, `policy.valid()` is the same policy without autodiff.
/// Parameters are numbered in the order of the file, so the same shape always has the same parameter ids.
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
}

#[derive(Module, Debug)]
pub(crate) struct Decoder {
    embed_tokens: Embedding,
    layers: Vec<Block>,
    norm: RmsNorm,
}

#[derive(Module, Debug)]
struct Block {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

#[derive(Module, Debug)]
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

#[derive(Module, Debug)]
pub(crate) struct Linear {
    /// `[out, in]`
    pub(crate) weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
    pub(crate) lora: Option<Lora>,
}

#[derive(Module, Debug)]
struct Embedding {
    /// `[V, D]`
    weight: Param<Tensor<2>>,
}

#[derive(Module, Debug)]
struct RmsNorm {
    weight: Param<Tensor<1>>,
    epsilon: f64,
}

/// What all blocks of one forward pass share.
pub(crate) struct Pass {
    pub(crate) rotation: Rotation,
    pub(crate) mask: Mask,
}

/// Which earlier positions a position sees.
pub(crate) enum Mask {
    /// All of them.
    Causal,
    /// `[B, 1, T, T]`, true where a key is hidden.
    Within(Box<Tensor<4, Bool>>),
    /// One new token a row: all of its own past, and of its prompt as many as `prompt_lengths` (`[P]`) says.
    Cached { prompt_lengths: Vec<usize> },
}

impl Policy {
    /// A policy with random weights: normal of deviation `1/sqrt(in)` (the embedding too, so that the first logits have
    /// deviation 1), the two matrices that write to the residual stream scaled down by `sqrt(2 layers)` (GPT-2's rule).
    /// The same seed gives the same weights on every device.
    ///
    /// # Errors
    /// When `config` makes no sense.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        Self::build(config, Init { rng: Some(ChaCha8Rng::seed_from_u64(seed)), next_id: 0, device })
    }

    /// A policy whose matrices take no memory until they are set, or read as zeros.
    pub(crate) fn blank(config: &ModelConfig, device: &Device) -> Result<Self, ConfigError> {
        Self::build(config, Init { rng: None, next_id: 0, device })
    }

    fn build(config: &ModelConfig, mut init: Init<'_>) -> Result<Self, ConfigError> {
        config.check()?;
        let c = config;
        let (d, q, kv) = (c.hidden_size, c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
        let (bias, qk_norm) = (c.family == Family::Qwen2, c.family == Family::Qwen3);
        let residual = 1.0 / (2.0 * c.num_hidden_layers as f64).sqrt();
        let model = Decoder {
            embed_tokens: Embedding { weight: init.matrix([c.vocab_size, d], 1.0 / (d as f64).sqrt()) },
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
        Ok(Self { model, lm_head, lora: None, frequencies, config: config.clone() })
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
    /// Rows that are shorter than T are padded on the right with any known id: no real position sees the padding. The
    /// final norm is applied; [`Policy::logits`] goes on from here.
    pub fn hidden(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let pass = self.causal_pass(&ids);
        self.run(ids, &pass, None)
    }

    /// As [`Policy::hidden`], keeping keys and values of the prompts.
    pub(crate) fn prefill(&self, ids: Tensor<2, Int>, caches: &mut [LayerCache]) -> Tensor<3> {
        let pass = self.causal_pass(&ids);
        self.run(ids, &pass, Some(caches))
    }

    fn causal_pass(&self, ids: &Tensor<2, Int>) -> Pass {
        let (t, device) = (ids.dims()[1], ids.device());
        Pass { rotation: self.frequencies.rotation(&[(0..t).collect()], &device), mask: Mask::Causal }
    }

    /// As [`Policy::hidden`], for sequences padded anywhere: `present` `[B][T]` says which positions are real; padding
    /// is seen by nobody and positions are counted over real tokens only. What comes out at padding has no meaning.
    ///
    /// Slower than [`Policy::hidden`]: a `[B, 1, T, T]` mask is made on the host. For checking against other programs.
    ///
    /// # Panics
    /// When `present` has another shape than `ids`.
    pub fn hidden_masked(&self, ids: Tensor<2, Int>, present: &[Vec<bool>]) -> Tensor<3> {
        let [b, t] = ids.dims();
        assert!(
            present.len() == b && present.iter().all(|row| row.len() == t),
            "`present` must be [{b}][{t}], as the ids"
        );
        let device = ids.device();
        let positions: Vec<Vec<usize>> = present.iter().map(|row| count_before(row)).collect();
        // A padding row still sees itself: an empty softmax has no value.
        let hidden = (0..b * t * t).map(|n| {
            let (row, query, key) = (n / (t * t), n / t % t, n % t);
            key > query || (!present[row][key] && key != query)
        });
        let hidden = TensorData::new(hidden.collect::<Vec<bool>>(), [b, 1, t, t]);
        let pass = Pass {
            rotation: self.frequencies.rotation(&positions, &device),
            mask: Mask::Within(Box::new(Tensor::from_data(hidden, &device))),
        };
        self.run(ids, &pass, None)
    }

    /// Logits of hidden states: `[M, D]` to `[M, V]`, before any temperature.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        convrec_kernels::linear(hidden, self.output_matrix())
    }

    /// `[V, D]`
    pub(crate) fn output_matrix(&self) -> Tensor<2> {
        self.lm_head.as_ref().map_or_else(|| self.model.embed_tokens.weight.val(), |head| head.weight.val())
    }

    /// Devices differ in what they do with an id beyond the embedding; none says what is wrong.
    pub(crate) fn assert_known(&self, tokens: &[u32]) {
        let v = self.config.vocab_size;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= v) {
            panic!("token {token} is not in the policy's vocabulary of {v}: the tokenizer is of another model");
        }
    }

    pub(crate) fn frequencies(&self) -> &RotaryFrequencies {
        &self.frequencies
    }

    /// ids `[B, T]` to `[B, T, D]`, through the caches where given.
    pub(crate) fn run(&self, ids: Tensor<2, Int>, pass: &Pass, mut caches: Option<&mut [LayerCache]>) -> Tensor<3> {
        let mut x = embedding(self.model.embed_tokens.weight.val(), ids); // [B, T, D]
        for (index, block) in self.model.layers.iter().enumerate() {
            let cache = caches.as_deref_mut().map(|caches| &mut caches[index]);
            x = x.clone() + block.self_attn.forward(block.input_layernorm.forward(x), pass, cache);
            x = x.clone() + block.mlp.forward(block.post_attention_layernorm.forward(x));
        }
        self.model.norm.forward(x)
    }
}

impl Decoder {
    /// The projections of each block, in the order of [`Projection::ALL`](crate::lora::Projection::ALL).
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = [&mut Linear; 7]> {
        self.layers.iter_mut().map(|Block { self_attn: a, mlp: m, .. }| {
            let Attention { q_proj, k_proj, v_proj, o_proj, .. } = a;
            [q_proj, k_proj, v_proj, o_proj, &mut m.gate_proj, &mut m.up_proj, &mut m.down_proj]
        })
    }
}

impl Attention {
    /// x `[B, T, D]` to `[B, T, D]`. Grouped queries: the queries that share a key/value head lie along one axis.
    fn forward(&self, x: Tensor<3>, pass: &Pass, cache: Option<&mut LayerCache>) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let (h, hk, d) = (self.heads, self.kv_heads, self.head_dim);
        let split = |linear: &Linear, heads| linear.forward(x.clone()).reshape([b, t, heads, d]);
        let norm = |norm: &Option<RmsNorm>, x: Tensor<4>| norm.as_ref().map_or(x.clone(), |norm| norm.forward(x));
        let q = norm(&self.q_norm, split(&self.q_proj, h)).swap_dims(1, 2); // [B, H, T, d]
        let k = norm(&self.k_norm, split(&self.k_proj, hk)).swap_dims(1, 2); // [B, Hk, T, d]
        let v = split(&self.v_proj, hk).swap_dims(1, 2); // [B, Hk, T, d]
        let (q, k) = (pass.rotation.apply(q), pass.rotation.apply(k));
        let mixed = match (&pass.mask, cache) {
            (Mask::Cached { prompt_lengths }, Some(cache)) => {
                cache.push(k, v);
                cache.attend(q, prompt_lengths)
            }
            (Mask::Causal, cache) => {
                if let Some(cache) = cache {
                    cache.set_prompt(k.clone(), v.clone());
                }
                convrec_kernels::causal_attention(q, k, v)
            }
            (Mask::Within(hidden), _) => {
                let q = q.mul_scalar(1.0 / (d as f64).sqrt()).reshape([b, hk, h / hk * t, d]);
                let scores = q.matmul(k.swap_dims(2, 3)).reshape([b, h, t, t]);
                let scores = scores.mask_fill(hidden.as_ref().clone().expand([b, h, t, t]), HIDDEN);
                activation::softmax(scores, 3).reshape([b, hk, h / hk * t, t]).matmul(v).reshape([b, h, t, d])
            }
            (Mask::Cached { .. }, None) => unreachable!("a cached pass is only built together with its caches"),
        }; // [B, H, T, d]
        self.o_proj.forward(mixed.swap_dims(1, 2).reshape([b, t, h * d]))
    }
}

/// A score that softmax turns into exactly 0 without making NaN of rows in which all is hidden.
const HIDDEN: f32 = -1e30;

impl Mlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down_proj.forward(convrec_kernels::swiglu(self.gate_proj.forward(x.clone()), self.up_proj.forward(x)))
    }
}

impl Linear {
    fn forward<const N: usize>(&self, x: Tensor<N>) -> Tensor<N> {
        let added = self.lora.as_ref().map(|lora| lora.forward(x.clone()));
        let y = convrec_kernels::linear(x, self.weight.val());
        let y = match added {
            Some(added) => y + added,
            None => y,
        };
        match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        }
    }
}

impl RmsNorm {
    fn forward<const N: usize>(&self, x: Tensor<N>) -> Tensor<N> {
        convrec_kernels::rms_norm(x, self.weight.val(), self.epsilon)
    }
}

/// For each position the number of real tokens before it.
fn count_before(present: &[bool]) -> Vec<usize> {
    let mut count = 0;
    present
        .iter()
        .map(|&real| {
            let before = count;
            count += usize::from(real);
            before
        })
        .collect()
}

/// Draws the weights; numbers the parameters in order, so that optimiser state finds its parameter after a restart.
struct Init<'a> {
    /// `None` draws nothing: the weights will be read from a file.
    rng: Option<ChaCha8Rng>,
    next_id: u64,
    device: &'a Device,
}

impl Init<'_> {
    fn param<const N: usize>(&mut self, tensor: Tensor<N>) -> Param<Tensor<N>> {
        self.next_id += 1;
        let mut param = Param::from_tensor(tensor);
        param.id = ParamId::from(self.next_id);
        param
    }

    fn matrix(&mut self, shape: [usize; 2], deviation: f64) -> Param<Tensor<2>> {
        let Some(rng) = &mut self.rng else {
            self.next_id += 1;
            let zeros = move |device: &Device, grad| Tensor::zeros(shape, device).set_require_grad(grad);
            return Param::uninitialized(self.next_id.into(), zeros, self.device.clone(), true, shape.into());
        };
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| (normal(rng) * deviation) as f32).collect();
        self.param(Tensor::from_data(TensorData::new(values, shape), self.device))
    }

    fn linear(&mut self, out: usize, inner: usize, scale: f64, bias: bool) -> Linear {
        let weight = self.matrix([out, inner], scale / (inner as f64).sqrt());
        let bias = bias.then(|| self.param(Tensor::zeros([out], self.device)));
        Linear { weight, bias, lora: None }
    }

    fn norm(&mut self, width: usize, config: &ModelConfig) -> RmsNorm {
        RmsNorm { weight: self.param(Tensor::ones([width], self.device)), epsilon: config.rms_norm_eps }
    }
}

/// Box and Muller's transform.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    use rand::RngExt;
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
}
