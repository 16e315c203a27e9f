//! Lists for conversations, in OpenAI's protocol.

use serde_json::{Value, json};

use crate::common::*;

const CHAT: &str = "/v1/chat/completions";

fn user(text: &str) -> Value {
    json!([{ "role": "user", "content": text }])
}

fn ask_with(serving: &convrec_serve::Serving, more: Value) -> Answer {
    let mut body = json!({ "messages": user("I like Heat (1995)") });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    post(serving, CHAT, &body)
}

#[test]
fn a_conversation_is_answered_with_a_list() {
    let serving = start(3, Some(catalog()));
    let messages = user("I loved Heat (1995) and Alien 3 (1992). What now?");
    let body = json!({ "model": "policy", "messages": messages, "seen": [1] });
    let answer = post(&serving, CHAT, &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let choice = &answer["choices"][0];
    let items = choice["items"].as_array().unwrap();
    let mut titles: Vec<&str> = items
        .iter()
        .map(|item| item["title"].as_str().unwrap())
        .collect();
    let text = choice["message"]["content"].as_str().unwrap();
    assert!(
        text.starts_with(&format!("1. {} (", titles[0])) && text.contains("\n2. "),
        "{text}"
    );
    titles.sort_unstable();
    assert_eq!(titles, ["Alien", "Her"]);
    assert_eq!(choice["finish_reason"], "stop");
    assert!(
        items
            .iter()
            .all(|item| (0.0..=1.0).contains(&item["score"].as_f64().unwrap()))
    );
    // Of three items that are left, the probabilities of the first rank's two come to 1 at most,
    // and no two answers have the same name.
    let again = post(&serving, CHAT, &body).json();
    assert_ne!(answer["id"], again["id"]);
    assert_eq!(without_scores(choice), without_scores(&again["choices"][0]));
    for (messages, part) in [
        (json!([]), "the last one is the user's"),
        (
            json!([{ "role": "assistant", "content": "Hello!" }]),
            "the last one is the user's",
        ),
        (json!([{ "role": "user" }]), "field `messages[0].content`"),
        (
            json!([{ "role": "tool", "content": "x" }]),
            "field `messages[0].role`: `tool`",
        ),
        (
            json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }]),
            "a part of type `image_url`",
        ),
    ] {
        let refused = post(&serving, CHAT, &json!({ "messages": messages }));
        assert!(
            refused.status == 400 && refused.message().contains(part),
            "{}",
            refused.body
        );
    }
    serving.stop().unwrap();
}

/// What LangChain, the official clients and others send without being asked to.
#[test]
fn what_clients_send_is_taken() {
    let serving = start(3, Some(catalog()));
    let plain = without_scores(&ask_with(&serving, json!({})).json()["choices"]);
    for more in [
        json!({ "temperature": 0, "top_p": 1, "n": 1, "stream": false, "user": "x", "seed": -1 }),
        json!({ "temperature": 0.0, "frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {}, "stop": null }),
        json!({ "max_tokens": 4096, "tools": [], "tool_choice": "auto", "parallel_tool_calls": true, "metadata": {} }),
        json!({ "max_completion_tokens": 1000, "response_format": { "type": "text" }, "store": false, "service_tier": "auto" }),
        json!({ "stream": null, "stream_options": null, "logprobs": false, "top_logprobs": null }),
        json!({ "messages": [
            { "role": "system", "content": "Recommend films." },
            { "role": "developer", "content": [{ "type": "text", "text": "Briefly." }] },
            { "role": "user", "name": "ann", "content": [{ "type": "text", "text": "I like Heat (1995)" }] },
        ] }),
    ] {
        let answer = ask_with(&serving, more.clone());
        assert_eq!(answer.status, 200, "{more}: {}", answer.body);
        let choices = without_scores(&answer.json()["choices"]);
        assert_eq!(choices, plain, "{more}");
    }
    for (more, field) in [
        (json!({ "frequency_penalty": 0.5 }), "frequency_penalty"),
        (json!({ "logit_bias": { "5": 1 } }), "logit_bias"),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "top_logprobs": 3 }), "top_logprobs"),
        (json!({ "n": 0 }), "n"),
        (json!({ "stop": "" }), "stop"),
        (json!({ "seen": [17] }), "seen"),
        (
            json!({ "response_format": { "type": "xml" } }),
            "response_format",
        ),
    ] {
        let answer = ask_with(&serving, more.clone());
        assert_eq!(
            (answer.status, &answer.json()["error"]["param"]),
            (400, &json!(field)),
            "{more}"
        );
    }
    let unknown = ask_with(&serving, json!({ "temprature": 0 }));
    assert!(unknown.status == 400 && unknown.message().contains("temprature"));
    let unknown = ask_with(&serving, json!({ "seen": ["Heet (1995)"] }));
    assert!(
        unknown
            .message()
            .contains("the nearest items are \"Heat (1995)\""),
        "{}",
        unknown.body
    );
    let other = ask_with(&serving, json!({ "model": "gpt" }));
    assert_eq!(
        (other.status, &other.json()["error"]["code"]),
        (404, &json!("model_not_found"))
    );
    serving.stop().unwrap();
}

