//! AdamW over all weights of a policy, with gradients clipped by their global norm.

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::optim::{
    AdamWState, AdaptiveMomentumState, GradientsAccumulator, GradientsParams, ModuleOptimizer,
    Optimizer,
};
use burn::tensor::{Bytes, Device, Tensor};
use convrec_config::{ConfigError, check};
use convrec_kernels::sum_of_squares;
use serde::{Deserialize, Serialize};

use crate::schedule::Schedule;

/// The optimiser's settings. The defaults are those published for Rank-GRPO, except for the
/// learning rate, which suits a small policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The largest learning rate.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub adam_beta1: f32,
    /// Decay of the second moment.
    pub adam_beta2: f32,
    /// Added to the root of the second moment. burn's default is 1e-5; this is PyTorch's.
    pub adam_epsilon: f32,
    /// The decoupled decay of matrices. Norms and biases do not decay.
    pub weight_decay: f32,
    /// Gradients are scaled down to this global norm; 0 never clips.
    pub max_grad_norm: f64,
    /// The schedule of the learning rate.
    pub lr_scheduler_type: Schedule,
    /// Updates over which it first rises from 0.
    pub warmup_steps: usize,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            adam_beta1: 0.9,
            adam_beta2: 0.99,
            adam_epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            lr_scheduler_type: Schedule::Constant,
            warmup_steps: 0,
        }
    }
}

impl OptimizerConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let unit = |x: f32| (0.0..1.0).contains(&x);
        let rules = [
            (
                "learning_rate",
                self.learning_rate > 0.0 && self.learning_rate < 1.0,
                "a number in (0, 1)",
            ),
            ("adam_beta1", unit(self.adam_beta1), "a number in [0, 1)"),
            ("adam_beta2", unit(self.adam_beta2), "a number in [0, 1)"),
            (
                "adam_epsilon",
                self.adam_epsilon > 0.0 && self.adam_epsilon.is_finite(),
                "a positive number",
            ),
            (
                "weight_decay",
                self.weight_decay >= 0.0 && self.weight_decay.is_finite(),
                "0 or a positive number",
            ),
            (
                "lr_scheduler_type.step.factor",
                self.lr_scheduler_type.is_sensible(),
                "a factor of 0 or more, at most 1",
            ),
            (
                "max_grad_norm",
                self.max_grad_norm >= 0.0,
                "0 (never clip) or a positive number",
            ),
        ];
        check(self, &rules).map_err(|e| e.within("optimizer"))
    }
}

/// burn's AdamW with its state, computed in one pass over memory ([`convrec_kernels::AdamW`]).
#[derive(Clone)]
struct FusedAdamW {
    config: OptimizerConfig,
}

impl Optimizer for FusedAdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: f64,
        weight: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let (time, moments) = match state {
            Some(AdamWState { momentum }) => {
                (momentum.time + 1, [momentum.moment_1, momentum.moment_2])
            }
            None => (1, [gradient.zeros_like(), gradient.zeros_like()]),
        };
        let OptimizerConfig {
            adam_beta1: beta_1,
            adam_beta2: beta_2,
            adam_epsilon: epsilon,
            weight_decay,
            ..
        } = self.config;
        let adamw = convrec_kernels::AdamW {
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            weight_decay,
            time,
        };
        let (weight, [moment_1, moment_2]) = adamw.update(weight, gradient, moments);
        let momentum = AdaptiveMomentumState {
            time,
            moment_1,
            moment_2,
            max_moment_2: None,
        };
        (weight, Some(AdamWState { momentum }))
    }

    fn to_device<const D: usize>(mut state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}

/// An optimiser in the middle of a run.
pub struct Updates {
    config: OptimizerConfig,
    optimizer: ModuleOptimizer,
    total_steps: usize,
}

/// The figures of an update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// The global gradient norm before clipping; not finite where the step was skipped.
    pub grad_norm: f64,
}

