//! Low-rank adapters (LoRA, Hu et al., [arXiv 2106.09685]): the weights stay as they are, and small
//! matrices beside them learn. burn has such adapters too (`Module::apply_lora`). They compute the
//! adapted weight `[out, in]` and its gradient at every pass, which costs as much as training the
//! weight. Here a projection computes `x W' + s (x A') B'`.
//!
//! [arXiv 2106.09685]: https://arxiv.org/abs/2106.09685

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::ConfigError;
use crate::decoder::Policy;
use crate::layers::Lora;
use crate::lora_config::{LoraConfig, Projection, scale};

/// Rank and alpha of one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Size {
    pub(crate) rank: usize,
    pub(crate) alpha: f64,
}

impl Policy {
    /// This policy with a fresh adapter. It computes the same as before (B is 0), and from now on
    /// only the adapter learns.
    ///
    /// A is uniform in `+-1/sqrt(in)`, as in PEFT. The same seed gives the same numbers on every
    /// device. The weights are shared with this policy's clones, not copied. Where a block has q, k
    /// and v in one matrix (Phi-3), these three as targets mean that matrix.
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
    /// [`ConfigError`] when `config` is wrong or names a projection that the policy does not have,
    /// or the policy has an adapter already.
    pub fn with_lora(mut self, config: &LoraConfig, seed: u64) -> Result<Self, ConfigError> {
        if self.lora.is_some() {
            let problem = "the policy has an adapter already; merge it first, or leave it off";
            return Err(ConfigError::new("lora", problem));
        }
        config.check()?;
        let config = LoraConfig {
            targets: self.targets(&config.targets)?,
            ..config.clone()
        };
        let size = Size {
            rank: config.rank,
            alpha: config.alpha,
        };
        let of = |_, projection| config.targets.contains(&projection).then_some(size);
        Ok(self.attach(&config, of, Some(seed)))
    }

    /// These targets as projections that the policy has.
    fn targets(&mut self, wanted: &[Projection]) -> Result<Vec<Projection>, ConfigError> {
        use Projection::{GateProj, GateUpProj, KProj, QProj, QkvProj, UpProj, VProj};
        let has = self.projections();
        let mut found = vec![];
        for target in wanted {
            let (parts, fused): (&[Projection], _) = match target {
                QProj | KProj | VProj => (&[QProj, KProj, VProj], QkvProj),
                GateProj | UpProj => (&[GateProj, UpProj], GateUpProj),
                other => (&[], *other),
            };
            let in_one = has.contains(&fused) && parts.iter().all(|part| wanted.contains(part));
            let name = match has.contains(target) {
                true => *target,
                false if in_one => fused,
                false => {
                    let has: Vec<&str> = has.iter().map(|projection| projection.name()).collect();
                    let problem = format!("{}; this model has {}", target.name(), has.join(", "));
                    return Err(ConfigError::new("targets", problem));
                }
            };
            if !found.contains(&name) {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// The projections of a block.
    pub(crate) fn projections(&mut self) -> Vec<Projection> {
        let all = self.model.projections_mut();
        let first = all.take_while(|(layer, ..)| *layer == 0);
        first.map(|(_, projection, _)| projection).collect()
    }

    /// Puts an adapter on every place that `size` gives one for. The policy has none yet. A is
    /// drawn where there is a seed; else it will be read from a file. B is 0.
    pub(crate) fn attach(
        mut self,
        config: &LoraConfig,
        size: impl Fn(usize, Projection) -> Option<Size>,
        seed: Option<u64>,
    ) -> Self {
        self = self.no_grad();
        let device = self.device();
        for (place, (layer, projection, linear)) in self.model.projections_mut().enumerate() {
            let Some(Size { rank, alpha }) = size(layer, projection) else {
                continue;
            };
            let [out, inner] = linear.weight.lazy_shape().dims();
            // The id is far above those of the weights and depends on the place, so that a resumed
            // run finds its optimiser's state.
            let id = |matrix: u64| ParamId::from((1 << 32) + 2 * place as u64 + matrix);
            let zeros = |shape: [usize; 2], matrix| {
                let zeros = move |device: &Device, grad| {
                    Tensor::zeros(shape, device).set_require_grad(grad)
                };
                Param::uninitialized(id(matrix), zeros, device.clone(), true, shape.into())
            };
            let (a, b) = match seed {
                None => (zeros([rank, inner], 0), zeros([out, rank], 1)),
                Some(seed) => {
                    let param = |tensor: Tensor<2>, matrix| {
                        let mut param = Param::from_tensor(tensor);
                        param.id = id(matrix);
                        param
                    };
                    let a = draw(seed, place as u64, [rank, inner], &device);
                    (param(a, 0), param(Tensor::zeros([out, rank], &device), 1))
                }
            };
            let scale = scale(alpha, rank, config.rank_stabilized);
            linear.lora = Some(Lora { a, b, scale, alpha });
        }
        self.lora = Some(config.clone());
        self
    }

    /// The shape of the adapter, where there is one. An adapter that was read from a file may have
    /// other ranks in single places, and may leave out blocks.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }

    /// The policy with its adapter left off: the reference of a KL penalty. The weights are shared,
    /// not copied, and are bit for bit those that the adapter was put on. All of them can be
    /// trained again.
    pub fn without_lora(&self) -> Self {
        let mut policy = self.plain(|_, weight| weight);
        if let Some(base) = policy.saved_modules.take() {
            policy.restore(base);
        }
        policy
    }

    /// A plain policy that computes the same as this one, to rounding: each adapter is added to its
    /// weight. This policy stays as it is.
    pub fn merged(&self) -> Self {
        let mut policy = self.plain(|lora, weight| weight + lora.product());
        policy.saved_modules = None;
        if self.lora.is_some() {
            policy.base_name = None; // no folder holds these weights yet
        }
        policy
    }

    fn plain(&self, weight: impl Fn(&Lora, Tensor<2>) -> Tensor<2>) -> Self {
        let mut policy = self.clone();
        if policy.lora.take().is_none() {
            return policy;
        }
        for (_, _, linear) in policy.model.projections_mut() {
            if let Some(lora) = linear.lora.take() {
                linear.weight = linear
                    .weight
                    .clone()
                    .map(|base| weight(&lora, base).detach());
            }
        }
        policy.set_require_grad(true)
    }
}

/// Draws from a stream of the place, so that a projection's numbers do not depend on the other
/// adapted ones.
fn draw(seed: u64, place: u64, shape: [usize; 2], device: &Device) -> Tensor<2> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(place);
    let bound = 1.0 / (shape[1] as f64).sqrt();
    let draw = |_| ((2.0 * rng.random::<f64>() - 1.0) * bound) as f32;
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(draw).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}