#[test]
fn lists_are_drawn_where_a_temperature_says_so() {
    let serving = start(3, Some(catalog()));
    let draw = |seed: u64| {
        let body = json!({ "temperature": 1.5, "n": 16, "seed": seed });
        let answer = ask_with(&serving, body).json();
        let choices = answer["choices"].as_array().unwrap().clone();
        let text = |choice: &Value| choice["message"]["content"].as_str().unwrap().to_string();
        choices.iter().map(text).collect::<Vec<_>>()
    };
    let (first, again, other) = (draw(7), draw(7), draw(8));
    assert!(first == again && first != other);
    assert!(first.iter().any(|text| *text != first[0]));
    assert!(first.iter().all(|text| !text.contains("Heat")));
    let answer = ask_with(&serving, json!({ "logprobs": true, "top_logprobs": 3 })).json();
    let tokens = answer["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap()
        .clone();
    let chosen = tokens
        .iter()
        .find(|token| token["top_logprobs"].as_array().unwrap().len() > 1);
    let chosen = chosen.unwrap();
    // Greedy: the likeliest is the one that was written.
    assert_eq!(chosen["top_logprobs"][0]["token"], chosen["token"]);
    assert_eq!(chosen["top_logprobs"][0]["logprob"], chosen["logprob"]);
    serving.stop().unwrap();
}

/// A stream says of each token what the whole answer says, and once.
#[test]
fn a_stream_has_the_log_probabilities_of_all_tokens() {
    let serving = start(3, Some(catalog()));
    let said = |answers: &[Value], part: &str| -> Vec<(Value, f64)> {
        let chunks = answers
            .iter()
            .filter_map(|answer| answer["choices"][0][part]["content"].as_array().cloned());
        let token = |one: Value| (one["bytes"].clone(), one["logprob"].as_f64().unwrap());
        chunks.flatten().map(token).collect()
    };
    let whole = ask_with(&serving, json!({ "logprobs": true })).json();
    let whole = said(&[whole], "logprobs");
    let stream = ask_with(&serving, json!({ "logprobs": true, "stream": true }));
    let stream = said(&stream.events(), "logprobs");
    assert!(whole.len() > 10);
    assert_eq!(stream.len(), whole.len());
    for ((token, p), (other, q)) in stream.iter().zip(&whole) {
        assert!(token == other && (p - q).abs() < 1e-4, "{token} {p} {q}");
    }
    serving.stop().unwrap();
}

/// A schema's `maxItems` is the length of the list; what cannot be kept is refused by its place.
#[test]
fn schemas_are_kept() {
    let serving = start(3, Some(catalog()));
    let format = |list: Value| {
        let schema = json!({ "type": "object", "properties": { "films": list } });
        json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": schema } } })
    };
    let one = json!({ "type": "array", "maxItems": 1, "items": { "type": "string" } });
    let answer = ask_with(&serving, format(one)).json();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    let films: Value = serde_json::from_str(text).unwrap();
    assert_eq!(films["films"].as_array().unwrap().len(), 1);
    for (list, part) in [
        (
            json!({ "type": "array", "minItems": 3, "items": { "type": "string" } }),
            "`minItems` of 3; expected at most 2",
        ),
        (
            json!({ "type": "array", "items": { "type": "object", "properties": { "year": { "type": "string" } } } }),
            "films.items.properties.year",
        ),
        (
            json!({ "type": "array", "items": { "type": "string", "enum": ["Heat"] } }),
            "films.items.enum",
        ),
    ] {
        let answer = ask_with(&serving, format(list));
        assert!(
            answer.status == 400 && answer.message().contains(part),
            "{}",
            answer.body
        );
    }
    serving.stop().unwrap();
}

#[test]
fn a_stream_says_the_same_item_by_item() {
    let serving = start(3, Some(catalog()));
    for more in [
        json!({}),
        json!({ "temperature": 1.0, "seed": 5, "n": 3 }),
        json!({ "response_format": { "type": "json_object" } }),
        json!({ "stop": ["\n2."] }),
        json!({ "max_tokens": 14 }),
    ] {
        let whole = ask_with(&serving, more.clone()).json();
        let mut body = more.clone();
        body["stream"] = true.into();
        body["stream_options"] = json!({ "include_usage": true });
        let answer = ask_with(&serving, body);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert!(answer.body.trim_end().ends_with("data: [DONE]"));
        let chunks = answer.events();
        let usage = chunks.last().unwrap();
        assert_eq!(
            (&usage["usage"], usage["choices"].as_array().unwrap().len()),
            (&whole["usage"], 0)
        );
        for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
            let of = |chunk: &&Value| chunk["choices"][0]["index"] == index;
            let mine: Vec<&Value> = chunks
                .iter()
                .filter(of)
                .map(|chunk| &chunk["choices"][0])
                .collect();
            let text: String = mine
                .iter()
                .filter_map(|c| c["delta"]["content"].as_str())
                .collect();
            assert_eq!(text, choice["message"]["content"], "{more}");
            assert_eq!(
                mine.last().unwrap()["finish_reason"],
                choice["finish_reason"],
                "{more}"
            );
            assert_eq!(mine[0]["delta"]["role"], "assistant");
            let items: Vec<&Value> = mine
                .iter()
                .filter_map(|c| c["items"].as_array())
                .flatten()
                .collect();
            let names = |items: Vec<&Value>| {
                items
                    .iter()
                    .map(|item| item["name"].clone())
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                names(items),
                names(choice["items"].as_array().unwrap().iter().collect()),
                "{more}"
            );
        }
        // An item a chunk: not all of it at the end.
        if more == json!({}) {
            let with_items = chunks
                .iter()
                .filter(|chunk| chunk["choices"][0]["items"].is_array());
            assert_eq!(with_items.count(), N_RANKS);
        }
    }
    serving.stop().unwrap();
}

