//! Model folders are read and written: one file or many, three types of numbers, and errors about
//! damaged ones.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{configs, device, recompute, tokens};
use convrec_policy::{GenerationDefaults, Policy, Sampling, SaveOptions, Sequence, WeightType};
use convrec_testdata::{golden, golden_path};
use half::bf16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

const INDEX: &str = "model.safetensors.index.json";
/// Options that put one to three tensors of the smallest configs into a file.
const TINY: SaveOptions = SaveOptions {
    dtype: WeightType::F32,
    max_shard_bytes: 8_000,
};

fn policy() -> Policy {
    Policy::new(&configs()[1], 1, &device()).unwrap()
}

fn saved(policy: &Policy, options: &SaveOptions) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    policy.save_folder(folder.path(), options).unwrap();
    folder
}

fn load(folder: &Path) -> Policy {
    Policy::load_folder(folder, &device()).unwrap()
}

fn error(folder: &Path) -> String {
    Policy::load_folder(folder, &device())
        .unwrap_err()
        .to_string()
}

fn bytes(policy: &Policy) -> Vec<u8> {
    policy.to_safetensors().unwrap()
}

/// The files of a folder, without the config.
fn weights(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "config.json").collect();
    names.sort();
    names
}

fn index(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join(INDEX)).unwrap()).unwrap()
}

/// A policy whose weights bf16 can hold.
fn short() -> Policy {
    let all = bytes(&policy());
    let file = SafeTensors::deserialize(&all).unwrap();
    let rounded: Vec<_> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let round = |b: &[u8]| {
                bf16::from_f32(f32::from_le_bytes(b.try_into().unwrap()))
                    .to_f32()
                    .to_le_bytes()
            };
            (
                name,
                view.shape().to_vec(),
                view.data()
                    .chunks_exact(4)
                    .flat_map(round)
                    .collect::<Vec<u8>>(),
            )
        })
        .collect();
    let views = rounded.iter().map(|(name, shape, data)| {
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), data).unwrap(),
        )
    });
    policy()
        .load_safetensors(&safetensors::serialize(views, None).unwrap())
        .unwrap()
}

#[test]
fn one_file_or_many_hold_the_same() {
    for config in configs() {
        let policy = Policy::new(&config, 1, &device()).unwrap();
        for (options, files) in [
            (SaveOptions::default(), 1),
            (TINY, 5),
            (
                SaveOptions {
                    max_shard_bytes: 0,
                    ..TINY
                },
                11,
            ),
        ] {
            let folder = saved(&policy, &options);
            let names = weights(folder.path());
            assert!(
                if files == 1 {
                    names == ["model.safetensors"]
                } else {
                    names.len() > files
                },
                "{names:?}"
            );
            let loaded = load(folder.path());
            assert_eq!(bytes(&loaded), bytes(&policy));
            assert_eq!(loaded.config(), policy.config());
        }
    }
}

#[test]
fn files_are_no_larger_than_asked_for() {
    let policy = Policy::new(&configs()[0], 1, &device()).unwrap();
    let limit = 20_000;
    let folder = saved(
        &policy,
        &SaveOptions {
            max_shard_bytes: limit,
            ..TINY
        },
    );
    let index = index(folder.path());
    let mut total = 0;
    for name in weights(folder.path()).iter().filter(|name| *name != INDEX) {
        let file = fs::read(folder.path().join(name)).unwrap();
        let data: usize = SafeTensors::deserialize(&file)
            .unwrap()
            .iter()
            .map(|(_, view)| view.data().len())
            .sum();
        assert!(data as u64 <= limit, "{name}: {data}");
        total += data;
    }
    assert_eq!(index["metadata"]["total_size"], json!(total));
    assert_eq!(
        index["weight_map"]["model.embed_tokens.weight"],
        json!("model-00001-of-00004.safetensors")
    );
}

