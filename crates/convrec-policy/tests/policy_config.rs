//! `config.json`, read and written.

mod common;

use common::{configs, families};
use convrec_policy::{Family, Llama3Scaling, ModelConfig, Policy};
use convrec_testdata::{golden, golden_path};
use serde_json::{Value, json};

fn text(path: &str) -> String {
    std::fs::read_to_string(golden_path(path)).unwrap()
}

fn read(value: &Value) -> Result<ModelConfig, convrec_policy::ConfigError> {
    ModelConfig::from_hugging_face(&value.to_string())
}

/// A published-looking file of each family.
fn file(model_type: &str) -> Value {
    json!({
        "model_type": model_type, "vocab_size": 100, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "rms_norm_eps": 1e-5, "hidden_act": "silu", "attention_dropout": 0.0,
    })
}

#[test]
fn new_and_old_field_names_say_the_same() {
    for model in golden("models/index.json")["models"].as_array().unwrap() {
        let name = model["name"].as_str().unwrap();
        let new =
            ModelConfig::from_hugging_face(&text(&format!("models/{name}/config.json"))).unwrap();
        let old =
            ModelConfig::from_hugging_face(&text(&format!("models/{name}/config_legacy.json")))
                .unwrap();
        assert_eq!(new, old, "{name}");
        assert_eq!(new.tie_word_embeddings, model["tied"].as_bool().unwrap());
        let parameters =
            burn::module::Module::num_params(&Policy::new(&new, 0, &common::device()).unwrap());
        assert_eq!(
            parameters as u64,
            model["parameters"].as_u64().unwrap(),
            "{name}"
        );
    }
}

#[test]
fn written_and_read_back() {
    for config in configs().into_iter().chain(families()) {
        for end_tokens in [vec![], vec![2], vec![2, 7]] {
            let config = ModelConfig {
                bos_token: end_tokens.first().copied(),
                pad_token: end_tokens.get(1).copied(),
                end_tokens,
                max_position_embeddings: 333,
                ..config.clone()
            };
            let text = config.to_hugging_face();
            assert_eq!(
                ModelConfig::from_hugging_face(&text).unwrap(),
                config,
                "{text}"
            );
            // The field is read as older programs read it.
            let mut old: Value = serde_json::from_str(&text).unwrap();
            old.as_object_mut()
                .unwrap()
                .remove("rope_parameters")
                .unwrap();
            assert_eq!(read(&old).unwrap(), config, "{text}");
        }
    }
}

#[test]
fn defaults_are_those_of_transformers() {
    let config = read(&file("llama")).unwrap();
    assert_eq!((config.head_dim, config.num_key_value_heads), (12, 4));
    assert_eq!((config.rope_theta, &config.rope_scaling), (10_000.0, &None));
    assert!(!config.tie_word_embeddings && config.end_tokens.is_empty());
    assert_eq!(read(&file("qwen2")).unwrap().family, Family::Qwen2);
    assert_eq!(read(&file("qwen3")).unwrap().head_dim, 128);
}

