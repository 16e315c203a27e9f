//! Rows agree with those of transformers for the same weights: tiny random models and a published
//! one.

mod common;

use std::fs;

use common::{assert_close, assert_rows, copy, edit, json, load, texts, tiny};
use convrec_embed::Pooling;
use convrec_testdata::{golden, model_path};

/// The tolerance for unit rows; both sides are f32 in the end.
const TOLERANCE: f64 = 2e-6;

#[test]
fn bert() {
    let expected = json(&tiny("tiny-bert/expected.json"));
    let texts = texts(&expected["texts"]);
    let encoder = load(&tiny("tiny-bert")).unwrap();
    assert_eq!(
        (encoder.pooling(), encoder.max_tokens(), encoder.width()),
        (Pooling::Cls, 20, 24)
    );
    assert_rows(
        &encoder.encode(&texts).unwrap(),
        &expected["cls"],
        TOLERANCE,
    );

    for (flag, pooling) in [
        ("mean_tokens", "mean"),
        ("max_tokens", "max"),
        ("mean_sqrt_len_tokens", "mean"),
    ] {
        let folder = copy("tiny-bert");
        edit(
            folder.path(),
            "1_Pooling/config.json",
            "cls_token\": true",
            "cls_token\": false",
        );
        let flag = format!("\"pooling_mode_{flag}\": ");
        edit(
            folder.path(),
            "1_Pooling/config.json",
            &format!("{flag}false"),
            &format!("{flag}true"),
        );
        let rows = load(folder.path()).unwrap().encode(&texts).unwrap();
        assert_rows(&rows, &expected[pooling], TOLERANCE);
    }
    // A bare encoder has mean pooling.
    let folder = copy("tiny-bert");
    fs::remove_file(folder.path().join("modules.json")).unwrap();
    assert_rows(
        &load(folder.path()).unwrap().encode(&texts).unwrap(),
        &expected["mean"],
        TOLERANCE,
    );
}

#[test]
fn roberta_in_half_precision_with_prompts() {
    let expected = json(&tiny("tiny-xlm-roberta/expected.json"));
    let texts = texts(&expected["texts"]);
    let encoder = load(&tiny("tiny-xlm-roberta")).unwrap();
    assert_eq!(
        (encoder.pooling(), encoder.max_tokens(), encoder.prompt()),
        (Pooling::Mean, 32, "query: ")
    );
    assert_rows(
        &encoder.encode(&texts).unwrap(),
        &expected["query"],
        TOLERANCE,
    );
    let encoder = encoder.with_named_prompt("document").unwrap();
    assert_rows(
        &encoder.encode(&texts).unwrap(),
        &expected["document"],
        TOLERANCE,
    );
    let encoder = encoder.with_prompt("query: ");
    assert_rows(
        &encoder.encode(&texts).unwrap(),
        &expected["query"],
        TOLERANCE,
    );
    let error = encoder
        .with_named_prompt("passage")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no prompt \"passage\" among [\"document\", \"query\"]"),
        "{error}"
    );
}

#[test]
fn the_vocabulary_alone_makes_the_same_tokenizer() {
    let expected = json(&tiny("tiny-bert/expected.json"));
    let folder = copy("tiny-bert");
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let rows = load(folder.path())
        .unwrap()
        .encode(&texts(&expected["texts"]))
        .unwrap();
    assert_rows(&rows, &expected["cls"], TOLERANCE);
}

#[test]
fn all_minilm_l6_v2() {
    let Some(folder) = model_path("all-minilm-l6-v2") else {
        return;
    };
    let golden = &golden("real_models.json")["minilm"];
    let sentences = texts(&golden["sentences"]);
    let encoder = load(&folder).unwrap();
    assert_eq!(
        (encoder.pooling(), encoder.max_tokens(), encoder.width()),
        (Pooling::Mean, 256, 384)
    );
    let rows = encoder.encode(&sentences).unwrap();
    // The golden file states "1e-4 absolute".
    assert_rows(&rows, &golden["embeddings"], 1e-4);
    let cosines = rows.dot(&rows.t());
    assert_rows(&cosines, &golden["cosine"], 1e-4);

    // The model is loaded from its vocabulary without tokenizer.json, and encodes texts of all
    // kinds.
    let other = tempfile::tempdir().unwrap();
    for file in [
        "config.json",
        "sentence_bert_config.json",
        "tokenizer_config.json",
        "vocab.txt",
        "model.safetensors",
    ] {
        fs::copy(folder.join(file), other.path().join(file)).unwrap();
    }
    let mut texts = sentences;
    texts.extend(
        [
            "Amélie (2001) — 日本語, [MASK]ed",
            "ＦＵＬＬ width\u{ad}, İstanbul",
            "antidisestablishmentarianism's",
        ]
        .map(String::from),
    );
    let (rows, others) = (
        encoder.encode(&texts).unwrap(),
        load(other.path()).unwrap().encode(&texts).unwrap(),
    );
    assert_close(&rows, &others, 1e-6);
}
