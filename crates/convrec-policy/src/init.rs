//! Fresh parameters: random ones, or none yet.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::block::{Attention, AttentionShape, Block, Mlp};
use crate::config::{Family, ModelConfig};
use crate::layers::{Linear, RmsNorm};
use crate::rope::Positions;

/// Draws the weights and numbers the parameters in order, so that optimiser state finds its
/// parameter after a restart.
pub(crate) struct Init<'a> {
    /// `None` draws nothing, as the weights will be read from a file.
    rng: Option<ChaCha8Rng>,
    next_id: u64,
    device: &'a Device,
}

impl<'a> Init<'a> {
    pub(crate) fn random(seed: u64, device: &'a Device) -> Self {
        Self {
            rng: Some(ChaCha8Rng::seed_from_u64(seed)),
            next_id: 0,
            device,
        }
    }

    /// Makes parameters that take no memory until they are set or read as zeros.
    pub(crate) fn blank(device: &'a Device) -> Self {
        Self {
            rng: None,
            next_id: 0,
            device,
        }
    }

    pub(crate) fn device(&self) -> &'a Device {
        self.device
    }

    fn param<const N: usize>(&mut self, tensor: Tensor<N>) -> Param<Tensor<N>> {
        let mut param = Param::from_tensor(tensor);
        param.id = self.id();
        param
    }

    fn id(&mut self) -> ParamId {
        self.next_id += 1;
        ParamId::from(self.next_id)
    }

    pub(crate) fn matrix(&mut self, shape: [usize; 2], deviation: f64) -> Param<Tensor<2>> {
        let Some(rng) = &mut self.rng else {
            let zeros =
                move |device: &Device, grad| Tensor::zeros(shape, device).set_require_grad(grad);
            let (id, device) = (self.id(), self.device.clone());
            return Param::uninitialized(id, zeros, device, true, shape.into());
        };
        let values: Vec<f32> = (0..shape[0] * shape[1])
            .map(|_| (normal(rng) * deviation) as f32)
            .collect();
        self.param(Tensor::from_data(
            TensorData::new(values, shape),
            self.device,
        ))
    }

    fn vector(&mut self, length: usize, value: f32) -> Param<Tensor<1>> {
        let full = move |device: &Device, grad| {
            Tensor::<1>::full([length], value, device).set_require_grad(grad)
        };
        let (id, device) = (self.id(), self.device.clone());
        match self.rng {
            None => Param::uninitialized(id, full, device, true, [length].into()),
            Some(_) => {
                let mut param = Param::from_tensor(full(&device, false));
                param.id = id;
                param
            }
        }
    }

    pub(crate) fn linear(&mut self, out: usize, inner: usize, scale: f64, bias: bool) -> Linear {
        let weight = self.matrix([out, inner], scale / (inner as f64).sqrt());
        let bias = bias.then(|| self.vector(out, 0.0));
        Linear {
            weight,
            bias,
            lora: None,
            bf16: false,
            packed: None,
        }
    }

    pub(crate) fn norm(&mut self, width: usize, config: &ModelConfig) -> RmsNorm {
        let offset = matches!(config.family, Family::Gemma | Family::Gemma3);
        RmsNorm {
            weight: self.vector(width, if offset { 0.0 } else { 1.0 }),
            epsilon: config.rms_norm_eps,
            offset,
        }
    }

    /// Parameters are drawn and numbered in the order of the fields.
    pub(crate) fn block(&mut self, c: &ModelConfig, layer: usize) -> Block {
        let (d, fused) = (c.hidden_size, c.family == Family::Phi3);
        let residual = 1.0 / (2.0 * c.num_hidden_layers as f64).sqrt();
        let (all_four, after) = (c.family == Family::Gemma3, c.family == Family::Olmo2);
        let middle = c.intermediate_size;
        let bias = c.mlp_bias;
        Block {
            input_layernorm: (!after).then(|| self.norm(d, c)),
            self_attn: self.attention(c, layer, residual),
            post_attention_layernorm: self.norm(d, c),
            pre_feedforward_layernorm: all_four.then(|| self.norm(d, c)),
            post_feedforward_layernorm: (all_four || after).then(|| self.norm(d, c)),
            mlp: Mlp {
                gate_proj: (!fused).then(|| self.linear(middle, d, 1.0, bias)),
                up_proj: (!fused).then(|| self.linear(middle, d, 1.0, bias)),
                gate_up_proj: fused.then(|| self.linear(2 * middle, d, 1.0, bias)),
                down_proj: self.linear(d, middle, residual, bias),
                gelu: matches!(c.family, Family::Gemma | Family::Gemma3),
            },
        }
    }

    fn attention(&mut self, c: &ModelConfig, layer: usize, residual: f64) -> Attention {
        let (d, head_dim) = (c.hidden_size, c.head_dim);
        let (q, kv) = (
            c.num_attention_heads * head_dim,
            c.num_key_value_heads * head_dim,
        );
        let fused = c.family == Family::Phi3;
        let bias = c.attention_bias || c.family == Family::Qwen2;
        let norms_whole = c.family == Family::Olmo2;
        let has_norms = matches!(c.family, Family::Qwen3 | Family::Olmo2 | Family::Gemma3);
        let norm_width = |whole| if norms_whole { whole } else { head_dim };
        let window = c
            .sliding_window
            .as_ref()
            .and_then(|window| window.of(layer));
        let scale = c
            .query_pre_attn_scalar
            .map(|scalar| (head_dim as f64 / scalar).sqrt());
        Attention {
            q_proj: (!fused).then(|| self.linear(q, d, 1.0, bias)),
            k_proj: (!fused).then(|| self.linear(kv, d, 1.0, bias)),
            v_proj: (!fused).then(|| self.linear(kv, d, 1.0, bias)),
            qkv_proj: fused.then(|| self.linear(q + 2 * kv, d, 1.0, bias)),
            o_proj: self.linear(d, q, residual, c.attention_bias),
            q_norm: has_norms.then(|| self.norm(norm_width(q), c)),
            k_norm: has_norms.then(|| self.norm(norm_width(kv), c)),
            shape: AttentionShape {
                heads: c.num_attention_heads,
                kv_heads: c.num_key_value_heads,
                head_dim,
                positions: match window {
                    _ if c.no_rope_layers.contains(&layer) => Positions::None,
                    Some(_) => Positions::Sliding,
                    None => Positions::Full,
                },
                window,
                norms_whole,
                query_scale: scale.filter(|scale| *scale != 1.0),
            },
        }
    }
}

/// A normal number, by Box and Muller's transform.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
}
