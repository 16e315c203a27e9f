//! Weights held in fewer bits.

use convrec_policy::SaveOptions;
use convrec_serve::{PackedType, Serving};
use serde_json::json;

use crate::common::*;

/// The most likely list: each item's name with its probability.
fn list(serving: &Serving) -> Vec<(String, f64)> {
    let asked = json!({ "messages": [{ "role": "user", "content": "A film with robbers." }] });
    let answer = post(serving, "/v1/recommend", &asked);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let items = answer.json()["items"].as_array().unwrap().clone();
    let item = |item: &serde_json::Value| {
        let name = item["name"].as_str().unwrap().to_string();
        (name, item["score"].as_f64().unwrap())
    };
    items.iter().map(item).collect()
}

/// The probability of the first item is near that of whole weights, and not the same; lists stay in
/// the catalog; and weights that are loaded later are packed as well.
#[test]
fn packed_weights_say_nearly_the_same() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("two");
    policy(2)
        .save_folder(&folder, &SaveOptions::default())
        .unwrap();
    let served = |kind| {
        let config = config().weights(root.path()).weights_dtype(kind);
        let serving = start_with(1, Some(catalog()), config);
        let first = list(&serving);
        let answer = operate(&serving, "/admin/reload", &json!({ "path": folder }));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let lists = [first, list(&serving)];
        serving.stop().unwrap();
        lists
    };
    let whole = served(None);
    for (kind, near) in [(PackedType::Bf16, 0.02), (PackedType::Int8, 0.05)] {
        for (found, expected) in served(Some(kind)).iter().zip(&whole) {
            let mut names: Vec<&String> = found.iter().map(|(name, _)| name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), expected.len(), "{kind:?}: {found:?}");
            let named = |name: &str| catalog().named(name).is_ok_and(|ids| !ids.is_empty());
            assert!(names.iter().all(|name| named(name)), "{kind:?}: {found:?}");
            let difference = (found[0].1 - expected[0].1).abs();
            assert!(
                0.0 < difference && difference < near,
                "{kind:?}: {found:?} beside {expected:?}"
            );
        }
    }
}
