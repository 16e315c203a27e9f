//! One block of the decoder: attention and a gated MLP, with norms before or after them. Parts are
//! named as in Hugging Face checkpoints, so that weights go in and out without renaming.

use std::borrow::Cow;

use burn::module::Module;
use burn::tensor::{Int, Tensor, activation};
use convrec_kernels::{DecodeRow, Packing};

use crate::cache::LayerCache;
use crate::layers::{Linear, RmsNorm};
use crate::lora_config::Projection;
use crate::rope::{Positions, Rotation};

/// The norms that a block has decide where they act. Llama has the first two, which act before
/// attention and MLP. OLMo-2 has the second and the last, which act after them. Gemma 3 has all.
#[derive(Module, Debug)]
pub(crate) struct Block {
    pub(crate) input_layernorm: Option<RmsNorm>,
    pub(crate) self_attn: Attention,
    pub(crate) post_attention_layernorm: RmsNorm,
    pub(crate) pre_feedforward_layernorm: Option<RmsNorm>,
    pub(crate) post_feedforward_layernorm: Option<RmsNorm>,
    pub(crate) mlp: Mlp,
}

/// Has either q, k and v or all three in one.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    pub(crate) q_proj: Option<Linear>,
    pub(crate) k_proj: Option<Linear>,
    pub(crate) v_proj: Option<Linear>,
    /// The rows of q, then those of k, then those of v.
    pub(crate) qkv_proj: Option<Linear>,
    pub(crate) o_proj: Linear,
    pub(crate) q_norm: Option<RmsNorm>,
    pub(crate) k_norm: Option<RmsNorm>,
    #[module(skip)]
    pub(crate) shape: AttentionShape,
}

/// The settings of the attention of a block.
#[derive(Debug, Clone)]
pub(crate) struct AttentionShape {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) positions: Positions,
    /// The number of tokens that a token sees, itself included; none where it sees all.
    pub(crate) window: Option<usize>,
    /// The norms of q and k act on all heads as one, not on each.
    pub(crate) norms_whole: bool,
    /// A factor of the queries beside `1 / sqrt(head_dim)`; usually none.
    pub(crate) query_scale: Option<f64>,
}

/// Has either gate and up or both in one.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    pub(crate) gate_proj: Option<Linear>,
    pub(crate) up_proj: Option<Linear>,
    /// The rows of the gate, then those of up.
    pub(crate) gate_up_proj: Option<Linear>,
    pub(crate) down_proj: Linear,
    /// The activation is a GELU by tanh instead of a SiLU.
    pub(crate) gelu: bool,
}

/// The common inputs of all blocks in one forward pass over M tokens.
pub(crate) struct Pass<'a> {
    pub(crate) rotation: Rotation,
    pub(crate) sight: Sight<'a>,
}

/// The tokens that a token sees.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one of it in a forward pass"
)]
pub(crate) enum Sight<'a> {
    /// Those of its sequence.
    Packed(&'a Packing),
    /// Keys and values are kept at the places `[M]` of the caches. The first tokens see those of
    /// their sequence as the packing says; the new tokens of rows, which follow, see what is in the
    /// caches.
    Cached {
        packing: &'a Packing,
        rows: &'a [DecodeRow],
        places: Tensor<1, Int>,
        caches: &'a mut [LayerCache],
    },
}

impl Block {
    /// x `[M, D]` to `[M, D]`; `layer` is the place of this block.
    pub(crate) fn forward(&self, x: Tensor<2>, pass: &mut Pass<'_>, layer: usize) -> Tensor<2> {
        let heads = self.queries_keys_values(x.clone(), &pass.rotation);
        let mixed = self.self_attn.mix(heads, pass, layer);
        self.rest(x, mixed)
    }

    /// What comes before the scores: x `[M, D]` to q `[M, H, d]`, k and v `[M, Hk, d]`.
    pub(crate) fn queries_keys_values(&self, x: Tensor<2>, rotation: &Rotation) -> [Tensor<3>; 3] {
        let x = maybe(&self.input_layernorm, x);
        self.self_attn.queries_keys_values(x, rotation)
    }

    /// What comes after the scores, for each token by itself: x `[M, D]`, the block's input, and
    /// the mixed values `[M, H, d]` to `[M, D]`.
    pub(crate) fn rest(&self, x: Tensor<2>, mixed: Tensor<3>) -> Tensor<2> {
        let second = &self.post_attention_layernorm;
        let [m, heads, head_dim] = mixed.dims();
        let mixed = mixed.reshape([m, heads * head_dim]);
        let mut mixed = self.self_attn.o_proj.forward(mixed);
        if self.post_feedforward_layernorm.is_some() {
            mixed = second.forward(mixed);
        }
        let x = x + mixed;
        let input = if self.post_feedforward_layernorm.is_some() {
            maybe(&self.pre_feedforward_layernorm, x.clone())
        } else {
            second.forward(x.clone())
        };
        x + maybe(&self.post_feedforward_layernorm, self.mlp.forward(input))
    }

