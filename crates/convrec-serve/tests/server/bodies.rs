//! Bodies that are nearly right: each is answered, or refused as the client's mistake.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::common::*;

/// A request of each endpoint with every field that there is.
fn seeds() -> Vec<(&'static str, Value)> {
    let messages = json!([
        { "role": "system", "content": "x" },
        { "role": "user", "content": [{ "type": "text", "text": "I loved Heat (1995)" }] },
    ]);
    vec![
        (
            "/v1/chat/completions",
            json!({
                "model": "policy", "messages": messages, "seen": [1], "exclude": ["Her (2013)"],
                "only": { "genres": ["horror"], "items": [0] }, "quotas": [{ "genre": "crime", "at_most": 1 }],
                "n_items": 1, "n": 2, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": -1,
                "max_tokens": 20, "stop": ["x"], "stream": false, "stream_options": { "include_usage": true },
                "logprobs": true, "top_logprobs": 2, "frequency_penalty": 0, "logit_bias": {},
                "response_format": { "type": "json_object" }, "tool_choice": "auto", "user": "x",
            }),
        ),
        (
            "/v1/completions",
            json!({
                "prompt": [[5, 6], [7]], "n": 2, "best_of": 2, "seen": [1, "Heat (1995)"], "max_tokens": 9, "seed": 3,
                "temperature": 0.5, "logprobs": 2, "stop_token_ids": [5, 9], "return_token_ids": true, "stop": "a",
                "return_tokens_as_token_ids": true, "echo": false, "suffix": null, "stream": false,
            }),
        ),
        (
            "/v1/recommend",
            json!({
                "messages": [{ "role": "user", "content": "hm" }], "n": 2, "alternatives": 2, "seed": 1,
                "quotas": [{ "items": [2], "at_least": 1 }], "temperature": 1.0, "exclude": [], "stream": true,
            }),
        ),
    ]
}

/// Another value, or none, somewhere in a body.
fn change(value: &mut Value, random: &mut ChaCha8Rng) {
    match value {
        Value::Object(fields) if !fields.is_empty() && random.random_bool(0.9) => {
            let place = random.random_range(0..fields.len());
            let key = fields.keys().nth(place).unwrap().clone();
            if random.random_bool(0.1) {
                fields.remove(&key);
            } else {
                change(&mut fields[&key], random);
            }
        }
        Value::Array(values) if !values.is_empty() && random.random_bool(0.8) => {
            let place = random.random_range(0..values.len());
            change(&mut values[place], random);
        }
        value => {
            let others = [
                json!(null),
                json!(true),
                json!(-1),
                json!(0),
                json!(1),
                json!(3),
                json!(1e300),
                json!(u64::MAX),
                json!(0.5),
                json!(""),
                json!("\u{0}"),
                json!("Heat"),
                json!([]),
                json!({}),
                json!([[]]),
                json!([0, 0]),
                json!({ "type": "text" }),
                json!("horror"),
                json!(["Heat (1995)", 4]),
                json!("a".repeat(5000)),
            ];
            *value = others[random.random_range(0..others.len())].clone();
        }
    }
}

#[test]
fn bodies_that_are_nearly_right_do_no_harm() {
    let limits = convrec_serve::Limits {
        completions: 64,
        ..Default::default()
    };
    let serving = start_with(3, Some(catalog()), config().limits(limits));
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut answered = [0, 0];
    for (path, seed) in seeds() {
        assert_eq!(post(&serving, path, &seed).status, 200, "{path}");
        for _ in 0..150 {
            let mut body = seed.clone();
            for _ in 0..random.random_range(1..3) {
                change(&mut body, &mut random);
            }
            let answer = post(&serving, path, &body);
            assert!(
                [200, 400, 404].contains(&answer.status),
                "{path} {body}: {} {}",
                answer.status,
                answer.body
            );
            answered[usize::from(answer.status == 200)] += 1;
            if answer.status != 200 {
                assert!(!answer.message().is_empty(), "{body}: {}", answer.body);
            }
        }
    }
    assert!(answered.iter().all(|n| *n > 30), "{answered:?}");
    assert!(is_well(&serving));
    serving.stop().unwrap();
}

/// Bytes that are no JSON any more, by the thousand.
#[test]
fn broken_bytes_are_read_or_refused() {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    for (_, seed) in seeds() {
        let seed = seed.to_string().into_bytes();
        for _ in 0..3000 {
            let mut bytes = seed.clone();
            for _ in 0..random.random_range(1..5) {
                let place = random.random_range(0..bytes.len());
                match random.random_range(0..4) {
                    0 => bytes[place] = random.random(),
                    1 => bytes.truncate(place.max(1)),
                    2 => {
                        bytes.remove(place);
                    }
                    _ => bytes.insert(place, b"[]{}\",:0-"[random.random_range(0..9)]),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            convrec_serve::read_bodies(&bytes);
        }
    }
}
