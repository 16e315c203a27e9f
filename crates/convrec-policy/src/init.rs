//! Fresh parameters: random ones, or none yet.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::ModelConfig;
use crate::layers::{Linear, RmsNorm};

/// Draws the weights; numbers the parameters in order, so that optimiser state finds its parameter
/// after a restart.
pub(crate) struct Init<'a> {
    /// `None` draws nothing: the weights will be read from a file.
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

    /// Matrices take no memory until they are set, or read as zeros.
    pub(crate) fn blank(device: &'a Device) -> Self {
        Self {
            rng: None,
            next_id: 0,
            device,
        }
    }

    fn param<const N: usize>(&mut self, tensor: Tensor<N>) -> Param<Tensor<N>> {
        self.next_id += 1;
        let mut param = Param::from_tensor(tensor);
        param.id = ParamId::from(self.next_id);
        param
    }

    pub(crate) fn matrix(&mut self, shape: [usize; 2], deviation: f64) -> Param<Tensor<2>> {
        let Some(rng) = &mut self.rng else {
            self.next_id += 1;
            let zeros =
                move |device: &Device, grad| Tensor::zeros(shape, device).set_require_grad(grad);
            return Param::uninitialized(
                self.next_id.into(),
                zeros,
                self.device.clone(),
                true,
                shape.into(),
            );
        };
        let values: Vec<f32> = (0..shape[0] * shape[1])
            .map(|_| (normal(rng) * deviation) as f32)
            .collect();
        self.param(Tensor::from_data(
            TensorData::new(values, shape),
            self.device,
        ))
    }

    pub(crate) fn linear(&mut self, out: usize, inner: usize, scale: f64, bias: bool) -> Linear {
        let weight = self.matrix([out, inner], scale / (inner as f64).sqrt());
        let bias = bias.then(|| self.param(Tensor::zeros([out], self.device)));
        Linear {
            weight,
            bias,
            lora: None,
            bf16: false,
        }
    }

    pub(crate) fn norm(&mut self, width: usize, config: &ModelConfig) -> RmsNorm {
        RmsNorm {
            weight: self.param(Tensor::ones([width], self.device)),
            epsilon: config.rms_norm_eps,
        }
    }
}

/// Box and Muller's transform.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
}
