//! Several lists for one conversation.

use std::collections::HashSet;

use convrec_serve::Serving;
use serde_json::{Value, json};

use crate::common::*;

fn asked(more: &Value) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": "Something good?" }] });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// The names of each list, with its log-probability.
fn lists(serving: &Serving, more: &Value) -> Vec<(Vec<String>, f64)> {
    let answer = post(serving, "/v1/recommend", &asked(more));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let lists = answer["lists"].as_array().unwrap();
    assert_eq!(answer["items"], lists[0]["items"]);
    let one = |list: &Value| {
        let items = list["items"].as_array().unwrap();
        let scores = items
            .iter()
            .map(|item| item["score"].as_f64().unwrap().ln());
        let log_prob = list["log_prob"].as_f64().unwrap();
        // The end of a list may have a probability of its own; here lists end by themselves.
        assert!((scores.sum::<f64>() - log_prob).abs() < 1e-4, "{list}");
        let names = items
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_string());
        (names.collect(), log_prob)
    };
    lists.iter().map(one).collect()
}

fn names(lists: &[(Vec<String>, f64)]) -> Vec<&[String]> {
    lists.iter().map(|(names, _)| &names[..]).collect()
}

/// There are 5 * 4 lists of two films out of five.
#[test]
fn a_wide_beam_search_finds_all_lists_in_their_order() {
    let serving = start(1, Some(catalog()));
    let all = lists(
        &serving,
        &json!({ "num_beams": 40, "num_return_sequences": 40 }),
    );
    assert_eq!(all.len(), 20);
    assert!(all.windows(2).all(|two| two[0].1 >= two[1].1));
    let mass: f64 = all.iter().map(|(_, log_prob)| log_prob.exp()).sum();
    assert!((mass - 1.0).abs() < 1e-4, "{mass}");
    let different: HashSet<&[String]> = names(&all).into_iter().collect();
    assert_eq!(different.len(), 20);
    // One list is the best of them, and one beam is the most likely list item by item.
    let best = lists(&serving, &json!({ "num_beams": 40 }));
    assert_eq!(names(&best), names(&all)[..1]);
    let greedy = post(&serving, "/v1/recommend", &asked(&json!({}))).json();
    let found = greedy["items"].as_array().unwrap().iter();
    let found: Vec<&str> = found.map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(lists(&serving, &json!({ "num_beams": 1 }))[0].0, found);
    // Constraints hold for all of them.
    let crime = json!({ "num_beams": 9, "num_return_sequences": 9, "exclude": ["Heat (1995)"],
        "quotas": [{ "genre": "Horror", "at_least": 1 }] });
    let horror = lists(&serving, &crime);
    assert_eq!(horror.len(), 9);
    for (names, _) in &horror {
        assert!(
            names.iter().any(|name| name.starts_with("Alien"))
                && !names.contains(&"Heat (1995)".into())
        );
    }
    serving.stop().unwrap();
}

#[test]
fn lists_are_drawn_without_replacement() {
    let serving = start(2, Some(catalog()));
    let draw = |lists: usize, seed: u64| json!({ "without_replacement": true, "num_return_sequences": lists, "seed": seed });
    let all = lists(&serving, &draw(20, 7));
    let different: HashSet<&[String]> = names(&all).into_iter().collect();
    assert_eq!(different.len(), 20);
    assert_eq!(names(&lists(&serving, &draw(3, 7))), names(&all)[..3]);
    let mut wide = draw(3, 7);
    wide["num_beams"] = 30.into();
    assert_eq!(names(&lists(&serving, &wide)), names(&all)[..3]);
    assert_ne!(names(&lists(&serving, &draw(20, 8))), names(&all));
    // Independent draws may repeat.
    let drawn = json!({ "temperature": 1.0, "num_return_sequences": 40, "seed": 1 });
    let drawn = lists(&serving, &drawn);
    assert_eq!(drawn.len(), 40);
    let different: HashSet<&[String]> = names(&drawn).into_iter().collect();
    assert!((2..=20).contains(&different.len()));
    serving.stop().unwrap();
}

#[test]
fn what_does_not_go_together_is_refused() {
    let serving = start(1, Some(catalog()));
    for (more, part) in [
        (
            json!({ "num_beams": 0 }),
            "field `num_beams`: 0; expected 1 to 64",
        ),
        (
            json!({ "num_beams": 65 }),
            "field `num_beams`: 65; expected 1 to 64",
        ),
        (json!({ "num_return_sequences": 2 }), "expected `num_beams`"),
        (
            json!({ "num_return_sequences": 3, "num_beams": 2 }),
            "expected at least 3",
        ),
        (
            json!({ "num_beams": 2, "temperature": 0.5 }),
            "field `temperature`",
        ),
        (
            json!({ "without_replacement": true, "temperature": 0 }),
            "field `temperature`",
        ),
        (
            json!({ "without_replacement": true, "top_p": 0.5 }),
            "expected a temperature alone",
        ),
        (json!({ "num_beams": 2, "stream": true }), "field `stream`"),
        (
            json!({ "num_beams": 2, "alternatives": 1 }),
            "field `alternatives`",
        ),
    ] {
        let answer = post(&serving, "/v1/recommend", &asked(&more));
        assert!(
            answer.status == 400 && answer.message().contains(part),
            "{more}: {} {}",
            answer.status,
            answer.body
        );
    }
    serving.stop().unwrap();
}