    /// The projections that the block has, in no order.
    pub(crate) fn projections(&self) -> impl Iterator<Item = &Linear> {
        let (attention, mlp) = (&self.self_attn, &self.mlp);
        let some = [
            &attention.q_proj,
            &attention.k_proj,
            &attention.v_proj,
            &attention.qkv_proj,
            &mlp.gate_proj,
            &mlp.up_proj,
            &mlp.gate_up_proj,
        ];
        let all = [&attention.o_proj, &mlp.down_proj];
        some.into_iter().flatten().chain(all)
    }

    /// The projections that the block has, in the order of the file.
    pub(crate) fn projections_mut(&mut self) -> impl Iterator<Item = (Projection, &mut Linear)> {
        let (attention, mlp) = (&mut self.self_attn, &mut self.mlp);
        [
            (Projection::QProj, attention.q_proj.as_mut()),
            (Projection::KProj, attention.k_proj.as_mut()),
            (Projection::VProj, attention.v_proj.as_mut()),
            (Projection::QkvProj, attention.qkv_proj.as_mut()),
            (Projection::OProj, Some(&mut attention.o_proj)),
            (Projection::GateProj, mlp.gate_proj.as_mut()),
            (Projection::UpProj, mlp.up_proj.as_mut()),
            (Projection::GateUpProj, mlp.gate_up_proj.as_mut()),
            (Projection::DownProj, Some(&mut mlp.down_proj)),
        ]
        .into_iter()
        .filter_map(|(projection, linear)| Some((projection, linear?)))
    }
}

fn maybe(norm: &Option<RmsNorm>, x: Tensor<2>) -> Tensor<2> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}

impl Attention {
    /// The packing as this block sees it.
    pub(crate) fn seen<'p>(&self, packing: &'p Packing) -> Cow<'p, Packing> {
        match self.shape.window {
            Some(window) => Cow::Owned(packing.clone().with_window(window)),
            None => Cow::Borrowed(packing),
        }
    }

    /// q `[M, H, d]`, k and v `[M, Hk, d]` to the mixed values `[M, H, d]`.
    fn mix(&self, [q, k, v]: [Tensor<3>; 3], pass: &mut Pass<'_>, layer: usize) -> Tensor<3> {
        let [m, ..] = q.dims();
        let attend = |q, k, v, packing| convrec_kernels::attention(q, k, v, &self.seen(packing));
        match &mut pass.sight {
            Sight::Packed(packing) => attend(q, k, v, packing),
            Sight::Cached {
                packing,
                rows,
                places,
                caches,
            } => {
                caches[layer].write(places, k.clone(), v.clone());
                let new = packing.tokens();
                match (new, m - new) {
                    (_, 0) => attend(q, k, v, packing),
                    (0, _) => caches[layer].attend(q, rows),
                    (_, begun) => {
                        let first = |x: Tensor<3>| x.narrow(0, 0, new);
                        let rest = caches[layer].attend(q.clone().narrow(0, new, begun), rows);
                        Tensor::cat(vec![attend(first(q), first(k), first(v), packing), rest], 0)
                    }
                }
            }
        }
    }

    /// x `[M, D]` to q `[M, H, d]`, k and v `[M, Hk, d]`, normed and turned to their positions.
    fn queries_keys_values(&self, x: Tensor<2>, rotation: &Rotation) -> [Tensor<3>; 3] {
        let [m, _] = x.dims();
        let AttentionShape {
            heads,
            kv_heads,
            head_dim: d,
            positions,
            norms_whole,
            query_scale,
            ..
        } = self.shape;
        let turned = |x: Tensor<2>, norm: &Option<RmsNorm>, heads| {
            let x = match norm {
                Some(norm) if norms_whole => norm.forward(x).reshape([m, heads, d]),
                Some(norm) => norm.forward(x.reshape([m, heads, d])),
                None => x.reshape([m, heads, d]),
            };
            rotation.apply(x, positions)
        };
        let queries = |x| {
            let q = turned(x, &self.q_norm, heads);
            match query_scale {
                Some(scale) => q.mul_scalar(scale),
                None => q,
            }
        };
        let keys = |x| turned(x, &self.k_norm, kv_heads);
        let values = |x: Tensor<2>| x.reshape([m, kv_heads, d]);
        match [&self.q_proj, &self.k_proj, &self.v_proj] {
            [Some(q), Some(k), Some(v)] => [
                queries(q.forward(x.clone())),
                keys(k.forward(x.clone())),
                values(v.forward(x)),
            ],
            _ => {
                let fused = self.qkv_proj.as_ref();
                let fused = fused.expect("a block has q, k and v, or all in one");
                let all = fused.forward(x);
                let part = |first, heads| all.clone().narrow(1, first * d, heads * d);
                [
                    queries(part(0, heads)),
                    keys(part(heads, kv_heads)),
                    values(part(heads + kv_heads, kv_heads)),
                ]
            }
        }
    }
}

impl Mlp {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let (gate, up) = match (&self.gate_proj, &self.up_proj) {
            (Some(gate), Some(up)) => (gate.forward(x.clone()), up.forward(x)),
            _ => {
                let fused = &self.gate_up_proj;
                let both = fused
                    .as_ref()
                    .expect("a block has gate and up, or both in one");
                let halves = both.forward(x).chunk(2, 1);
                (halves[0].clone(), halves[1].clone())
            }
        };
        self.down_proj.forward(if self.gelu {
            activation::gelu_approximate(gate) * up
        } else {
            convrec_kernels::swiglu(gate, up)
        })
    }
}
