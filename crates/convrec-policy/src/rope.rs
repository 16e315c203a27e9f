//! Rotary position encoding (Su et al., arXiv 2104.09864), the half-rotation kind that published
//! checkpoints use. Dimension `i` is paired with dimension `i + d / 2`, where d is the number of
//! dimensions that are turned.

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::{Llama3Scaling, ModelConfig};

/// The angle per position of every dimension pair.
#[derive(Debug, Clone)]
pub(crate) struct RotaryFrequencies {
    /// `[d / 2]`
    full: Vec<f32>,
    /// The angles of the blocks with a sliding window, where they have their own.
    sliding: Option<Vec<f32>>,
}

/// Cosines and sines for the positions of one forward pass.
#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    full: Angles,
    sliding: Option<Angles>,
}

/// Each `[M, d / 2]`.
#[derive(Debug, Clone)]
struct Angles {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

/// The kind of positions of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Positions {
    Full,
    /// Those of the blocks with a sliding window.
    Sliding,
    /// The block knows no positions.
    None,
}

impl RotaryFrequencies {
    pub(crate) fn new(config: &ModelConfig) -> Self {
        let d = config.rotary_dim();
        let plain = |theta: f64| {
            (0..d / 2).map(move |i| 1.0 / (theta as f32).powf(2.0 * i as f32 / d as f32))
        };
        let scaled = |f| match &config.rope_scaling {
            Some(scaling) => stretch(f, scaling),
            None => f,
        };
        let window = config.sliding_window.as_ref();
        let sliding = window.and_then(|window| window.rope_theta);
        Self {
            full: plain(config.rope_theta).map(scaled).collect(),
            sliding: sliding.map(|theta| plain(theta).collect()),
        }
    }

    /// The rotation of M tokens at these positions.
    pub(crate) fn rotation(&self, positions: &[usize], device: &Device) -> Rotation {
        let angles = |frequencies: &Vec<f32>| {
            let of = |p: &usize| {
                let p = *p as f32;
                frequencies.iter().map(move |f| p * f)
            };
            let angles: Vec<f32> = positions.iter().flat_map(of).collect();
            let shape = [positions.len(), frequencies.len()];
            let table = |f: fn(f32) -> f32| {
                let values = angles.iter().map(|angle| f(*angle)).collect();
                Tensor::from_data(TensorData::new::<f32, _>(values, shape), device)
            };
            Angles {
                cos: table(f32::cos),
                sin: table(f32::sin),
            }
        };
        Rotation {
            full: angles(&self.full),
            sliding: self.sliding.as_ref().map(angles),
        }
    }
}

impl Rotation {
    /// Turns `x` `[M, H, head_dim]`.
    pub(crate) fn apply(&self, x: Tensor<3>, positions: Positions) -> Tensor<3> {
        let angles = match positions {
            Positions::None => return x,
            Positions::Sliding => self.sliding.as_ref().unwrap_or(&self.full),
            Positions::Full => &self.full,
        };
        let (d, turned) = (x.dims()[2], 2 * angles.cos.dims()[1]);
        let turn = |x| convrec_kernels::rotate(x, angles.cos.clone(), angles.sin.clone());
        if turned == d {
            return turn(x);
        }
        let rest = x.clone().narrow(2, turned, d - turned);
        Tensor::cat(vec![turn(x.narrow(2, 0, turned)), rest], 2)
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
