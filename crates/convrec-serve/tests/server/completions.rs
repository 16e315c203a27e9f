//! Completions of prompts, as trainers ask for them.

use convrec_policy::{Completion, Generation, Sampling};
use convrec_train::Sample;
use serde_json::{Value, json};

use crate::common::*;

pub fn generation(n: usize, max_new_tokens: usize) -> Generation {
    let sampling = Sampling {
        temperature: 0.7,
        ..Sampling::default()
    };
    let end_token = language().end().unwrap();
    Generation {
        sampling,
        group_size: n,
        max_new_tokens,
        end_token,
        max_rows: 64,
        seed: 0,
    }
}

/// Prompts of several lengths.
pub fn prompts(n: u32) -> Vec<Vec<u32>> {
    (0..n)
        .map(|p| (0..=p % 7).map(|t| (31 * p + 7 * t) % 256).collect())
        .collect()
}

/// The completions of an answer, in order.
fn choices(body: &Value) -> Vec<(Vec<u32>, Vec<f32>)> {
    let numbers = |choice: &Value| {
        let log_probs = choice["logprobs"]["token_logprobs"].clone();
        (
            serde_json::from_value(choice["token_ids"].clone()).unwrap(),
            serde_json::from_value(log_probs).unwrap(),
        )
    };
    body["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(numbers)
        .collect()
}

fn numbers(groups: &[Vec<Completion>]) -> Vec<(Vec<u32>, Vec<f32>)> {
    groups
        .iter()
        .flatten()
        .map(|completion| (completion.tokens.clone(), completion.log_probs.clone()))
        .collect()
}

/// The same tokens, and log-probabilities alike to rounding, which depends on what is computed
/// together.
fn assert_alike(found: &[(Vec<u32>, Vec<f32>)], expected: &[(Vec<u32>, Vec<f32>)]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.0, expected.0);
        let mut pairs = found.1.iter().zip(&expected.1);
        assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

#[test]
fn over_http_the_policy_draws_what_it_draws_in_process() {
    let serving = start(1, None);
    let several = prompts(9);
    let end = language().end().unwrap();
    let body = json!({
        "model": "policy", "prompt": several, "n": 4, "seed": 99, "temperature": 0.7, "max_tokens": 20, "logprobs": 0,
        "return_token_ids": true, "stop_token_ids": [end],
    });
    let answer = post(&serving, "/v1/completions", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let tokens: Vec<&[u32]> = several.iter().map(Vec::as_slice).collect();
    let seeds: Vec<u64> = (99..99 + 9).collect();
    let expected = policy(1).generate_seeded(&tokens, &seeds, &generation(4, 20), None);
    assert_alike(&choices(&answer), &numbers(&expected));
    let lengths: usize = expected
        .iter()
        .flatten()
        .map(|completion| completion.tokens.len())
        .sum();
    assert_eq!(answer["usage"]["completion_tokens"], lengths);
    assert_eq!(answer["choices"][5]["prompt_token_ids"], json!(several[1]));
    serving.stop().unwrap();
}

#[test]
fn constrained_lists_stay_in_the_catalog_and_leave_out_what_was_seen() {
    let (serving, task) = (start(3, Some(catalog())), task());
    let prompt = prompts(3).remove(2);
    let body = |seen: Value| {
        json!({
            "prompt": prompt, "seen": seen, "n": 8, "seed": 5, "temperature": 0.7, "max_tokens": 60, "logprobs": 1,
            "return_token_ids": true,
        })
    };
    let answer = post(
        &serving,
        "/v1/completions",
        &body(json!([1, "Alien (1979)"])),
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let seen = vec![convrec_core::ItemId(1), convrec_core::ItemId(2)];
    let sample = Sample {
        id: String::new(),
        prompt: prompt.clone(),
        seen,
        ground_truth: vec![],
        candidates: None,
    };
    let begin = |_: usize| task.constraint(&sample).unwrap();
    let expected = policy(3).generate_seeded(&[&prompt], &[5], &generation(8, 60), Some(&begin));
    assert_alike(&choices(&answer), &numbers(&expected));
    for choice in answer["choices"].as_array().unwrap() {
        let text = choice["text"].as_str().unwrap();
        let names: Vec<String> = task
            .prompter()
            .list()
            .parse(text)
            .items()
            .map(|item| item.to_string())
            .collect();
        let allowed = ["Heat (1995)", "Alien 3 (1992)", "Her (2013)"];
        assert!(
            names.len() == N_RANKS && names.iter().all(|name| allowed.contains(&name.as_str())),
            "{text}"
        );
        assert_eq!(choice["finish_reason"], "stop");
    }
    for (seen, part) in [
        (json!([7]), "field `seen`: 7; expected a place below 5"),
        (
            json!(["Heat (1985)"]),
            "is not in the catalog; the nearest items are \"Heat (1995)\"",
        ),
        (json!([0, 1, 2, 3]), "leaves 1 items; expected at least 2"),
        (json!([true]), "field `seen[0]`: expected an item's place"),
    ] {
        let answer = post(&serving, "/v1/completions", &body(seen));
        assert!(
            answer.status == 400 && answer.message().contains(part),
            "{}",
            answer.body
        );
    }
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let serving = start(1, None);
    let refused = |change: Value| {
        let mut body = json!({ "prompt": [1, 2], "max_tokens": 4 });
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let answer = post(&serving, "/v1/completions", &body);
        (answer.status, answer.message())
    };
    assert_eq!(refused(json!({})), (200, String::new()));
    for (change, part) in [
        (json!({ "prompt": [] }), "field `prompt`: empty"),
        (json!({ "prompt": [[1], []] }), "field `prompt`: empty"),
        (
            json!({ "prompt": [262] }),
            "token 262; expected tokens below 262",
        ),
        (
            json!({ "prompt": { "text": "x" } }),
            "field `prompt`: expected a text, a list of token ids",
        ),
        (json!({ "n": 0 }), "field `n`: 0"),
        (json!({ "n": 5000 }), "at most 4096"),
        (json!({ "n": -1 }), "field `n`: invalid value"),
        (json!({ "max_tokens": 0 }), "field `max_tokens`: 0"),
        (
            json!({ "max_tokens": 2047 }),
            "at most 2048, the positions of the model",
        ),
        (json!({ "max_tokens": u64::MAX }), "field `max_tokens`"),
        (json!({ "temperature": -0.5 }), "`temperature`"),
        (json!({ "top_p": 0 }), "`top_p`"),
        (json!({ "logprobs": 21 }), "field `logprobs`: 21"),
        (
            json!({ "logprobs": 20, "n": 1000, "max_tokens": 50 }),
            "field `logprobs`: 20 for each of up to 50000 tokens",
        ),
        (json!({ "echo": true }), "field `echo`"),
        (json!({ "best_of": 2 }), "field `best_of`: 2"),
        (json!({ "beams": 2 }), "unknown field `beams`"),
        (json!({ "seen": [] }), "field `seen`: a list from a catalog"),
    ] {
        let (status, message) = refused(change);
        assert!(
            status == 400 && message.contains(part),
            "{status}: {message}"
        );
    }
    let (status, message) = refused(json!({ "model": "other" }));
    assert!(
        status == 404
            && message.contains("field `model`: `other` is not served here; expected `policy`")
    );
    let answer = post(&serving, "/v1/chat/completions", &json!({ "messages": [] }));
    assert!(answer.status == 400 && answer.message().contains("no catalog to recommend from"));
    assert_eq!(post(&serving, "/v1/embeddings", &json!({})).status, 404);
    assert_eq!(get(&serving, "/health").json(), json!({ "status": "ok" }));
    assert_eq!(
        get(&serving, "/v1/models").json()["data"][0]["id"],
        "policy"
    );
    // Texts are prompts too, and token ids come as vLLM's older releases send them.
    let text = json!({ "prompt": ["ab", "c"], "max_tokens": 3, "logprobs": 1, "return_tokens_as_token_ids": true });
    let answer = post(&serving, "/v1/completions", &text).json();
    assert_eq!(answer["choices"].as_array().unwrap().len(), 2);
    let token = answer["choices"][0]["logprobs"]["tokens"][0]
        .as_str()
        .unwrap()
        .to_string();
    assert!(token.starts_with("token_id:"), "{token}");
    serving.stop().unwrap();
}

/// What is drawn depends on the request alone: beside others, in another order, with some given up.
#[test]
fn company_changes_no_token() {
    let serving = start(3, Some(catalog()));
    let body = |n: u64| {
        let mut body = json!({
            "prompt": prompts(9)[(n % 9) as usize], "n": 1 + n % 3, "seed": n, "temperature": 0.9,
            "max_tokens": 5 + n % 40, "return_token_ids": true, "logprobs": 1,
        });
        if n.is_multiple_of(2) {
            body["seen"] = json!([n % 3]);
        }
        if n.is_multiple_of(5) {
            body["temperature"] = 0.0.into();
        }
        body
    };
    let alone: Vec<_> = (0..40)
        .map(|n| choices(&post(&serving, "/v1/completions", &body(n)).json()))
        .collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let (serving, body) = (&serving, &body);
        let asking: Vec<_> = (0..40)
            .rev()
            .map(|n| {
                scope.spawn(move || {
                    (
                        n,
                        choices(&post(serving, "/v1/completions", &body(n)).json()),
                    )
                })
            })
            .collect();
        asking
            .into_iter()
            .map(|asking| asking.join().unwrap())
            .collect()
    });
    for (n, found) in &together {
        assert_alike(found, &alone[*n as usize]);
    }
    serving.stop().unwrap();
}

#[test]
fn a_stream_says_the_same_piece_by_piece() {
    let serving = start(3, Some(catalog()));
    for more in [
        json!({ "n": 3 }),
        json!({ "n": 2, "seen": [] }),
        json!({ "stop": ["a", "e"], "max_tokens": 60 }),
        json!({ "stop_token_ids": [100, 101, 102], "max_tokens": 60 }),
    ] {
        let mut body = json!({ "prompt": [5, 6], "seed": 4, "max_tokens": 30, "return_token_ids": true, "logprobs": 1 });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let whole = post(&serving, "/v1/completions", &body).json();
        body["stream"] = true.into();
        let chunks = post(&serving, "/v1/completions", &body).events();
        for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
            let of = |chunk: &&Value| chunk["choices"][0]["index"] == index;
            let mine: Vec<&Value> = chunks
                .iter()
                .filter(of)
                .map(|chunk| &chunk["choices"][0])
                .collect();
            let text: String = mine.iter().filter_map(|c| c["text"].as_str()).collect();
            let tokens: Vec<&Value> = mine
                .iter()
                .filter_map(|c| c["token_ids"].as_array())
                .flatten()
                .collect();
            assert_eq!(text, choice["text"], "{more}");
            assert_eq!(json!(tokens), choice["token_ids"], "{more}");
            assert_eq!(
                mine.last().unwrap()["finish_reason"],
                choice["finish_reason"],
                "{more}"
            );
        }
    }
    serving.stop().unwrap();
}

