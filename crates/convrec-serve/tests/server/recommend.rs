//! Items under constraints.

use serde_json::{Value, json};

use crate::common::*;

const AT: &str = "/v1/recommend";

fn ask_with(serving: &convrec_serve::Serving, more: Value) -> Answer {
    let mut body = json!({ "messages": [{ "role": "user", "content": "Something good?" }] });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    post(serving, AT, &body)
}

fn names(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let items = answer.json()["items"].as_array().unwrap().clone();
    items
        .iter()
        .map(|item| item["title"].as_str().unwrap().to_string())
        .collect()
}

/// With every seed: nothing but what is allowed comes.
#[test]
fn constraints_hold_at_every_temperature() {
    let serving = start(3, Some(catalog()));
    for seed in 0..30 {
        let draw = |more: Value| {
            let mut more = more;
            more["temperature"] = 2.0.into();
            more["seed"] = seed.into();
            names(&ask_with(&serving, more))
        };
        let free = draw(json!({}));
        assert!(free.len() == 2 && free[0] != free[1]);
        let excluded = draw(json!({ "exclude": ["Heat (1995)", 2], "seen": [1] }));
        assert!(
            excluded
                .iter()
                .all(|name| ["Alien 3", "Her"].contains(&name.as_str())),
            "{excluded:?}"
        );
        let mut only = draw(json!({ "only": ["Her (2013)", 0] }));
        only.sort();
        assert_eq!(only, ["Heat", "Her"]);
        let mut only = draw(json!({ "only": { "genres": ["horror"] } }));
        only.sort();
        assert_eq!(only, ["Alien", "Alien 3"]);
        // Fewer candidates than ranks make a shorter list.
        assert_eq!(draw(json!({ "only": [4] })), ["Her"]);
        assert_eq!(draw(json!({ "n": 1 })).len(), 1);
        let horror = |names: &[String]| {
            names
                .iter()
                .filter(|name| name.starts_with("Alien"))
                .count()
        };
        let none = draw(json!({ "quotas": [{ "genre": "Horror", "at_most": 0 }] }));
        assert_eq!(horror(&none), 0);
        let one = draw(json!({ "quotas": [{ "genre": "Horror", "at_most": 1, "at_least": 1 }] }));
        assert_eq!(horror(&one), 1);
        let all = draw(json!({ "quotas": [{ "genre": "Horror", "at_least": 2 }] }));
        assert_eq!(horror(&all), 2);
        let both = draw(
            json!({ "quotas": [{ "items": [4], "at_least": 1 }, { "genre": "Crime", "at_least": 1 }] }),
        );
        assert!(both.contains(&"Her".to_string()) && both.contains(&"Heat".to_string()));
    }
    serving.stop().unwrap();
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let serving = start(3, Some(catalog()));
    for (more, part) in [
        (
            json!({ "only": ["Hear (2013)"] }),
            "the nearest items are \"Her (2013)\"",
        ),
        (
            json!({ "only": [0], "seen": [0] }),
            "field `only`: none of the 1 candidates",
        ),
        (
            json!({ "only": { "genres": ["western"] } }),
            "`western` is no genre; expected one of horror",
        ),
        (json!({ "exclude": [0, 1, 2, 3] }), "leaves 1 items"),
        (
            json!({ "exclude": [0, 1, 2, 3], "n": 2 }),
            "field `n`: 2; expected at most 1",
        ),
        (json!({ "n": 0 }), "field `n`: 0; expected 1 to 2"),
        (json!({ "n": -1 }), "expected a whole number from 0 on"),
        (json!({ "messages": [["user", "hi"]] }), "messages[0]"),
        (
            json!({ "quotas": [[[], "Horror", 1, null]] }),
            "expected an object",
        ),
        (
            json!({ "quotas": vec![json!({ "genre": "Horror", "at_most": 1 }); 33] }),
            "33 quotas; expected at most 32",
        ),
        (
            json!({ "quotas": [{ "genre": "Horror", "at_least": 1 }, { "items": [3, 2, 0], "at_most": 0 }] }),
            "2 of the 2 that are left are in another quota",
        ),
        (json!({ "n": 3 }), "3; expected 1 to 2"),
        (
            json!({ "quotas": [{ "genre": "Horror", "at_least": 3 }] }),
            "field `quotas[0]`: at least 3 of 2",
        ),
        (
            json!({ "quotas": [{ "genre": "Horror" }] }),
            "`at_most` or `at_least`",
        ),
        (
            json!({ "quotas": [{ "genre": "Crime", "at_least": 1 }, { "items": [1], "at_least": 1 }, { "items": [2], "at_least": 1 }] }),
            "at least 3 items in all",
        ),
        (
            json!({ "quotas": [{ "items": [0, 1, 2, 3], "at_most": 1 }] }),
            "1 items are in none that is limited",
        ),
        (json!({ "alternatives": 11 }), "at most 10"),
        (json!({ "temprature": 1 }), "temprature"),
    ] {
        let answer = ask_with(&serving, more.clone());
        assert!(
            answer.status == 400 && answer.message().contains(part),
            "{more}: {}",
            answer.body
        );
    }
    serving.stop().unwrap();
}

