//! Helpers of the tests: the device, small policies, golden tensors.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use convrec_policy::{
    Completion, Family, Generation, Llama3Scaling, ModelConfig, Policy, Sampling, Sequence,
    SlidingWindow,
};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// `CONVREC_DEVICE`: flex (the default), or wgpu or cuda where this crate's feature of that name is
/// on.
pub fn device() -> Device {
    match std::env::var("CONVREC_DEVICE").as_deref() {
        Err(_) | Ok("flex") => Device::flex(),
        #[cfg(feature = "wgpu")]
        Ok("wgpu") => Device::wgpu(match std::env::var_os("CONVREC_WGPU_GPU") {
            Some(_) => burn::tensor::DeviceKind::DefaultDevice,
            None => burn::tensor::DeviceKind::Cpu,
        }),
        #[cfg(feature = "cuda")]
        Ok("cuda") => Device::cuda(0),
        Ok(other) => {
            panic!("CONVREC_DEVICE={other}: not one of flex, wgpu, cuda, or its feature is off")
        }
    }
}

/// One small shape of each kind: all families, tied and untied, grouped queries or not, odd sizes.
pub fn configs() -> Vec<ModelConfig> {
    let small = |v, d, layers, heads| ModelConfig {
        intermediate_size: 40,
        ..ModelConfig::small(v, d, layers, heads)
    };
    let scaling = Llama3Scaling {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 16,
    };
    vec![
        small(50, 32, 2, 4),
        ModelConfig {
            num_key_value_heads: 2,
            tie_word_embeddings: false,
            ..small(131, 24, 1, 6)
        },
        ModelConfig {
            num_key_value_heads: 1,
            rope_scaling: Some(scaling),
            ..small(64, 48, 2, 3)
        },
        ModelConfig {
            family: Family::Qwen2,
            num_key_value_heads: 2,
            ..small(77, 32, 2, 4)
        },
        ModelConfig {
            family: Family::Qwen3,
            head_dim: 18,
            num_key_value_heads: 2,
            ..small(97, 20, 3, 4)
        },
    ]
}

/// One small shape of each family beside those of [`configs`].
pub fn families() -> Vec<ModelConfig> {
    let small = |family| ModelConfig {
        family,
        intermediate_size: 40,
        num_key_value_heads: 2,
        ..ModelConfig::small(61, 32, 3, 4)
    };
    let window = |layers: &[usize], rope_theta| {
        Some(SlidingWindow {
            tokens: 5,
            layers: layers.to_vec(),
            rope_theta,
        })
    };
    vec![
        ModelConfig {
            attention_bias: true,
            mlp_bias: true,
            ..small(Family::Llama)
        },
        ModelConfig {
            sliding_window: window(&[0, 1, 2], None),
            ..small(Family::Mistral)
        },
        ModelConfig {
            sliding_window: window(&[2], None),
            ..small(Family::Qwen2)
        },
        ModelConfig {
            no_rope_layers: vec![1],
            ..small(Family::SmolLm3)
        },
        small(Family::Olmo2),
        small(Family::Gemma),
        ModelConfig {
            sliding_window: window(&[0, 2], Some(1000.0)),
            query_pre_attn_scalar: Some(12.0),
            ..small(Family::Gemma3)
        },
        ModelConfig {
            partial_rotary_factor: 0.5,
            tie_word_embeddings: false,
            ..small(Family::Phi3)
        },
    ]
}

/// A policy whose distributions are far from uniform: fresh embeddings have deviation `1/sqrt(D)`,
/// these 0.3.
pub fn sharp(config: &ModelConfig, seed: u64) -> Policy {
    let policy = Policy::new(config, seed, &device()).unwrap();
    let bytes = policy.to_safetensors().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let scaled = file.tensors().into_iter().map(|(name, view)| {
        let factor = if name == "model.embed_tokens.weight" {
            0.3 * (config.hidden_size as f32).sqrt()
        } else {
            1.0
        };
        let numbers = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()) * factor);
        (
            name,
            view.shape().to_vec(),
            numbers.flat_map(f32::to_le_bytes).collect::<Vec<u8>>(),
        )
    });
    let scaled: Vec<_> = scaled.collect();
    let views = scaled.iter().map(|(name, shape, data)| {
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), data).unwrap(),
        )
    });
    policy
        .load_safetensors(&safetensors::serialize(views, None).unwrap())
        .unwrap()
}

/// Token ids without a pattern.
pub fn tokens(n: usize, vocabulary: usize, seed: u64) -> Vec<u32> {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..n)
        .map(|_| rng.random_range(0..vocabulary as u32))
        .collect()
}

pub fn generation(group_size: usize, max_new_tokens: usize) -> Generation {
    Generation {
        sampling: Sampling::default(),
        group_size,
        max_new_tokens,
        end_token: u32::MAX,
        max_rows: 64,
        seed: 3407,
    }
}

/// `rows` of ids as `[B, T]`.
pub fn ids(rows: &[Vec<u32>], device: &Device) -> Tensor<2, Int> {
    let values: Vec<i64> = rows.iter().flatten().map(|id| i64::from(*id)).collect();
    Tensor::from_data(TensorData::new(values, [rows.len(), rows[0].len()]), device)
}

pub fn to_vec<const N: usize>(tensor: Tensor<N>) -> Vec<f32> {
    tensor.into_data().try_into_vec_as::<f32>().unwrap()
}

/// Log-probabilities and entropies of each sequence, without padding.
pub fn recompute(
    policy: &Policy,
    sequences: &[Sequence<'_>],
    temperature: f32,
) -> Vec<(Vec<f32>, Vec<f32>)> {
    let found = policy.log_probs(sequences, temperature);
    let width = found.log_probs.dims()[1];
    let (log_probs, entropies) = (to_vec(found.log_probs), to_vec(found.entropies));
    let row = |values: &[f32], row: usize| {
        let (real, padding) =
            values[row * width..][..width].split_at(sequences[row].completion.len());
        assert!(padding.iter().all(|x| *x == 0.0), "padding is 0");
        real.to_vec()
    };
    (0..sequences.len())
        .map(|n| (row(&log_probs, n), row(&entropies, n)))
        .collect()
}

/// Every prompt with every of its completions.
pub fn sequences<'a>(
    prompts: &[&'a [u32]],
    completions: &'a [Vec<Completion>],
) -> Vec<Sequence<'a>> {
    let pairs = prompts.iter().zip(completions);
    pairs
        .flat_map(|(prompt, group)| {
            group.iter().map(|c| Sequence {
                prompt,
                completion: &c.tokens,
            })
        })
        .collect()
}

#[track_caller]
pub fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (n, (x, y)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f64::from(*x) - y).abs() <= tolerance,
            "{what}, {n}: {x}, expected {y}"
        );
    }
}

/// The f32 tensors of a safetensors file.
pub fn read_tensors(path: &Path) -> BTreeMap<String, Vec<f64>> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |data: &[u8]| {
        data.chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
            .collect::<Vec<_>>()
    };
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, numbers(view.data())))
        .collect()
}

/// The gradients in the order of the module, of the parameters that have one.
pub fn of_params(policy: &Policy, gradients: &GradientsParams) -> Vec<Vec<f32>> {
    struct Collect<'a>(&'a GradientsParams, Vec<Vec<f32>>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<N>>) {
            let gradient = self.0.get::<N>(param.id);
            self.1.extend(
                gradient.map(|gradient| gradient.into_data().try_into_vec_as::<f32>().unwrap()),
            );
        }
    }
    let mut collect = Collect(gradients, vec![]);
    policy.visit(&mut collect);
    collect.1
}
