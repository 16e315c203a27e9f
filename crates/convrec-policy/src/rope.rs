//! Rotary position encoding (Su et al., arXiv 2104.09864), the half-rotation kind that published
//! checkpoints use: dimension `i` is paired with dimension `i + head_dim / 2`.

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::{Llama3Scaling, ModelConfig};

/// The angle per position of every dimension pair, `[head_dim / 2]`.
#[derive(Debug, Clone)]
pub(crate) struct RotaryFrequencies(Vec<f32>);

/// Cosines and sines for the positions of one forward pass, each `[M, head_dim / 2]`.
#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl RotaryFrequencies {
    pub(crate) fn new(config: &ModelConfig) -> Self {
        let d = config.head_dim as f32;
        let plain = (0..config.head_dim / 2)
            .map(|i| 1.0 / (config.rope_theta as f32).powf(2.0 * i as f32 / d));
        Self(
            plain
                .map(|f| {
                    config
                        .rope_scaling
                        .as_ref()
                        .map_or(f, |scaling| stretch(f, scaling))
                })
                .collect(),
        )
    }

    /// For M tokens at these positions.
    pub(crate) fn rotation(&self, positions: &[usize], device: &Device) -> Rotation {
        let angles = || {
            positions
                .iter()
                .flat_map(|&p| self.0.iter().map(move |f| p as f32 * f))
        };
        let shape = [positions.len(), self.0.len()];
        let table = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, shape), device);
        Rotation {
            cos: table(angles().map(f32::cos).collect()),
            sin: table(angles().map(f32::sin).collect()),
        }
    }
}

impl Rotation {
    /// Turns `x` `[M, H, head_dim]`.
    pub(crate) fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        convrec_kernels::rotate(x, self.cos.clone(), self.sin.clone())
    }
}

fn stretch(frequency: f32, scaling: &Llama3Scaling) -> f32 {
    let wavelength = 2.0 * std::f64::consts::PI / f64::from(frequency);
    let (low, high) = (scaling.low_freq_factor, scaling.high_freq_factor);
    let original = scaling.original_max_position_embeddings as f64;
    if wavelength < original / high {
        return frequency;
    }
    if wavelength > original / low {
        return (f64::from(frequency) / scaling.factor) as f32;
    }
    let smooth = (original / wavelength - low) / (high - low);
    ((1.0 - smooth) * f64::from(frequency) / scaling.factor + smooth * f64::from(frequency)) as f32
}