#[test]
fn half_precision_keeps_what_it_can_hold() {
    let exact = short();
    for max_shard_bytes in [TINY.max_shard_bytes, u64::MAX] {
        let folder = saved(
            &exact,
            &SaveOptions {
                dtype: WeightType::BF16,
                max_shard_bytes,
            },
        );
        assert_eq!(bytes(&load(folder.path())), bytes(&exact));
        let config: Value =
            serde_json::from_str(&fs::read_to_string(folder.path().join("config.json")).unwrap())
                .unwrap();
        assert_eq!(
            config["dtype"], "bfloat16",
            "transformers loads weights as the config says"
        );
    }
    let folder = saved(
        &exact,
        &SaveOptions {
            dtype: WeightType::F16,
            max_shard_bytes: u64::MAX,
        },
    );
    let ids = tokens(12, exact.config().vocab_size, 5);
    let sequence = [Sequence {
        prompt: &ids[..4],
        completion: &ids[4..],
    }];
    let (found, expected) = (
        recompute(&load(folder.path()), &sequence, 1.0),
        recompute(&exact, &sequence, 1.0),
    );
    for (x, y) in found[0].0.iter().zip(&expected[0].0) {
        assert!((x - y).abs() < 1e-2, "{x}, expected {y}");
    }
}

#[test]
fn what_f16_cannot_hold_is_refused_and_nothing_is_written() {
    let all = bytes(&policy());
    let file = SafeTensors::deserialize(&all).unwrap();
    let large: Vec<u8> = 70_000f32.to_le_bytes().repeat(24);
    let views = file
        .tensors()
        .into_iter()
        .map(|(name, view)| match name.as_str() {
            "model.norm.weight" => (name, TensorView::new(Dtype::F32, vec![24], &large).unwrap()),
            _ => (name, view),
        });
    let large = policy()
        .load_safetensors(&safetensors::serialize(views, None).unwrap())
        .unwrap();
    let folder = saved(&policy(), &SaveOptions::default());
    let error = large
        .save_folder(
            folder.path(),
            &SaveOptions {
                dtype: WeightType::F16,
                ..TINY
            },
        )
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`model.norm.weight`") && error.contains("float16"),
        "{error}"
    );
    assert_eq!(
        weights(folder.path()),
        ["model.safetensors"],
        "nothing is left behind"
    );
    assert_eq!(bytes(&load(folder.path())), bytes(&policy()));
}

#[test]
fn a_save_replaces_an_earlier_one() {
    let first = Policy::new(&configs()[0], 1, &device()).unwrap();
    let ways = [
        SaveOptions::default(),
        TINY,
        SaveOptions {
            max_shard_bytes: 20_000,
            ..TINY
        },
    ];
    for before in ways {
        for after in ways {
            let folder = saved(&first, &before);
            fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
            fs::write(folder.path().join("model-card.safetensors"), "").unwrap();
            policy().save_folder(folder.path(), &after).unwrap();
            assert_eq!(
                bytes(&load(folder.path())),
                bytes(&policy()),
                "{before:?}, {after:?}"
            );
            let names = weights(folder.path());
            let fresh = weights(saved(&policy(), &after).path());
            let others = ["tokenizer.json", "model-card.safetensors"];
            let others: Vec<&String> = names
                .iter()
                .filter(|name| !others.contains(&name.as_str()))
                .collect();
            assert_eq!(
                others,
                fresh.iter().collect::<Vec<_>>(),
                "only the weights of an earlier save go"
            );
        }
    }
}

/// Each golden model, its weights split, under both kinds of config: the very weights, and
/// transformers' numbers.
#[test]
fn golden_models_through_many_files() {
    for model in golden("models/index.json")["models"].as_array().unwrap() {
        let name = model["name"].as_str().unwrap();
        let original = load(&golden_path(&format!("models/{name}")));
        let expected = golden(&format!("models_expected/{name}/expected.json"));
        let case = expected["cases"]
            .as_array()
            .unwrap()
            .iter()
            .find(|case| case["kind"] == "full")
            .unwrap();
        let row: Vec<u32> = serde_json::from_value(case["input_ids"][0].clone()).unwrap();
        let log_probs: Vec<f64> = serde_json::from_value(case["token_logps"][0].clone()).unwrap();
        for config in ["config.json", "config_legacy.json"] {
            let folder = saved(
                &original,
                &SaveOptions {
                    max_shard_bytes: 50_000,
                    ..TINY
                },
            );
            assert!(weights(folder.path()).len() > 2);
            fs::copy(
                golden_path(&format!("models/{name}/{config}")),
                folder.path().join("config.json"),
            )
            .unwrap();
            let loaded = load(folder.path());
            assert_eq!(bytes(&loaded), bytes(&original), "{name}, {config}");
            let text = Sequence {
                prompt: &row[..1],
                completion: &row[1..],
            };
            common::assert_close(
                &recompute(&loaded, &[text], 1.0)[0].0,
                &log_probs,
                2e-4,
                &format!("{name}, {config}"),
            );
        }
    }
}