#[test]
fn rotary_parameters_of_every_age() {
    let scaling = json!({
        "factor": 8, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    });
    let expected = Llama3Scaling {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    for kind in ["rope_type", "type"] {
        for place in ["rope_scaling", "rope_parameters"] {
            let mut file = file("llama");
            (file["rope_theta"], file[place]) = (json!(500_000), scaling.clone());
            file[place][kind] = json!("llama3");
            let config = read(&file).unwrap();
            assert_eq!(
                (config.rope_theta, config.rope_scaling),
                (500_000.0, Some(expected.clone())),
                "{place}.{kind}"
            );
        }
    }
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let llama3 = json!({ "rope_type": "llama3", "factor": 8.0 });
    for (family, field, value, named) in [
        ("gpt2", "vocab_size", json!(100), "model_type"),
        ("llama", "model_type", Value::Null, "model_type"),
        ("llama", "hidden_act", json!("gelu"), "hidden_act"),
        ("gemma3", "vocab_size", json!(100), "model_type"),
        ("mistral", "hidden_act", json!("gelu"), "hidden_act"),
        ("gemma", "hidden_act", json!("silu"), "hidden_act"),
        (
            "llama",
            "final_logit_softcapping",
            json!(30.0),
            "final_logit_softcapping",
        ),
        (
            "llama",
            "use_bidirectional_attention",
            json!(true),
            "use_bidirectional_attention",
        ),
        (
            "llama",
            "rope_parameters",
            json!({ "full_attention": { "rope_theta": 1e6 }, "sliding_attention": {} }),
            "rope_parameters.full_attention",
        ),
        (
            "qwen2",
            "rope_scaling",
            json!({ "type": "default", "mrope_section": [2, 2, 2] }),
            "rope_scaling.mrope_section",
        ),
        (
            "phi3",
            "rope_scaling",
            json!({ "type": "longrope" }),
            "rope_scaling.type",
        ),
        (
            "phi3",
            "partial_rotary_factor",
            json!(0.01),
            "partial_rotary_factor",
        ),
        ("mistral", "sliding_window", json!(0), "sliding_window"),
        (
            "mistral",
            "layer_types",
            json!(["sliding_attention", "full_attention"]),
            "layer_types",
        ),
        (
            "qwen3",
            "layer_types",
            json!(["sliding_attention"]),
            "layer_types",
        ),
        ("smollm3", "no_rope_layers", json!([1]), "no_rope_layers"),
        ("llama", "hidden_size", json!(1u64 << 40), "hidden_size"),
        (
            "llama",
            "num_hidden_layers",
            json!(1_000_000_000),
            "num_hidden_layers",
        ),
        ("llama", "head_dim", json!(1u64 << 62), "hidden_size"),
        ("llama", "eos_token_id", json!(100), "eos_token_id"),
        ("llama", "eos_token_id", json!(-2), "eos_token_id"),
        (
            "llama",
            "rope_scaling",
            json!({ "type": "yarn", "factor": 4.0 }),
            "rope_scaling.type",
        ),
        (
            "llama",
            "rope_parameters",
            json!({ "rope_type": "linear" }),
            "rope_parameters.rope_type",
        ),
        (
            "llama",
            "rope_parameters",
            llama3,
            "rope_parameters.low_freq_factor",
        ),
        ("llama", "rope_parameters", json!(3), "rope_parameters"),
        (
            "llama",
            "partial_rotary_factor",
            json!(0.5),
            "partial_rotary_factor",
        ),
        (
            "qwen3",
            "layer_types",
            json!(["full_attention", "sliding_attention"]),
            "layer_types",
        ),
        ("llama", "hidden_size", json!("48"), "hidden_size"),
        ("llama", "hidden_size", json!(-1), "hidden_size"),
        ("llama", "vocab_size", Value::Null, "vocab_size"),
        ("llama", "vocab_size", json!(0), "vocab_size"),
        (
            "llama",
            "num_key_value_heads",
            json!(3),
            "num_key_value_heads",
        ),
        (
            "llama",
            "num_attention_heads",
            json!(5),
            "num_attention_heads",
        ),
        (
            "llama",
            "num_attention_heads",
            json!(0),
            "num_attention_heads",
        ),
        ("llama", "head_dim", json!(13), "head_dim"),
        ("llama", "rms_norm_eps", json!(0), "rms_norm_eps"),
        ("llama", "rope_theta", json!(0), "rope_theta"),
        (
            "llama",
            "tie_word_embeddings",
            json!("yes"),
            "tie_word_embeddings",
        ),
        ("llama", "eos_token_id", json!("</s>"), "eos_token_id"),
    ] {
        let mut file = file(family);
        if ["mistral", "smollm3"].contains(&family) {
            file["num_key_value_heads"] = json!(2); // their default is more than all heads
        }
        file[field] = value;
        let error = read(&file).unwrap_err();
        assert_eq!(error.field, named, "{error}");
        assert!(error.to_string().contains(named));
    }
    for text in ["", "[]", "{", "null"] {
        assert!(ModelConfig::from_hugging_face(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_sliding_window_counts_only_when_it_is_in_use() {
    let mut file = file("qwen2");
    (file["sliding_window"], file["use_sliding_window"]) = (json!(4096), json!(false));
    read(&file).unwrap();
    file["use_sliding_window"] = json!(true);
    // The window begins in block 28, which this model does not have.
    assert_eq!(read(&file).unwrap().sliding_window, None);
    file["max_window_layers"] = json!(2);
    assert_eq!(read(&file).unwrap().sliding_window, None);
    file["max_window_layers"] = json!(1);
    let window = read(&file).unwrap().sliding_window.unwrap();
    assert_eq!((window.tokens, window.layers), (4096, vec![1]));
    file["sliding_window"] = Value::Null;
    assert_eq!(read(&file).unwrap().sliding_window, None);
    file["model_type"] = json!("llama");
    file["sliding_window"] = json!(4096);
    assert_eq!(read(&file).unwrap_err().field, "use_sliding_window");
}

#[test]
fn what_is_not_supported_is_answered_by_what_is() {
    let error = read(&file("gpt2")).unwrap_err().to_string();
    for name in [
        "llama",
        "mistral",
        "qwen3",
        "smollm3",
        "olmo2",
        "gemma3_text",
        "phi3",
    ] {
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn an_id_of_minus_one_is_none() {
    let mut file = file("llama");
    for field in ["eos_token_id", "bos_token_id", "pad_token_id"] {
        file[field] = json!(-1);
    }
    let config = read(&file).unwrap();
    assert_eq!(
        (config.end_tokens, config.bos_token, config.pad_token),
        (vec![], None, None)
    );
}
