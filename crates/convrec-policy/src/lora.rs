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

use crate::config::ConfigError;
use crate::decoder::Policy;
use crate::layers::{Linear, Lora};
use crate::lora_config::{LoraConfig, Projection};

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
