//! Folders that are damaged, hostile, or written by other tools are read right or refused by name,
//! and allocate nothing.

mod common;
#[path = "common/file.rs"]
mod file;

use std::fs;
use std::path::Path;

use common::{configs, device, tokens};
use convrec_policy::{ModelConfig, Policy, SaveOptions, Sequence};
use file::File;
use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;

fn policy() -> Policy {
    Policy::new(&configs()[0], 1, &device()).unwrap()
}

/// A folder of the policy, with changed weights and config.
fn folder(weights: &[u8], config: impl FnOnce(&mut Value)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut file: Value = serde_json::from_str(&policy().config().to_hugging_face()).unwrap();
    config(&mut file);
    fs::write(folder.path().join("config.json"), file.to_string()).unwrap();
    fs::write(folder.path().join("model.safetensors"), weights).unwrap();
    folder
}

fn with(change: impl FnOnce(&mut File)) -> TempDir {
    let mut file = File::of(&policy());
    change(&mut file);
    folder(&file.bytes(), |_| {})
}

fn load(folder: &Path) -> Policy {
    Policy::load_folder(folder, &device()).unwrap()
}

fn error(folder: &Path) -> String {
    Policy::load_folder(folder, &device())
        .unwrap_err()
        .to_string()
}

#[test]
fn numbers_that_are_none_are_refused_by_the_name_of_their_tensor() {
    for ill in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for name in ["model.embed_tokens.weight", "model.norm.weight"] {
            let folder =
                with(|file| file.get(name).data[8..12].copy_from_slice(&ill.to_le_bytes()));
            let error = error(folder.path());
            assert!(
                error.contains(&format!("`{name}`")) && error.contains("1 of its"),
                "{error}"
            );
        }
    }
    // Too large for f32.
    let mut file = File::of(&policy()).widened();
    file.get("model.norm.weight").data[..8].copy_from_slice(&1e300f64.to_le_bytes());
    let error = error(folder(&file.bytes(), |_| {}).path());
    assert!(
        error.contains("model.norm.weight") && error.contains("infinite"),
        "{error}"
    );
}

#[test]
fn f64_is_read() {
    let folder = folder(&File::of(&policy()).widened().bytes(), |_| {});
    let loaded = load(folder.path());
    assert_eq!(
        loaded.to_safetensors().unwrap(),
        policy().to_safetensors().unwrap()
    );
}

/// The head of another seed beside tied embeddings.
#[test]
fn a_head_that_differs_from_tied_embeddings_is_used() {
    let head = |seed| {
        let untied = ModelConfig {
            tie_word_embeddings: false,
            ..configs()[0].clone()
        };
        let other = Policy::new(&untied, seed, &device()).unwrap();
        std::mem::take(&mut File::of(&other).get("lm_head.weight").data)
    };
    let shape = [configs()[0].vocab_size, configs()[0].hidden_size];
    let folder = with(|file| file.add("lm_head.weight", Dtype::F32, &shape, head(9)));
    let loaded = load(folder.path());
    assert!(!loaded.config().tie_word_embeddings);
    let mut written = File::of(&loaded);
    assert_eq!(written.get("lm_head.weight").data, head(9));
    // The other head counts, and a saved folder says so.
    let copy = tempfile::tempdir().unwrap();
    loaded
        .save_folder(copy.path(), &SaveOptions::default())
        .unwrap();
    let again = load(copy.path());
    let ids = tokens(9, 50, 4);
    let sequence = [Sequence {
        prompt: &ids[..1],
        completion: &ids[1..],
    }];
    let log_probs = |policy: &Policy| common::recompute(policy, &sequence, 1.0);
    assert_eq!(log_probs(&again), log_probs(&loaded));
    assert_ne!(log_probs(&policy()), log_probs(&loaded));

    // A head with the same numbers changes nothing, and one with another shape is refused.
    let folder = with(|file| {
        let data = file.get("model.embed_tokens.weight").data.clone();
        file.add("lm_head.weight", Dtype::F32, &shape, data);
    });
    assert!(load(folder.path()).config().tie_word_embeddings);
    let folder = with(|file| file.add("lm_head.weight", Dtype::F32, &[1], vec![0; 4]));
    assert!(error(folder.path()).contains("lm_head.weight"));
}

#[test]
fn names_of_other_tools_are_understood() {
    let bytes = policy().to_safetensors().unwrap();
    let same = |file: File| {
        let folder = folder(&file.bytes(), |_| {});
        assert_eq!(load(folder.path()).to_safetensors().unwrap(), bytes);
    };
    let all = || File::of(&policy());
    same(all().rename(|name| format!("_orig_mod.{name}")));
    same(all().rename(|name| format!("module.{name}")));
    same(all().rename(|name| name.replace("layers.0.", "layers.0._checkpoint_wrapped_module.")));
    same(all().rename(|name| name.strip_prefix("model.").unwrap_or(name).to_string()));
    let mut file = all();
    file.add("v_head.summary.weight", Dtype::F32, &[1, 32], vec![0; 128]);
    file.add(
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        Dtype::F32,
        &[4],
        vec![0; 16],
    );
    same(file);
    // One tensor under two names.
    let mut file = all();
    let norm = file.get("model.norm.weight").data.clone();
    file.add("_orig_mod.model.norm.weight", Dtype::F32, &[32], norm);
    let error = error(folder(&file.bytes(), |_| {}).path());
    assert!(error.contains("are both `model.norm.weight`"), "{error}");
}

#[test]
fn quantised_weights_are_refused_by_their_method() {
    let mut file = File::of(&policy());
    file.add(
        "model.layers.0.self_attn.q_proj.qweight",
        Dtype::I32,
        &[4, 32],
        vec![0; 512],
    );
    let error_of =
        |file: &File, config: fn(&mut Value)| error(folder(&file.bytes(), config).path());
    let found = error_of(&file, |config| {
        config["quantization_config"] = json!({ "quant_method": "gptq" });
    });
    assert!(
        found.contains("gptq") && found.contains("q_proj.qweight"),
        "{found}"
    );
    let mut file = File::of(&policy());
    let matrix = file.get("model.layers.0.mlp.up_proj.weight");
    (matrix.dtype, matrix.data) = (Dtype::F8_E4M3, vec![0; matrix.shape.iter().product()]);
    let found = error_of(&file, |_| {});
    assert!(
        found.contains("quantised") && found.contains("mlp.up_proj.weight"),
        "{found}"
    );
    // Plain weights with a wish to quantise them while they are loaded are plain weights.
    let folder = folder(&policy().to_safetensors().unwrap(), |config| {
        config["quantization_config"] = json!({ "quant_method": "bitsandbytes" });
    });
    load(folder.path());
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_read() {
    let whole = folder(&policy().to_safetensors().unwrap(), |_| {});
    for name in ["config.json", "model.safetensors"] {
        let path = whole.path().join(name);
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // Reading a device to its end would never end.
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let found = error(whole.path());
        assert!(
            found.contains(name) && found.contains("not a regular file"),
            "{found}"
        );
        fs::remove_file(&path).unwrap();
        fs::write(&path, kept).unwrap();
    }
    load(whole.path());
}
