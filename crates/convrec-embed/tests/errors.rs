//! Errors about a folder name the file, the field or the tensor.

mod common;

use std::fs;
use std::path::Path;

use common::{copy, edit, load};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

#[track_caller]
fn assert_refused(folder: &Path, parts: &[&str]) {
    let error = load(folder).unwrap_err().to_string();
    assert!(
        parts.iter().all(|part| error.contains(part)),
        "{error}; expected {parts:?}"
    );
}

/// The error of loading a model after one edit of one file.
#[track_caller]
fn assert_edit_refused(file: &str, from: &str, to: &str, parts: &[&str]) {
    let folder = copy("tiny-bert");
    edit(folder.path(), file, from, to);
    assert_refused(folder.path(), parts);
}

#[test]
fn fields() {
    let config = "config.json";
    for (from, to, parts) in [
        (
            "\"bert\"",
            "\"mpnet\"",
            &["config.json, field `model_type`: \"mpnet\" is not supported; expected one of bert"]
                [..],
        ),
        (
            "\"hidden_size\": 24",
            "\"hidden_size\": \"24\"",
            &["config.json, field `hidden_size`: invalid type: string"],
        ),
        (
            "\"hidden_size\": 24,",
            "",
            &["config.json: missing field `hidden_size`"],
        ),
        (
            "\"num_attention_heads\": 3",
            "\"num_attention_heads\": 5",
            &["field `num_attention_heads`: 5 does not divide"],
        ),
        (
            "\"num_attention_heads\": 3",
            "\"num_attention_heads\": 0",
            &["field `num_attention_heads`: too small"],
        ),
        ("\"gelu\"", "\"relu\"", &["field `hidden_act`: \"relu\""]),
        (
            "\"gelu\"",
            "\"gelu\", \"position_embedding_type\": \"relative_key\"",
            &["field `position_embedding_type`"],
        ),
        (
            "\"gelu\"",
            "\"gelu\", \"is_decoder\": true",
            &["field `is_decoder`"],
        ),
        ("1e-12", "0", &["field `layer_norm_eps`: 0"]),
        (
            "\"num_hidden_layers\": 2",
            "\"num_hidden_layers\": 1",
            &["tensor `bert.encoder.layer.1.", "config.json has 1 layers"],
        ),
        (
            "\"num_hidden_layers\": 2",
            "\"num_hidden_layers\": 3",
            &["tensor `bert.encoder.layer.2.attention.self.query.weight`: missing"],
        ),
        (
            "\"intermediate_size\": 40",
            "\"intermediate_size\": 41",
            &[
                "model.safetensors: tensor `bert.encoder.layer.0.intermediate.dense.weight`: \
                 shape [40, 24], expected [41, 24]",
            ],
        ),
    ] {
        assert_edit_refused(config, from, to, parts);
    }
    assert_edit_refused(
        "1_Pooling/config.json",
        "mean_tokens\": false",
        "mean_tokens\": true",
        &[
            "pooling_mode_cls_token",
            "pooling_mode_mean_tokens",
            "one alone",
        ],
    );
    assert_edit_refused(
        "1_Pooling/config.json",
        "cls_token\": true",
        "lasttoken\": true",
        &["pooling_mode_lasttoken"],
    );
    assert_edit_refused(
        "1_Pooling/config.json",
        "{",
        "{\"include_prompt\": false,",
        &["field `include_prompt`"],
    );
    assert_edit_refused(
        "1_Pooling/config.json",
        "{",
        "{\"pooling_mode\": \"lasttoken\",",
        &["field `pooling_mode`: \"lasttoken\""],
    );
    assert_edit_refused(
        "modules.json",
        "models.Pooling",
        "models.Dense",
        &["modules.json, field `[1].type`: \"sentence_transformers.models.Dense\""],
    );
    assert_edit_refused(
        "modules.json",
        "1_Pooling",
        "../1_Pooling",
        &["modules.json, field `[1].path`", "leads out"],
    );
    assert_edit_refused("modules.json", "[", "", &["modules.json: "]);
    assert_edit_refused(
        "sentence_bert_config.json",
        "20",
        "2",
        &["at most 2 tokens a text, of which 2 are special"],
    );
    assert_edit_refused(
        "sentence_bert_config.json",
        "20",
        "-1",
        &["sentence_bert_config.json, field `max_seq_length`"],
    );
    assert_edit_refused(
        "tokenizer.json",
        "{",
        "[",
        &["tokenizer.json: no tokenizer"],
    );
    let folder = copy("tiny-bert");
    fs::write(
        folder.path().join("config_sentence_transformers.json"),
        r#"{"default_prompt_name": "query"}"#,
    )
    .unwrap();
    assert_refused(
        folder.path(),
        &[
            "config_sentence_transformers.json, field `default_prompt_name`: no prompt has the \
             name \"query\"",
        ],
    );
}