impl Updates {
    /// An optimiser for a run of `total_steps`, without memory of earlier steps.
    pub fn new(config: &OptimizerConfig, total_steps: usize) -> Self {
        let adamw = FusedAdamW {
            config: config.clone(),
        };
        let without_decay = FusedAdamW {
            config: OptimizerConfig {
                weight_decay: 0.0,
                ..config.clone()
            },
        };
        let undecayed = ParamGroup::from_any_predicates(vec!["norm", "bias"]);
        let optimizer = ModuleOptimizer::from(adamw).with_group(undecayed, without_decay, None);
        Self {
            config: config.clone(),
            optimizer,
            total_steps,
        }
    }

    /// The learning rate of a step.
    pub fn learning_rate(&self, step: usize) -> f64 {
        let config = &self.config;
        config.learning_rate
            * config
                .lr_scheduler_type
                .factor(step, config.warmup_steps, self.total_steps)
    }

    /// One step with the gradients of the whole batch. A step whose gradients are not finite
    /// changes nothing.
    pub fn step<M: Module>(
        &mut self,
        step: usize,
        module: M,
        mut grads: GradientsParams,
    ) -> (M, Update) {
        let config = &self.config;
        let grad_norm = global_norm(&module, &grads);
        let update = Update {
            learning_rate: self.learning_rate(step),
            grad_norm,
        };
        if !grad_norm.is_finite() {
            return (module, update);
        }
        if config.max_grad_norm > 0.0 {
            // PyTorch's rule, its 1e-6 included.
            let scale = config.max_grad_norm / (grad_norm + 1e-6);
            if scale < 1.0 {
                grads = scaled(&module, grads, scale);
            }
        }
        (
            self.optimizer.step(update.learning_rate, module, grads),
            update,
        )
    }

    /// The optimiser's moments, to be stored.
    ///
    /// # Errors
    /// When burn cannot serialise them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        self.optimizer
            .into_bytes()
            .map(|bytes| bytes.to_vec())
            .map_err(|e| e.to_string())
    }

    /// The same optimiser with stored moments.
    ///
    /// # Errors
    /// When the bytes are not those of an optimiser.
    pub fn with_bytes(mut self, bytes: Vec<u8>) -> Result<Self, String> {
        self.optimizer = self
            .optimizer
            .from_bytes(Bytes::from_bytes_vec(bytes))
            .map_err(|e| e.to_string())?;
        Ok(self)
    }
}

/// Sums gradients of micro-batches whose losses are already normalised by the whole batch.
pub struct Accumulator<M: Module>(GradientsAccumulator<M>);

impl<M: Module> Default for Accumulator<M> {
    fn default() -> Self {
        Self(GradientsAccumulator::new())
    }
}

impl<M: Module> Accumulator<M> {
    /// Adds the gradients of a micro-batch.
    pub fn add(&mut self, gradients: GradientsParams, module: &M) {
        self.0.accumulate(module, gradients);
    }

    /// The sum; the accumulator is empty afterwards.
    pub fn take(&mut self) -> GradientsParams {
        self.0.grads()
    }
}

/// The Euclidean norm over all gradients, summed in f64 over parameters.
fn global_norm<M: Module>(module: &M, grads: &GradientsParams) -> f64 {
    struct Squares<'a>(&'a GradientsParams, f64);
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.0.get::<D>(param.id) {
                self.1 += sum_of_squares(grad);
            }
        }
    }
    let mut squares = Squares(grads, 0.0);
    module.visit(&mut squares);
    squares.1.sqrt()
}

fn scaled<M: Module>(module: &M, grads: GradientsParams, scale: f64) -> GradientsParams {
    struct Scale(GradientsParams, f64);
    impl ModuleVisitor for Scale {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.0.remove::<D>(param.id) {
                self.0.register::<D>(param.id, grad.mul_scalar(self.1));
            }
        }
    }
    let mut visitor = Scale(grads, scale);
    module.visit(&mut visitor);
    visitor.0
}

