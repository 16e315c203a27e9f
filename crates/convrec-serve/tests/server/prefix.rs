//! Prompts that begin alike.

use convrec_policy::SaveOptions;
use convrec_serve::EngineLimits;
use serde_json::{Value, json};

use crate::common::*;

/// Requests whose prompt was known in part, and the tokens that were not computed again.
fn used(serving: &convrec_serve::Serving) -> [u64; 4] {
    let text = get(serving, "/metrics").body;
    [
        "hits_total",
        "misses_total",
        "reused_tokens_total",
        "tokens",
    ]
    .map(|name| {
        let name = format!("convrec_prefix_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{name} in {text}"))
            .parse()
            .unwrap()
    })
}

/// The items of a list, and the probability of each.
fn list(serving: &convrec_serve::Serving, said: &[&str]) -> Vec<(Value, f64)> {
    let turns: Vec<Value> = said
        .iter()
        .enumerate()
        .map(|(n, text)| {
            let role = ["user", "assistant"][n % 2];
            json!({ "role": role, "content": text })
        })
        .collect();
    let answer = post(serving, "/v1/recommend", &json!({ "messages": turns }));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let items = answer.json()["items"].as_array().unwrap().clone();
    let of = |item: &Value| (item["name"].clone(), item["score"].as_f64().unwrap());
    items.iter().map(of).collect()
}

fn assert_alike(found: &[(Value, f64)], expected: &[(Value, f64)]) {
    assert_eq!(found.len(), expected.len());
    for ((name, score), (other, expected)) in found.iter().zip(expected) {
        assert!(name == other && (score - expected).abs() < 1e-4);
    }
}

/// Short, as the small model's prompts hold 64 tokens of a conversation, and a letter is a token.
const SAID: [&str; 3] = ["A film with robbers, please.", "Old?", "Yes, and long."];

/// A conversation is read on from its earlier turns, with the same lists. New weights know nothing
/// of what the old ones have read.
#[test]
fn earlier_turns_are_read_once_for_each_weights() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("two");
    policy(2)
        .save_folder(&folder, &SaveOptions::default())
        .unwrap();
    let serving = start_below(1, root.path(), Some(catalog()));
    let without = |seed| {
        let limits = EngineLimits {
            prefix: 0,
            ..EngineLimits::default()
        };
        start_with(seed, Some(catalog()), config().engine(limits))
    };
    let alone = [without(1), without(2)];
    assert_eq!(used(&serving), [0; 4]);
    assert_alike(&list(&serving, &SAID[..1]), &list(&alone[0], &SAID[..1]));
    let [hits, misses, reused, kept] = used(&serving);
    assert_eq!([hits, misses, reused], [0, 1, 0]);
    assert_alike(&list(&serving, &SAID), &list(&alone[0], &SAID));
    let [hits, misses, reused, longer] = used(&serving);
    assert_eq!([hits, misses], [1, 1]);
    assert!(reused > 28 && reused <= kept && longer > kept);
    let answer = operate(&serving, "/admin/reload", &json!({ "path": folder }));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_alike(&list(&serving, &SAID), &list(&alone[1], &SAID));
    assert_eq!(used(&serving)[..3], [1, 2, reused]);
    assert_alike(&list(&serving, &SAID), &list(&alone[1], &SAID));
    assert_eq!(used(&serving)[..2], [2, 2]);
    assert_eq!(used(&alone[1]), [0, 2, 0, 0]);
    for server in alone.into_iter().chain([serving]) {
        server.stop().unwrap();
    }
}