#[test]
fn the_likeliest_tokens_are_shown() {
    let serving = start(3, None);
    let body = json!({ "prompt": [5, 6], "temperature": 0, "max_tokens": 4, "logprobs": 3, "return_tokens_as_token_ids": true });
    let shown = post(&serving, "/v1/completions", &body).json()["choices"][0]["logprobs"].clone();
    for (place, token) in shown["tokens"].as_array().unwrap().iter().enumerate() {
        let top = shown["top_logprobs"][place].as_object().unwrap();
        assert_eq!(top.len(), 3);
        let best = top
            .values()
            .map(|p| p.as_f64().unwrap())
            .fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(top[token.as_str().unwrap()].as_f64().unwrap(), best);
    }
    serving.stop().unwrap();
}

/// The prompts of a request are one that waits, however many they are.
#[test]
fn many_prompts_fit_a_short_queue() {
    let engine = convrec_serve::EngineLimits {
        rows: 8,
        waiting: 4,
        ..Default::default()
    };
    let serving = start_with(1, None, config().engine(engine));
    let prompts: Vec<[u32; 2]> = (0..40).map(|n| [n, 7]).collect();
    let body = json!({ "prompt": prompts, "max_tokens": 2, "seed": 1 });
    let answer = post(&serving, "/v1/completions", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["choices"].as_array().unwrap().len(), 40);
    serving.stop().unwrap();
}