#[cfg(test)]
mod tests {
    use burn::module::ParamId;
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[derive(Module, Debug)]
    struct Two {
        matrix: Param<Tensor<2>>,
        vector: Param<Tensor<1>>,
    }

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        id: String,
        lr: f64,
        weight_decay: f32,
        beta1: f32,
        beta2: f32,
        eps: f32,
        max_grad_norm: Option<f64>,
        initial: (Vec<Vec<f64>>, Vec<f64>),
        steps: Vec<Step>,
    }

    #[derive(Deserialize)]
    struct Step {
        grads: (Vec<Vec<f64>>, Vec<f64>),
        grad_norm_before_clip: f64,
        params: (Vec<Vec<f64>>, Vec<f64>),
    }

    type Values = (Vec<Vec<f64>>, Vec<f64>);

    fn matrix(values: &[Vec<f64>], device: &Device) -> Tensor<2> {
        let shape = [values.len(), values[0].len()];
        Tensor::from_data(
            TensorData::new(values.concat(), shape).convert::<f32>(),
            device,
        )
    }

    fn vector(values: &[f64], device: &Device) -> Tensor<1> {
        Tensor::from_data(
            TensorData::new(values.to_vec(), [values.len()]).convert::<f32>(),
            device,
        )
    }

    fn close(tensor: Vec<f32>, expected: &[f64], tolerance: f64, what: &str) {
        for (value, expected) in tensor.iter().zip(expected) {
            let error = (f64::from(*value) - expected).abs();
            assert!(
                error <= tolerance * expected.abs().max(1.0),
                "{what}: {value}, expected {expected}"
            );
        }
    }

    fn compare(two: &Two, expected: &Values, what: &str) {
        close(
            two.matrix.val().into_data().try_into_vec_as().unwrap(),
            &expected.0.concat(),
            1e-5,
            what,
        );
        close(
            two.vector.val().into_data().try_into_vec_as().unwrap(),
            &expected.1,
            1e-5,
            what,
        );
    }

    #[test]
    fn golden_adamw_and_clipping() {
        let golden: Golden = convrec_testdata::golden_as("adamw.json");
        let device = Device::flex();
        let tracked = device.clone().autodiff();
        for case in golden.cases {
            let config = OptimizerConfig {
                learning_rate: case.lr,
                adam_beta1: case.beta1,
                adam_beta2: case.beta2,
                adam_epsilon: case.eps,
                weight_decay: case.weight_decay,
                max_grad_norm: case.max_grad_norm.unwrap_or(0.0),
                lr_scheduler_type: Schedule::Constant,
                warmup_steps: 0,
            };
            let mut two = Two {
                matrix: Param::initialized(
                    ParamId::from(1),
                    matrix(&case.initial.0, &tracked).require_grad(),
                ),
                vector: Param::initialized(
                    ParamId::from(2),
                    vector(&case.initial.1, &tracked).require_grad(),
                ),
            };
            // Only "bias" or "norm" in its name spares a parameter from decay, so `vector` decays
            // as in the golden case.
            let mut updates = Updates::new(&config, case.steps.len());
            for (n, step) in case.steps.iter().enumerate() {
                let mut grads = GradientsParams::new();
                grads.register(two.matrix.id, matrix(&step.grads.0, &device));
                grads.register(two.vector.id, vector(&step.grads.1, &device));
                // The optimiser is stored and read back half-way, which must change nothing.
                if n == case.steps.len() / 2 {
                    let bytes = updates.to_bytes().unwrap();
                    updates = Updates::new(&config, case.steps.len())
                        .with_bytes(bytes)
                        .unwrap();
                }
                let update;
                (two, update) = updates.step(n, two, grads);
                let error = (update.grad_norm - step.grad_norm_before_clip).abs()
                    / step.grad_norm_before_clip;
                assert!(error < 1e-5, "{}: norm {}", case.id, update.grad_norm);
                compare(&two, &step.params, &format!("{} after step {n}", case.id));
            }
        }
    }

    #[test]
    fn gradients_that_are_not_finite_change_nothing() {
        let device = Device::flex();
        let two = Two {
            matrix: Param::initialized(ParamId::from(1), Tensor::ones([2, 2], &device)),
            vector: Param::initialized(ParamId::from(2), Tensor::ones([2], &device)),
        };
        let mut grads = GradientsParams::new();
        grads.register(
            two.vector.id,
            Tensor::<1>::from_floats([f32::NAN, 1.0], &device),
        );
        let (two, update) = Updates::new(&OptimizerConfig::default(), 1).step(0, two, grads);
        assert!(!update.grad_norm.is_finite());
        assert_eq!(
            two.vector
                .val()
                .into_data()
                .try_into_vec_as::<f32>()
                .unwrap(),
            [1.0, 1.0]
        );
    }
}