#[test]
fn answers_come_as_json() {
    let serving = start(3, Some(catalog()));
    let content = |format: Value| -> Value {
        let answer = ask_with(&serving, json!({ "response_format": format })).json();
        serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap()
    };
    let plain = content(json!({ "type": "json_object" }));
    let first = &plain["items"][0];
    assert!(
        first["id"].is_u64()
            && first["title"].is_string()
            && first["year"].is_i64()
            && first["score"].is_f64()
    );
    let schema = json!({ "type": "object", "properties": { "films": { "type": "array", "items": {
        "type": "object", "properties": { "title": { "type": "string" } }, "additionalProperties": false } } } });
    let named = content(
        json!({ "type": "json_schema", "json_schema": { "name": "films", "strict": true, "schema": schema } }),
    );
    assert_eq!(named["films"][0], json!({ "title": first["title"] }));
    serving.stop().unwrap();
}

#[test]
fn a_stop_text_and_a_limit_end_a_list() {
    let serving = start(3, Some(catalog()));
    let choice = |more: Value| ask_with(&serving, more).json()["choices"][0].clone();
    let whole = choice(json!({}));
    let stopped = choice(json!({ "stop": "\n" }));
    let text = whole["message"]["content"].as_str().unwrap();
    assert_eq!(stopped["message"]["content"], text.lines().next().unwrap());
    assert_eq!(
        (&stopped["finish_reason"], &whole["finish_reason"]),
        (&json!("stop"), &json!("stop"))
    );
    let cut = choice(json!({ "max_tokens": 1 }));
    assert_eq!(
        (&cut["finish_reason"], &cut["items"]),
        (&json!("length"), &json!([]))
    );
    serving.stop().unwrap();
}

/// Lists that the policy writes freely hold the catalog's items that it names; an untrained one
/// names none.
#[test]
fn unconstrained_lists_are_read() {
    let serving = start_with(3, Some(catalog()), config().unconstrained(true));
    for stream in [false, true] {
        let answer = ask_with(&serving, json!({ "stream": stream }));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let refused = ask_with(&serving, json!({ "exclude": [1] }));
    assert!(
        refused.status == 400 && refused.message().contains("constrained"),
        "{}",
        refused.body
    );
    serving.stop().unwrap();
}