/// Replaces one tensor of a file; `None` removes it.
fn change(path: &Path, name: &str, to: Option<(Dtype, Vec<usize>, Vec<u8>)>) {
    let all = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&all).unwrap();
    let mut parts: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            (
                name,
                (view.dtype(), view.shape().to_vec(), view.data().to_vec()),
            )
        })
        .collect();
    parts.remove(name);
    parts.extend(to.map(|to| (name.to_string(), to)));
    let views = parts.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn damage_is_named() {
    const NORM: &str = "model.norm.weight";
    let has = |folder: &Path, parts: &[&str]| {
        let error = error(folder);
        assert!(
            parts.iter().all(|part| error.contains(part)),
            "{error}\nshould have {parts:?}"
        );
    };
    let single = || saved(&policy(), &SaveOptions::default());
    let many = || saved(&policy(), &TINY);
    let file = |folder: &TempDir| folder.path().join("model.safetensors");
    let shard = |folder: &TempDir| {
        let name = index(folder.path())["weight_map"][NORM]
            .as_str()
            .unwrap()
            .to_string();
        (folder.path().join(&name), name)
    };

    has(
        Path::new("no such folder"),
        &["no such folder", "config.json"],
    );
    let folder = single();
    fs::remove_file(file(&folder)).unwrap();
    has(
        folder.path(),
        &["neither model.safetensors nor model.safetensors.index.json"],
    );
    let folder = single();
    fs::write(
        folder.path().join("config.json"),
        r#"{ "model_type": "gpt2" }"#,
    )
    .unwrap();
    has(folder.path(), &["config.json", "field `model_type`"]);

    // Tensors.
    let row = vec![0; 4 * 24];
    for (to, parts) in [
        (None, ["1 missing", NORM]),
        (
            Some((Dtype::F32, vec![24, 1], row.clone())),
            ["shape [24, 1], expected [24]", NORM],
        ),
        (
            Some((Dtype::I64, vec![24], row.repeat(2))),
            ["type I64", NORM],
        ),
    ] {
        let folder = single();
        change(&file(&folder), NORM, to.clone());
        has(
            folder.path(),
            &[&parts[..], &["model.safetensors: "]].concat(),
        );
        if let Some(to) = to {
            let folder = many();
            change(&shard(&folder).0, NORM, Some(to));
            has(folder.path(), &[&parts[..], &[&shard(&folder).1]].concat());
        }
    }
    let folder = single();
    change(
        &file(&folder),
        "model.norm.bias",
        Some((Dtype::F32, vec![24], row.clone())),
    );
    has(
        folder.path(),
        &["1 unknown", "model.norm.bias", "model.safetensors: "],
    );

    // Truncated: within the length, the header and the numbers.
    let whole = fs::read(file(&single())).unwrap();
    for length in [0, 7, 8, 100, whole.len() - 1] {
        let folder = single();
        fs::write(file(&folder), &whole[..length]).unwrap();
        has(folder.path(), &["model.safetensors: ", "fetch it again"]);
    }
    let folder = many();
    let (path, name) = shard(&folder);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 4]).unwrap();
    has(folder.path(), &[&name, "truncated"]);

    // The index.
    let rewrite = |folder: &TempDir, change: &dyn Fn(&mut Value)| {
        let mut value = index(folder.path());
        change(&mut value);
        fs::write(folder.path().join(INDEX), value.to_string()).unwrap();
    };
    let folder = many();
    fs::remove_file(shard(&folder).0).unwrap();
    has(folder.path(), &[&shard(&folder).1, "not there", INDEX]);
    let folder = many();
    rewrite(&folder, &|value| {
        value["weight_map"][NORM] = json!("model-00001-of-00002.safetensors")
    });
    has(
        folder.path(),
        &["model-00001-of-00002.safetensors", "not there"],
    );
    let folder = many();
    let first = index(folder.path())["weight_map"]["model.embed_tokens.weight"].clone();
    rewrite(&folder, &|value| value["weight_map"][NORM] = first.clone());
    has(
        folder.path(),
        &[first.as_str().unwrap(), NORM, "not in this file"],
    );
    let folder = many();
    rewrite(&folder, &|value| {
        drop(value["weight_map"].as_object_mut().unwrap().remove(NORM))
    });
    has(
        folder.path(),
        &[&shard_of(folder.path(), NORM), NORM, "does not know it"],
    );
    let folder = many();
    rewrite(&folder, &|value| {
        value["weight_map"][NORM] = json!("../model.safetensors")
    });
    has(folder.path(), &[INDEX, "../model.safetensors"]);
    for text in [
        "",
        "{}",
        r#"{ "weight_map": 3 }"#,
        r#"{ "weight_map": { "a": 3 } }"#,
    ] {
        let folder = many();
        fs::write(folder.path().join(INDEX), text).unwrap();
        has(folder.path(), &[INDEX, "not an index"]);
    }
}

