//! Adapters of every kind against PEFT's numbers (`adapters/make.py`).

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{assert_close, device, recompute};
use convrec_policy::{Policy, Sequence};
use serde::Deserialize;
use serde_json::Value;

const ADAPTERS: [&str; 14] = [
    "plain",
    "all_linear",
    "regex",
    "layers",
    "one_layer",
    "patterns",
    "patterns_rslora",
    "exclude",
    "save_both",
    "save_head",
    "tied_save_embedding",
    "tied_save_both",
    "gaussian",
    "pissa_converted",
];

#[derive(Deserialize)]
struct Expected {
    base: String,
    ids: Vec<u32>,
    log_probs: Vec<f64>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/adapters")
        .join(name)
}

fn expected(name: &str) -> Expected {
    let text = fs::read_to_string(folder(name).join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn base(name: &str) -> Policy {
    Policy::load_folder(folder(name), &device()).unwrap()
}

fn log_probs(policy: &Policy, ids: &[u32]) -> Vec<f32> {
    let sequence = Sequence {
        prompt: &ids[..1],
        completion: &ids[1..],
    };
    recompute(policy, &[sequence], 1.0).remove(0).0
}

#[test]
fn log_probs_are_those_of_peft() {
    for name in ADAPTERS {
        let Expected {
            base: of,
            ids,
            log_probs: wanted,
        } = expected(name);
        let plain = base(&of);
        let policy = plain.clone().load_lora(folder(name)).unwrap();
        assert_close(&log_probs(&policy, &ids), &wanted, 1e-4, name);
        assert_close(&log_probs(&policy.merged(), &ids), &wanted, 1e-4, name);
        // Nothing of the adapter stays when it is left off.
        let without = policy.without_lora();
        assert_eq!(without.config(), plain.config(), "{name}");
        assert_eq!(
            without.to_safetensors().unwrap(),
            plain.to_safetensors().unwrap(),
            "{name}"
        );

        // It is written and read once more, on its own base or in place of another adapter.
        let copy = tempfile::tempdir().unwrap();
        policy.save_lora(copy.path()).unwrap();
        let other = base(&of).load_lora(folder("plain")).unwrap();
        for again in [base(&of), other] {
            let again = again.load_lora(copy.path()).unwrap();
            assert_eq!(log_probs(&again, &ids), log_probs(&policy, &ids), "{name}");
        }
        let text = fs::read_to_string(copy.path().join("adapter_config.json")).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        let named = config["base_model_name_or_path"].as_str().unwrap();
        assert_eq!(Path::new(named), folder(&of), "{name}");
    }
}

#[test]
fn adapters_for_another_base_are_refused() {
    for (name, field) in [
        ("pissa", "init_lora_weights"),
        ("olora", "init_lora_weights"),
        ("dora", "use_dora"),
        ("head_adapter", "target_modules"),
    ] {
        let error = base("base")
            .load_lora(folder(name))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(field) && error.contains("adapter_config.json"),
            "{error}"
        );
    }
}
