//! Low-rank adapters (LoRA, Hu et al., [arXiv 2106.09685]): the weights stay as they are, and small
//! matrices beside them learn. burn has such adapters too (`Module::apply_lora`); they make the
//! adapted weight `[out, in]` at every pass, and its gradient, which costs as much as training the
//! weight. Here a projection computes `x W' + s (x A') B'`.
//!
//! [arXiv 2106.09685]: https://arxiv.org/abs/2106.09685

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::decoder::{Linear, Policy};

/// A projection of a block, in the names of Hugging Face checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// Queries.
    QProj,
    /// Keys.
    KProj,
    /// Values.
    VProj,
    /// Out of the attention.
    OProj,
    /// The gate of the MLP.
    GateProj,
    /// What the gate acts on.
    UpProj,
    /// Out of the MLP.
    DownProj,
}

impl Projection {
    /// All of them, in the order of the file.
    pub const ALL: [Self; 7] = [
        Self::QProj,
        Self::KProj,
        Self::VProj,
        Self::OProj,
        Self::GateProj,
        Self::UpProj,
        Self::DownProj,
    ];

    /// As in files: `q_proj`.
    pub fn name(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
        }
    }
}

impl std::str::FromStr for Projection {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, ConfigError> {
        Self::ALL
            .into_iter()
            .find(|projection| projection.name() == name)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::name).join(", ");
                ConfigError::new(
                    "targets",
                    format!("{name:?} is not supported; expected some of {known}"),
                )
            })
    }
}

/// The shape of an adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// r, the inner width of the two matrices.
    pub rank: usize,
    /// What they add is scaled by `alpha / rank`.
    pub alpha: f64,
    /// The projections that have an adapter, in every block.
    pub targets: Vec<Projection>,
    /// Scale by `alpha / sqrt(rank)` instead, so that large ranks learn as fast (rsLoRA, [arXiv
    /// 2312.03732]).
    ///
    /// [arXiv 2312.03732]: https://arxiv.org/abs/2312.03732
    pub rank_stabilized: bool,
}

impl Default for LoraConfig {
    /// Rank 16 with a scale of 2, on all projections.
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            targets: Projection::ALL.to_vec(),
            rank_stabilized: false,
        }
    }
}

impl LoraConfig {
    /// # Errors
    /// At the first field that makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |field: &str, problem: String| Err(ConfigError::new(field, problem));
        if self.rank == 0 {
            return bad("rank", "0; expected at least 1".into());
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return bad(
                "alpha",
                format!("{}; expected a positive number", self.alpha),
            );
        }
        if self.targets.is_empty() {
            return bad(
                "targets",
                "none; expected at least one projection, as q_proj".into(),
            );
        }
        Ok(())
    }

    /// s, what the product of the two matrices is multiplied by.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha
            / if self.rank_stabilized {
                rank.sqrt()
            } else {
                rank
            }
    }
}

/// The two matrices beside a weight.
#[derive(Module, Debug)]
pub(crate) struct Lora {
    /// A, `[r, in]`
    pub(crate) a: Param<Tensor<2>>,
    /// B, `[out, r]`
    pub(crate) b: Param<Tensor<2>>,
    scale: f64,
}

impl Lora {
    /// What is added to the projection of x: `[.., in]` to `[.., out]`.
    pub(crate) fn forward<const N: usize>(&self, x: Tensor<N>) -> Tensor<N> {
        let inner = convrec_kernels::linear(x, self.a.val());
        convrec_kernels::linear(inner, self.b.val()).mul_scalar(self.scale)
    }

    /// What is added to the weight, `[out, in]`.
    fn product(&self) -> Tensor<2> {
        self.b.val().matmul(self.a.val()).mul_scalar(self.scale)
    }
}