/// What is left need not be as much as the model writes, only as much as is asked for; two quotas
/// of the same items are one.
#[test]
fn short_lists_of_what_is_left() {
    let serving = start(3, Some(catalog()));
    let left = json!({ "seen": [0, 1, 2, 3], "n": 1 });
    assert_eq!(names(&ask_with(&serving, left)), ["Her"]);
    let left = json!({ "seen": [0, 1, 2], "only": [2, 3] });
    assert_eq!(names(&ask_with(&serving, left)).len(), 1);
    let both = json!({ "quotas": [{ "genre": "Horror", "at_least": 1 }, { "genre": "Horror", "at_most": 1 }] });
    let horror = names(&ask_with(&serving, both));
    let horror = horror.iter().filter(|name| name.starts_with("Alien"));
    assert_eq!(horror.count(), 1);
    let list = post_bytes(
        &serving,
        AT,
        b"[null, [{\"role\": \"user\", \"content\": \"hi\"}]]",
    );
    assert!(
        list.status == 400 && list.message().contains("expected an object"),
        "{}",
        list.body
    );
    serving.stop().unwrap();
}

/// At each rank the item and the others share what the model gives; together they are all.
#[test]
fn alternatives_are_the_items_that_could_have_been() {
    let serving = start(3, Some(catalog()));
    let answer = ask_with(&serving, json!({ "alternatives": 10 })).json();
    let items = answer["items"].as_array().unwrap();
    let id = |item: &Value| item["id"].as_u64().unwrap();
    for item in items {
        let others = item["alternatives"].as_array().unwrap();
        assert!(!others.is_empty());
        let mut ids: Vec<u64> = others.iter().map(id).chain([id(item)]).collect();
        ids.sort_unstable();
        let before = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), before, "{item}");
        let scores: Vec<f64> = others
            .iter()
            .map(|other| other["score"].as_f64().unwrap())
            .collect();
        assert!(scores.windows(2).all(|two| two[0] >= two[1]));
        let sum = scores.iter().sum::<f64>() + item["score"].as_f64().unwrap();
        assert!(sum <= 1.0 + 1e-3, "{sum}");
    }
    // The probability of an alternative is that of the list that begins with it.
    let other = &items[0]["alternatives"][0];
    let forced = ask_with(&serving, json!({ "exclude": [items[0]["id"]] })).json();
    assert!(
        forced["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|item| item["id"] != items[0]["id"])
    );
    assert!(other["score"].as_f64().unwrap() < items[0]["score"].as_f64().unwrap());
    serving.stop().unwrap();
}

#[test]
fn a_stream_tells_items_and_then_alternatives() {
    let serving = start(3, Some(catalog()));
    let whole = ask_with(&serving, json!({ "alternatives": 2, "seen": [4] })).json();
    let answer = ask_with(
        &serving,
        json!({ "alternatives": 2, "seen": [4], "stream": true }),
    );
    let names: Vec<&str> = answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(names, ["about", "item", "item", "alternatives", "done"]);
    let events = answer.events();
    assert_eq!(
        events[0]["seen"],
        json!([{ "id": 4, "name": "Her (2013)" }])
    );
    for (event, item) in events[1..3].iter().zip(whole["items"].as_array().unwrap()) {
        assert_eq!((&event["id"], &event["rank"]), (&item["id"], &item["rank"]));
    }
    let place = |value: &Value| {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|o| o["id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        place(&events[3]["ranks"][1]),
        place(&whole["items"][1]["alternatives"])
    );
    serving.stop().unwrap();
}

#[test]
fn the_catalog_is_searched() {
    let serving = start(3, Some(catalog()));
    let found = |q: &str| -> Vec<String> {
        let answer = get(&serving, &format!("/v1/items?q={q}")).json();
        let items = answer["data"].as_array().unwrap().clone();
        items
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_string())
            .collect()
    };
    assert_eq!(found("ali"), ["Alien (1979)", "Alien 3 (1992)"]);
    assert_eq!(found("AT"), ["Heat (1995)"]);
    assert_eq!(found("hera")[0], "Her (2013)");
    assert_eq!(found("").len(), 5);
    let genres = get(&serving, "/v1/items?limit=1").json()["genres"].clone();
    assert_eq!(genres[0], json!({ "name": "horror", "items": 2 }));
    for path in [
        "/v1/items?limit=0",
        "/v1/items?limit=x",
        "/v1/items?limit=9&x=1",
    ] {
        assert_eq!(get(&serving, path).status, 400, "{path}");
    }
    serving.stop().unwrap();
}
