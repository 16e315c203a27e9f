//! Properties of every model: rows in batches and alone, cut and blank texts, ids.

mod common;

use common::{assert_close, copy, edit, load, tiny};
use convrec_embed::SentenceEncoder;
use convrec_services::Embedder;
use ndarray::Axis;
use proptest::prelude::*;
use std::sync::LazyLock;

static BERT: LazyLock<SentenceEncoder> = LazyLock::new(|| load(&tiny("tiny-bert")).unwrap());
static ROBERTA: LazyLock<SentenceEncoder> =
    LazyLock::new(|| load(&tiny("tiny-xlm-roberta")).unwrap());

/// The tolerance for sums in another order, as the rows of a product have them.
const ROUNDING: f32 = 2e-6;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// A text's row does not depend on the other texts or on its place.
    #[test]
    fn company_changes_nothing(
        texts in prop::collection::vec(prop_oneof!["[a-z ]{0,60}", "\\PC{0,30}", Just(" \n".to_string())], 1..40),
        rotation in 0usize..40,
    ) {
        for encoder in [&*BERT, &*ROBERTA] {
            let together = encoder.encode(&texts).unwrap();
            for (text, row) in texts.iter().zip(together.outer_iter()) {
                let alone = encoder.encode(std::slice::from_ref(text)).unwrap();
                assert_close(&alone, &row.to_owned().insert_axis(Axis(0)), ROUNDING);
                prop_assert!((row.dot(&row) - 1.0).abs() < 1e-5);
            }
            let mut turned = texts.clone();
            turned.rotate_left(rotation % texts.len());
            let turned = encoder.encode(&turned).unwrap();
            let n = texts.len();
            let back: Vec<usize> = (0..n).map(|place| (place + n - rotation % n) % n).collect();
            assert_close(&turned.select(Axis(0), &back), &together, ROUNDING);
        }
    }
}

/// The texts have all lengths and more tokens than one batch.
#[test]
fn many_batches() {
    let texts: Vec<String> = (0..700)
        .map(|n| "film about alien ".repeat(1 + n * 7 % 6))
        .collect();
    let rows = BERT.encode(&texts).unwrap();
    for n in [0, 1, 350, 698, 699] {
        assert_close(
            &BERT.encode(&texts[n..=n]).unwrap(),
            &rows.slice(ndarray::s![n..=n, ..]).to_owned(),
            ROUNDING,
        );
    }
    assert_eq!(BERT.encode(&[]).unwrap().dim(), (0, 24));
}

#[test]
fn what_is_too_long_loses_its_end() {
    let rows = |texts: [&str; 2]| BERT.encode(&texts.map(String::from)).unwrap();
    // 18 tokens beside the special ones.
    let same = rows([
        &"film ".repeat(18),
        &("film ".repeat(18) + "about a robbery"),
    ]);
    assert_eq!(same.row(0), same.row(1));
    let other = rows([&"film ".repeat(17), &("film ".repeat(17) + "robbery")]);
    assert_ne!(other.row(0), other.row(1));
    let long = "a".repeat(1_000_000) + &" film".repeat(100_000);
    assert!(BERT.encode(&[long]).unwrap().iter().all(|x| x.is_finite()));
}

#[test]
fn limits_come_from_the_files() {
    let folder = copy("tiny-bert");
    let limit = || load(folder.path()).unwrap().max_tokens();
    edit(folder.path(), "sentence_bert_config.json", "20", "3000");
    assert_eq!(limit(), 32); // the positions
    edit(
        folder.path(),
        "sentence_bert_config.json",
        "\"max_seq_length\": 3000,",
        "",
    );
    edit(folder.path(), "tokenizer_config.json", "64", "17");
    assert_eq!(limit(), 17);
    edit(
        folder.path(),
        "tokenizer_config.json",
        "17",
        "1000000000000000019884624838656",
    );
    assert_eq!(limit(), 32);
}

#[test]
fn ids_tell_models_apart() {
    let id = |folder: &tempfile::TempDir| load(folder.path()).unwrap().id();
    let folder = copy("tiny-bert");
    let first = id(&folder);
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    assert!(
        first.starts_with(name) && first.len() == name.len() + 65,
        "{first}"
    );
    assert_eq!(first, id(&folder));
    let mut ids = vec![first];
    edit(folder.path(), "sentence_bert_config.json", "20", "21");
    ids.push(id(&folder));
    edit(
        folder.path(),
        "tokenizer.json",
        "\"lowercase\": true",
        "\"lowercase\": false",
    );
    ids.push(id(&folder));
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
    ids.push(id(&folder));
    ids.push(load(folder.path()).unwrap().with_prompt("query: ").id());
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5, "{ids:?}");
}

#[test]
fn lower_case_where_the_model_wants_it() {
    let folder = copy("tiny-bert");
    edit(
        folder.path(),
        "tokenizer.json",
        "\"lowercase\": true",
        "\"lowercase\": false",
    );
    let rows = || {
        load(folder.path())
            .unwrap()
            .encode(&["FILM".to_string(), "film".to_string()])
            .unwrap()
    };
    assert_ne!(rows().row(0), rows().row(1));
    edit(
        folder.path(),
        "sentence_bert_config.json",
        "\"do_lower_case\": false",
        "\"do_lower_case\": true",
    );
    assert_close(
        &rows().slice(ndarray::s![0..1, ..]).to_owned(),
        &rows().slice(ndarray::s![1..2, ..]).to_owned(),
        ROUNDING,
    );
}

#[test]
fn an_embedder() {
    let embedder: &dyn Embedder = &*BERT;
    let texts = ["film", " \t", "alien", ""].map(String::from);
    let (rows, all) = (
        embedder.embed(&texts).unwrap(),
        BERT.encode(&texts).unwrap(),
    );
    for (n, blank) in [false, true, false, true].into_iter().enumerate() {
        assert!(
            if blank {
                rows.row(n).iter().all(|x| *x == 0.0)
            } else {
                rows.row(n) == all.row(n)
            },
            "{n}"
        );
    }
}