impl Policy {
    /// This policy with a fresh adapter: it computes what it did (B is 0), and from now on only the
    /// adapter learns.
    ///
    /// A is uniform in `+-1/sqrt(in)`, as in PEFT; the same seed gives the same numbers on every
    /// device. The weights are shared with this policy's clones, not copied.
    ///
    /// ```
    /// # use burn::tensor::Device;
    /// use burn::module::Module;
    /// use convrec_policy::{LoraConfig, ModelConfig, Policy, Projection};
    ///
    /// let base = Policy::new(&ModelConfig::small(64, 32, 2, 4), 1, &Device::flex().autodiff())?;
    /// let config = LoraConfig { rank: 4, targets: vec![Projection::QProj, Projection::VProj], ..LoraConfig::default() };
    /// let policy = base.clone().with_lora(&config, 7)?;
    /// assert_eq!(policy.num_params() - base.num_params(), 2 * 2 * (4 * 32 + 32 * 4));
    ///
    /// let reference = policy.without_lora(); // shares the weights; for a KL penalty
    /// let plain = policy.merged(); // W + s B A, for saving as a model
    /// # assert_eq!(reference.to_safetensors()?, base.to_safetensors()?);
    /// # assert_eq!(plain.to_safetensors()?, base.to_safetensors()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When `config` makes no sense, or the policy has an adapter already.
    pub fn with_lora(self, config: &LoraConfig, seed: u64) -> Result<Self, ConfigError> {
        if self.lora.is_some() {
            let problem = "the policy has an adapter already; merge it first, or leave it off";
            return Err(ConfigError::new("lora", problem));
        }
        self.attach(config, |place, shape, device| {
            // A stream for each place: what one projection draws does not depend on which others
            // are adapted.
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(place);
            let bound = 1.0 / (shape[1] as f64).sqrt();
            let draw = |_| ((2.0 * rng.random::<f64>() - 1.0) * bound) as f32;
            let values: Vec<f32> = (0..shape[0] * shape[1]).map(draw).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        })
    }

    /// With an adapter whose A is what `draw` gives for a place, a shape and a device, and whose B
    /// is 0.
    pub(crate) fn attach(
        mut self,
        config: &LoraConfig,
        draw: impl Fn(u64, [usize; 2], &Device) -> Tensor<2>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        self = self.without_lora().no_grad();
        let (device, scale, rank) = (self.device(), config.scale(), config.rank);
        for (place, (projection, linear)) in self.projections_mut().enumerate() {
            if !config.targets.contains(&projection) {
                continue;
            }
            let [out, inner] = linear.weight.lazy_shape().dims();
            // Far above the numbers of the weights, and named by the place: a resumed run finds its
            // optimiser's state.
            let id = |matrix: u64| ParamId::from((1 << 32) + 2 * place as u64 + matrix);
            let param = |tensor: Tensor<2>, matrix| {
                let mut param = Param::from_tensor(tensor);
                param.id = id(matrix);
                param
            };
            let a = param(draw(place as u64, [rank, inner], &device), 0);
            let b = param(Tensor::zeros([out, rank], &device), 1);
            linear.lora = Some(Lora { a, b, scale });
        }
        self.lora = Some(config.clone());
        Ok(self)
    }

    /// The shape of the adapter, where there is one.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }

    /// The policy with its adapter left off: the reference of a KL penalty. The weights are shared,
    /// not copied, and are bit for bit those that the adapter was put on. All of them can be
    /// trained again.
    pub fn without_lora(&self) -> Self {
        self.plain(|_, weight| weight)
    }

    /// A plain policy that computes what this one does, to rounding: each adapter is added to its
    /// weight. This policy is as before.
    pub fn merged(&self) -> Self {
        self.plain(|lora, weight| weight + lora.product())
    }

    fn plain(&self, weight: impl Fn(&Lora, Tensor<2>) -> Tensor<2>) -> Self {
        let mut policy = self.clone();
        if policy.lora.take().is_none() {
            return policy;
        }
        for (_, linear) in policy.projections_mut() {
            if let Some(lora) = linear.lora.take() {
                linear.weight = linear
                    .weight
                    .clone()
                    .map(|base| weight(&lora, base).detach());
            }
        }
        policy.set_require_grad(true)
    }

    /// Blocks in order, [`Projection::ALL`] of each.
    fn projections_mut(&mut self) -> impl Iterator<Item = (Projection, &mut Linear)> {
        self.model
            .linears_mut()
            .flat_map(|linears| Projection::ALL.into_iter().zip(linears))
    }
}