#[test]
fn files_that_are_not_there() {
    let missing = |file: &str, parts: &[&str]| {
        let folder = copy("tiny-bert");
        fs::remove_file(folder.path().join(file)).unwrap();
        assert_refused(folder.path(), parts);
        folder
    };
    missing("config.json", &["cannot read", "config.json"]);
    missing("model.safetensors", &["model.safetensors: not there"]);
    missing("1_Pooling/config.json", &["cannot read", "1_Pooling"]);
    let folder = missing_tokenizer();
    edit(folder.path(), "vocab.txt", "[SEP]", "[SAP]");
    assert_refused(folder.path(), &["vocab.txt: no line `[SEP]`"]);
    let folder = missing_tokenizer();
    fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    assert_refused(folder.path(), &["cannot read", "tokenizer_config.json"]);
    let folder = missing_tokenizer();
    edit(
        folder.path(),
        "vocab.txt",
        "[MASK]",
        "[MASK]\nmore\nand\nmore\nstill",
    );
    assert_refused(folder.path(), &["vocab.txt: ", "it is another model's"]);
    fs::remove_file(folder.path().join("vocab.txt")).unwrap();
    assert_refused(folder.path(), &["neither tokenizer.json nor vocab.txt"]);
    let folder = copy("tiny-bert");
    assert_refused(&folder.path().join("nowhere"), &["cannot read", "nowhere"]);
}

fn missing_tokenizer() -> tempfile::TempDir {
    let folder = copy("tiny-bert");
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    folder
}

#[test]
fn damaged_weights() {
    let folder = copy("tiny-bert");
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for length in [0, 7, 100, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        assert_refused(folder.path(), &["model.safetensors: ", "fetch it again"]);
    }
    let rewrite = |change: &dyn Fn(&str, &mut Dtype, &mut Vec<u8>) -> bool| {
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors = vec![];
        for (name, view) in file.tensors() {
            let (mut dtype, mut data) = (view.dtype(), view.data().to_vec());
            if change(&name, &mut dtype, &mut data) {
                tensors.push((name, dtype, view.shape().to_vec(), data));
            }
        }
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    };
    let last = "bert.encoder.layer.1.output.LayerNorm.bias";
    rewrite(&|name, _, _| name != last);
    assert_refused(
        folder.path(),
        &[
            "model.safetensors: tensor `bert.encoder.layer.1.output.LayerNorm.bias`: missing; \
             expected shape [24]",
        ],
    );
    rewrite(&|name, dtype, _| {
        *dtype = if name == last { Dtype::I32 } else { *dtype };
        true
    });
    assert_refused(
        folder.path(),
        &[last, "type I32, expected F32, F16 or BF16"],
    );
    rewrite(&|name, _, _| !name.contains("word_embeddings"));
    assert_refused(
        folder.path(),
        &["tensor `embeddings.word_embeddings.weight`: missing"],
    );
    for (value, shown) in [
        (f32::NAN, "NaN at place 0"),
        (f32::INFINITY, "inf at place 0"),
    ] {
        rewrite(&|name, _, data| {
            if name == last {
                data[..4].copy_from_slice(&value.to_le_bytes());
            }
            true
        });
        assert_refused(folder.path(), &[last, shown, "expected finite numbers"]);
    }
}

/// The names of the first BERT checkpoints, and no names before them.
#[test]
fn other_names() {
    let folder = copy("tiny-bert");
    let path = folder.path().join("model.safetensors");
    let texts = ["film".to_string()];
    let expected = load(folder.path()).unwrap().encode(&texts).unwrap();
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let rename = |name: &str| {
        let name = name.trim_start_matches("bert.");
        name.replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta")
    };
    let tensors = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (rename(&name), view));
    fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
    assert_eq!(
        load(folder.path()).unwrap().encode(&texts).unwrap(),
        expected
    );
}
