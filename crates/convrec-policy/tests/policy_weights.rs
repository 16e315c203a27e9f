//! Weights in and out.

mod common;

use common::{configs, device, recompute, tokens};
use convrec_policy::{ModelConfig, Policy, Sequence, WeightsError};
use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// A safetensors file, taken apart.
struct File(Vec<(String, Dtype, Vec<usize>, Vec<u8>)>);

impl File {
    fn of(policy: &Policy) -> Self {
        let bytes = policy.to_safetensors().unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let part = |(name, view): (String, TensorView<'_>)| {
            (
                name,
                view.dtype(),
                view.shape().to_vec(),
                view.data().to_vec(),
            )
        };
        Self(file.tensors().into_iter().map(part).collect())
    }

    fn bytes(&self) -> Vec<u8> {
        let views = self.0.iter().map(|(name, dtype, shape, data)| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    fn numbers(data: &[u8]) -> impl Iterator<Item = f32> {
        data.chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
    }
}

fn policy(config: &ModelConfig, seed: u64) -> Policy {
    Policy::new(config, seed, &device()).unwrap()
}

#[test]
fn bytes_to_policy_to_bytes() {
    for config in configs() {
        let bytes = policy(&config, 1).to_safetensors().unwrap();
        assert_eq!(
            bytes,
            policy(&config, 1).to_safetensors().unwrap(),
            "the same seed gives the same bytes"
        );
        let other = policy(&config, 2);
        assert_ne!(
            bytes,
            other.to_safetensors().unwrap(),
            "another seed gives others"
        );
        let loaded = other.load_safetensors(&bytes).unwrap();
        assert_eq!(loaded.to_safetensors().unwrap(), bytes, "{config:?}");
    }
}

#[test]
fn names_are_those_of_hugging_face() {
    for config in configs() {
        let file = File::of(&policy(&config, 1));
        let has = |name: &str| file.0.iter().any(|part| part.0 == name);
        assert!(has("model.embed_tokens.weight") && has("model.layers.0.self_attn.q_proj.weight"));
        assert_eq!(has("lm_head.weight"), !config.tie_word_embeddings);
    }
    // transformers 4 asks for this.
    let bytes = policy(&configs()[0], 1).to_safetensors().unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
}

#[test]
fn half_precision_is_read() {
    let config = &configs()[1];
    let ids = tokens(12, config.vocab_size, 5);
    let sequence = [Sequence {
        prompt: &ids[..4],
        completion: &ids[4..],
    }];
    for dtype in [Dtype::BF16, Dtype::F16] {
        let (mut short, mut rounded) = (File::of(&policy(config, 1)), File::of(&policy(config, 1)));
        for (_, kind, _, data) in &mut short.0 {
            *kind = dtype;
            *data = match dtype {
                Dtype::BF16 => File::numbers(data)
                    .flat_map(|x| bf16::from_f32(x).to_le_bytes())
                    .collect(),
                _ => File::numbers(data)
                    .flat_map(|x| f16::from_f32(x).to_le_bytes())
                    .collect(),
            };
        }
        for (_, _, _, data) in &mut rounded.0 {
            let round = |x| {
                if dtype == Dtype::BF16 {
                    bf16::from_f32(x).to_f32()
                } else {
                    f16::from_f32(x).to_f32()
                }
            };
            *data = File::numbers(data)
                .flat_map(|x| round(x).to_le_bytes())
                .collect();
        }
        let loaded = policy(config, 2).load_safetensors(&short.bytes()).unwrap();
        assert_eq!(
            File::of(&loaded).bytes(),
            rounded.bytes(),
            "{dtype:?}: held as f32"
        );
        recompute(&loaded, &sequence, 1.0);
    }
}

#[test]
fn a_missing_tensor_is_named() {
    for config in configs() {
        let mut file = File::of(&policy(&config, 1));
        for n in 0..file.0.len() {
            let part = file.0.remove(n);
            let error = policy(&config, 2)
                .load_safetensors(&file.bytes())
                .unwrap_err();
            assert!(
                matches!(&error, WeightsError::Missing { names, .. } if *names == [part.0.clone()]),
                "{error}"
            );
            assert!(error.to_string().contains(&part.0), "{error}");
            file.0.insert(n, part);
        }
    }
}

#[test]
fn an_unknown_tensor_is_named() {
    let config = &configs()[0];
    for name in [
        "model.layers.7.mlp.up_proj.weight",
        "model.layers.0.self_attn.q_proj.bias",
    ] {
        let mut file = File::of(&policy(config, 1));
        file.0.push((name.into(), Dtype::F32, vec![2], vec![0; 8]));
        let error = policy(config, 2)
            .load_safetensors(&file.bytes())
            .unwrap_err();
        assert!(
            matches!(&error, WeightsError::Unknown { names, .. } if *names == [name]),
            "{error}"
        );
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn needless_tensors_are_passed_over() {
    let tied = &configs()[0];
    let (v, d) = (tied.vocab_size, tied.hidden_size);
    let mut file = File::of(&policy(tied, 1));
    let embeddings = file
        .0
        .iter()
        .find(|part| part.0 == "model.embed_tokens.weight");
    let embeddings = embeddings.unwrap().3.clone();
    file.0
        .push(("lm_head.weight".into(), Dtype::F32, vec![v, d], embeddings));
    file.0.push((
        "model.layers.0.self_attn.rotary_emb.inv_freq".into(),
        Dtype::F32,
        vec![4],
        vec![0; 16],
    ));
    let loaded = policy(tied, 2).load_safetensors(&file.bytes()).unwrap();
    assert_eq!(
        loaded.to_safetensors().unwrap(),
        policy(tied, 1).to_safetensors().unwrap()
    );
}

#[test]
fn a_tensor_of_another_shape_is_named() {
    let config = &configs()[0];
    let mut file = File::of(&policy(config, 1));
    for n in 0..file.0.len() {
        let whole = file.0[n].clone();
        let row = whole.3.len() / whole.2[0];
        file.0[n].2[0] -= 1;
        file.0[n].3.truncate(whole.3.len() - row);
        let error = policy(config, 2)
            .load_safetensors(&file.bytes())
            .unwrap_err()
            .to_string();
        let shapes = (&file.0[n].2, &whole.2);
        assert!(
            error.contains(&format!(
                "tensor `{}`: shape {:?}, expected {:?}",
                whole.0, shapes.0, shapes.1
            )),
            "{error}"
        );
        file.0[n] = whole;
    }
}

#[test]
fn a_truncated_file_is_an_error() {
    let config = &configs()[0];
    let bytes = policy(config, 1).to_safetensors().unwrap();
    for length in [0, 7, 8, 100, bytes.len() - 1] {
        let error = policy(config, 2)
            .load_safetensors(&bytes[..length])
            .unwrap_err();
        assert!(
            matches!(error, WeightsError::Format { .. }),
            "{length} bytes: {error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes give an error, never a panic.
    #[test]
    fn noise_is_an_error(noise: Vec<u8>) {
        prop_assert!(policy(&configs()[0], 1).load_safetensors(&noise).is_err());
    }
}