/// The file that has a tensor, whatever the index says.
fn shard_of(folder: &Path, tensor: &str) -> String {
    let has = |name: &String| {
        let file = fs::read(folder.join(name)).unwrap();
        name != INDEX
            && SafeTensors::deserialize(&file)
                .unwrap()
                .tensor(tensor)
                .is_ok()
    };
    weights(folder)
        .into_iter()
        .filter(|name| name != INDEX)
        .find(has)
        .unwrap()
}

#[test]
fn generation_defaults_are_read() {
    let read = |value: Value| GenerationDefaults::from_hugging_face(&value.to_string());
    let all = read(json!({
        "do_sample": true, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05,
        "eos_token_id": [5, 7], "max_new_tokens": 512, "transformers_version": "4.37.0", "pad_token_id": 0,
    }))
    .unwrap();
    let sampling = Sampling {
        repetition_penalty: 1.05,
        temperature: 0.7,
        top_k: Some(20),
        top_p: Some(0.8),
        min_p: None,
    };
    assert_eq!(
        all,
        GenerationDefaults {
            sampling,
            end_tokens: vec![5, 7],
            max_new_tokens: Some(512)
        }
    );
    let greedy = read(json!({ "temperature": 0.7, "eos_token_id": 2 })).unwrap();
    assert_eq!(
        (greedy.sampling, greedy.end_tokens),
        (Sampling::greedy(), vec![2])
    );
    let plain = read(json!({ "do_sample": true, "top_k": 0, "top_p": 1.0 })).unwrap();
    assert!(plain.sampling.is_exact() && plain.end_tokens.is_empty());
    for (field, value) in [
        ("do_sample", json!("yes")),
        ("temperature", json!("warm")),
        ("temperature", json!(-1)),
        ("top_k", json!(0.5)),
        ("top_p", json!(2)),
        ("top_p", json!([1])),
        ("repetition_penalty", json!(0)),
        ("max_new_tokens", json!(0)),
        ("max_new_tokens", json!(-1)),
        ("eos_token_id", json!("</s>")),
        ("eos_token_id", json!(["</s>"])),
    ] {
        let mut file = json!({ "do_sample": true });
        file[field] = value.clone();
        assert_eq!(read(file).unwrap_err().field, field, "{value}");
    }
    // A wrong type is an error even where the field would not count.
    assert_eq!(
        read(json!({ "temperature": "warm" })).unwrap_err().field,
        "temperature"
    );
}

#[test]
fn generation_defaults_of_a_folder() {
    let config = convrec_policy::ModelConfig {
        end_tokens: vec![3],
        ..configs()[0].clone()
    };
    let folder = saved(
        &Policy::new(&config, 1, &device()).unwrap(),
        &SaveOptions::default(),
    );
    let read = || GenerationDefaults::load_folder(folder.path());
    let none = GenerationDefaults {
        sampling: Sampling::greedy(),
        end_tokens: vec![3],
        max_new_tokens: None,
    };
    assert_eq!(read().unwrap(), none);
    let path = folder.path().join("generation_config.json");
    fs::write(&path, r#"{ "eos_token_id": [4, 5] }"#).unwrap();
    assert_eq!(read().unwrap().end_tokens, [4, 5]);
    fs::write(&path, r#"{ "top_k": "all" }"#).unwrap();
    let error = read().unwrap_err().to_string();
    assert!(
        error.contains("generation_config.json: field `top_k`"),
        "{error}"
    );
}
