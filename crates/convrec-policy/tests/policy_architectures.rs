//! Tiny models of every family against transformers' numbers, sliding windows and all
//! (`architectures/make.py`).

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use common::{
    assert_close, device, families, generation, recompute, sequences, sharp, to_vec, tokens,
};
use convrec_policy::{
    Generation, LoraConfig, ModelConfig, Policy, Sampling, SaveOptions, Sequence, WeightType,
};
use safetensors::SafeTensors;
use serde::Deserialize;

const TOLERANCE: f64 = 2e-4;

#[derive(Deserialize)]
struct Expected {
    rows: Vec<Vec<u32>>,
    log_probs: Vec<Vec<f64>>,
    prompt: Vec<u32>,
    greedy: Vec<u32>,
    loss: f64,
    gradient_norm: f64,
}

fn folders() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/architectures");
    let folders: Vec<PathBuf> = fs::read_dir(all)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(folders.len(), 11);
    folders
}

fn each(device: &Device, test: impl Fn(&str, &Path, &Policy, &Expected)) {
    for folder in folders() {
        let name = folder.file_name().unwrap().to_str().unwrap().to_string();
        let policy = Policy::load_folder(&folder, device).unwrap();
        let expected = fs::read_to_string(folder.join("expected.json")).unwrap();
        let expected: Expected = serde_json::from_str(&expected).unwrap();
        test(&name, &folder, &policy, &expected);
    }
}

/// The whole row is the completion of its first token.
fn as_sequences(rows: &[Vec<u32>]) -> Vec<Sequence<'_>> {
    rows.iter()
        .map(|row| Sequence {
            prompt: &row[..1],
            completion: &row[1..],
        })
        .collect()
}

#[test]
fn log_probs_are_those_of_transformers() {
    each(&device(), |name, _, policy, expected| {
        let found = recompute(policy, &as_sequences(&expected.rows), 1.0);
        for ((found, _), wanted) in found.iter().zip(&expected.log_probs) {
            assert_close(found, wanted, TOLERANCE, name);
        }
    });
}

#[test]
fn greedy_texts_are_those_of_transformers() {
    each(&device(), |name, _, policy, expected| {
        let config = Generation {
            sampling: Sampling::greedy(),
            ..generation(2, expected.greedy.len())
        };
        let found = policy.generate(&[&expected.prompt], &config);
        for completion in &found[0] {
            assert_eq!(completion.tokens, expected.greedy, "{name}");
        }
    });
}

#[test]
fn gradients_are_those_of_transformers() {
    each(&device().autodiff(), |name, _, policy, expected| {
        for checkpoints in [false, true] {
            let policy = policy.clone().with_gradient_checkpointing(checkpoints);
            let rows = as_sequences(&expected.rows[..1]);
            let found = policy.log_probs(&rows, 1.0);
            let loss = found.log_probs.mean().neg();
            assert_close(&to_vec(loss.clone()), &[expected.loss], TOLERANCE, name);
            let gradients = found.tape.backward(loss, &policy);
            let norm = norm(&policy, gradients);
            let wanted = expected.gradient_norm;
            assert!(
                (norm / wanted - 1.0).abs() < 1e-4,
                "{name}: {norm}, not {wanted}"
            );
        }
    });
}

fn norm(policy: &Policy, gradients: GradientsParams) -> f64 {
    struct Squares(GradientsParams, f64);
    impl ModuleVisitor for Squares {
        fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<N>>) {
            let gradient = self
                .0
                .get::<N>(param.id)
                .expect("every parameter has a gradient");
            self.1 += to_vec(gradient)
                .iter()
                .map(|x| f64::from(*x).powi(2))
                .sum::<f64>();
        }
    }
    let mut squares = Squares(gradients, 0.0);
    policy.visit(&mut squares);
    squares.1.sqrt()
}

/// Names, types, shapes and bytes.
fn tensors(folder: &Path) -> BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |view: safetensors::tensor::TensorView<'_>| {
        let kind = format!("{:?}", view.dtype());
        (kind, view.shape().to_vec(), view.data().to_vec())
    };
    let all = file.tensors().into_iter();
    all.map(|(name, view)| (name, tensor(view))).collect()
}

#[test]
fn folders_are_saved_as_they_came() {
    each(&device(), |name, folder, policy, _| {
        assert_eq!(policy.weight_type(), WeightType::BF16, "{name}");
        assert_eq!(WeightType::of_folder(folder).unwrap(), WeightType::BF16);
        assert_eq!(policy.base_name(), folder.to_str());
        let copy = tempfile::tempdir().unwrap();
        let options = SaveOptions::as_loaded(policy);
        policy.save_folder(copy.path(), &options).unwrap();
        assert_eq!(tensors(copy.path()), tensors(folder), "{name}");
        let config = ModelConfig::load_folder(folder).unwrap();
        assert_eq!(
            ModelConfig::load_folder(copy.path()).unwrap(),
            config,
            "{name}"
        );
        assert_eq!((config.bos_token, config.pad_token), (Some(1), Some(0)));
        assert_eq!(config.end_tokens, [2]);
        // The file is read as other programs read it.
        let read = |folder: &Path| -> serde_json::Value {
            let text = fs::read_to_string(folder.join("config.json")).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let (found, wanted) = (read(copy.path()), read(folder));
        for field in ["architectures", "model_type", "dtype", "rope_parameters"] {
            assert_eq!(found[field], wanted[field], "{name}: {field}");
        }
    });
}

#[test]
fn sampled_numbers_are_those_of_training() {
    for config in families() {
        let policy = sharp(&config, 5);
        let prompts = [tokens(9, 61, 1), tokens(3, 61, 2), tokens(70, 61, 3)];
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let sampled = policy.generate(&prompts, &generation(3, 12));
        let again = recompute(&policy, &sequences(&prompts, &sampled), 1.0);
        for (sampled, (log_probs, _)) in sampled.iter().flatten().zip(&again) {
            let wanted: Vec<f64> = log_probs.iter().map(|x| f64::from(*x)).collect();
            assert_close(
                &sampled.log_probs,
                &wanted,
                5e-5,
                &format!("{:?}", config.family),
            );
        }
    }
}

#[test]
fn adapters_sit_on_every_family() {
    for config in families() {
        let base = Policy::new(&config, 1, &device()).unwrap();
        let policy = base.clone().with_lora(&LoraConfig::default(), 3).unwrap();
        let folder = tempfile::tempdir().unwrap();
        policy.save_lora(folder.path()).unwrap();
        let read = base.load_lora(folder.path()).unwrap();
        assert_eq!(read.lora().map(|lora| lora.rank), Some(16));
        let mut targets = policy.lora().unwrap().targets.clone();
        targets.sort();
        assert_eq!(read.lora().unwrap().targets, targets);
    }
}

#[test]
fn a_part_of_a_fused_matrix_cannot_be_adapted() {
    use convrec_policy::Projection::{GateUpProj, KProj, OProj, QProj, QkvProj, VProj};
    let phi3 = families().pop().unwrap();
    let policy = || Policy::new(&phi3, 1, &device()).unwrap();
    let adapted = |targets: Vec<_>| {
        let config = LoraConfig {
            targets,
            ..LoraConfig::default()
        };
        policy().with_lora(&config, 3)
    };
    let error = adapted(vec![QProj, OProj]).unwrap_err();
    assert_eq!(error.field, "targets");
    assert!(error.to_string().contains("qkv_proj"), "{error}");
    let found = adapted(vec![QProj, KProj, VProj, GateUpProj]).unwrap();
    assert_eq!(found.lora().unwrap().targets, [QkvProj, GateUpProj]);
}
