//! Sizes in a hostile `config.json`. The test has a binary of its own, as it counts the allocations
//! of the whole process.

mod common;

use std::fs;

use common::{configs, device};
use convrec_policy::{Policy, SaveOptions};
use convrec_testdata::memory::{Counting, peak};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn sizes_beyond_the_weights_allocate_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy::new(&configs()[0], 1, &device()).unwrap();
    policy
        .save_folder(folder.path(), &SaveOptions::default())
        .unwrap();
    let path = folder.path().join("config.json");
    let whole: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for (field, value) in [
        ("hidden_size", 1u64 << 40),
        ("hidden_size", 1 << 63),
        ("hidden_size", 4 << 20),
        ("vocab_size", 1_000_000_000_000),
        ("vocab_size", 1_000_000_000),
        ("num_hidden_layers", 1_000_000_000),
        ("num_hidden_layers", 100_000),
        ("num_attention_heads", 1 << 20),
        ("head_dim", 1 << 62),
        ("head_dim", 1 << 26),
        ("intermediate_size", 1 << 50),
        ("intermediate_size", 1 << 24),
        ("num_key_value_heads", 3),
        ("eos_token_id", 1_000_000_000),
    ] {
        let mut config = whole.clone();
        config[field] = json!(value);
        fs::write(&path, config.to_string()).unwrap();
        let mut error = String::new();
        let used = peak(|| {
            let found = Policy::load_folder(folder.path(), &device());
            error = found.unwrap_err().to_string();
        });
        assert!(
            error.contains("config.json") || error.contains("shape"),
            "{value}: {error}"
        );
        assert!(used < 10.0, "{field} {value}: {used} MB");
    }
}
