//! Embeddings over HTTP.

mod common;

use std::sync::Arc;

use base64::Engine;
use common::{Reply, Seen, TestServer, quick};
use convrec_llm::{Budget, EmbedderSettings, HttpEmbedder, Server, ServerSettings};
use convrec_services::Embedder;
use serde_json::{Value, json};

const WIDTH: usize = 3;

/// The server's numbers for a text: its length, its first byte, and 1.
fn numbers(text: &str) -> [f32; WIDTH] {
    [text.len() as f32, f32::from(text.as_bytes()[0]), 1.0]
}

/// Rows in reverse order, as the protocol allows, in the encoding that was asked for.
fn embeddings(seen: &Seen) -> Reply {
    assert!(seen.head.starts_with("POST /v1/embeddings "));
    let in_base64 = seen.body["encoding_format"] == "base64";
    let row = |(index, text): (usize, &Value)| {
        let numbers = numbers(text.as_str().unwrap());
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let base64 = base64::prelude::BASE64_STANDARD.encode(bytes);
        let embedding = if in_base64 {
            json!(base64)
        } else {
            json!(numbers)
        };
        json!({ "index": index, "embedding": embedding })
    };
    let texts = seen.body["input"].as_array().unwrap();
    let data: Vec<Value> = texts.iter().enumerate().map(row).rev().collect();
    Reply::Answer(json!({ "data": data, "usage": { "prompt_tokens": texts.len() } }).to_string())
}

fn settings() -> EmbedderSettings {
    EmbedderSettings {
        model: "test-embedder".into(),
        width: WIDTH,
        batch: 4,
        ..EmbedderSettings::default()
    }
}

fn embedder(server: ServerSettings, settings: EmbedderSettings) -> (Arc<Server>, HttpEmbedder) {
    let server = Arc::new(Server::new(server, Arc::default()).unwrap());
    (server.clone(), HttpEmbedder::new(settings, server).unwrap())
}

fn texts(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{i} is a text")).collect()
}

#[test]
fn rows_come_in_order_at_unit_length() {
    let server = TestServer::start(embeddings);
    for base64 in [false, true] {
        let (http, embedder) = embedder(
            quick(&server),
            EmbedderSettings {
                base64,
                ..settings()
            },
        );
        let mut texts = texts(103);
        texts[17] = " \n".into();
        let rows = embedder.embed(&texts).unwrap();
        for (text, row) in texts.iter().zip(rows.outer_iter()) {
            let length = numbers(text).iter().map(|x| x * x).sum::<f32>().sqrt();
            let expected = if text.trim().is_empty() {
                [0.0; WIDTH]
            } else {
                numbers(text).map(|x| x / length)
            };
            assert!(
                row.iter()
                    .zip(expected)
                    .all(|(found, expected)| (found - expected).abs() < 1e-6),
                "{text}: {row}"
            );
        }
        // 102 texts in batches of 4.
        assert_eq!(
            (http.usage().answered, http.usage().tokens.input),
            (26, 102)
        );
    }
    let (_, embedder) = embedder(quick(&server), settings());
    assert_eq!(embedder.embed(&[]).unwrap().dim(), (0, WIDTH));
}

#[test]
fn faults_pass_and_wrong_widths_do_not() {
    let server = TestServer::start(|seen| {
        if seen.before < 2 {
            Reply::status(503)
        } else {
            embeddings(seen)
        }
    });
    let (http, embedder_) = embedder(quick(&server), settings());
    assert_eq!(embedder_.embed(&texts(20)).unwrap().nrows(), 20);
    assert_eq!(http.usage().retries, 10);
    let server = TestServer::start(embeddings);
    let wrong = EmbedderSettings {
        width: 4,
        ..settings()
    };
    let (_, wrong) = embedder(
        ServerSettings {
            max_retries: 0,
            ..quick(&server)
        },
        wrong,
    );
    let error = wrong.embed(&texts(1)).unwrap_err().to_string();
    assert!(
        error.contains("an embedding of 3 numbers; expected 4")
            && error.contains("test-embedder at"),
        "{error}"
    );
    let budget = Budget {
        max_requests: Some(2),
        ..Budget::default()
    };
    let (_, poor) = embedder(
        ServerSettings {
            budget,
            ..quick(&server)
        },
        settings(),
    );
    let error = poor.embed(&texts(50)).unwrap_err().to_string();
    assert!(
        error.contains("max_requests = 2") && error.contains("requests that are left"),
        "{error}"
    );
    let error = EmbedderSettings {
        width: 0,
        ..settings()
    }
    .check()
    .unwrap_err()
    .to_string();
    assert_eq!(
        error,
        "config, field `embeddings.width`: found 0, expected at least 1"
    );
}

#[test]
fn a_batch_fails_by_itself() {
    let failing = |seen: &Seen| match seen.body["input"][0].as_str() {
        Some("4 is a text") => Reply::status(400),
        _ => embeddings(seen),
    };
    let server = TestServer::start(failing);
    let (_, embedder) = embedder(quick(&server), settings());
    let mut texts = texts(13);
    texts[11] = " ".into();
    let (mut whole, mut failed) = (Vec::new(), Vec::new());
    for (places, rows) in embedder.embed_parts(&texts) {
        match rows {
            Ok(rows) => {
                for (place, row) in places.iter().zip(rows.outer_iter()) {
                    let expected = [0.0, numbers(&texts[*place])[1]][usize::from(*place != 11)];
                    assert_eq!(row[1] > 0.0, expected > 0.0, "{}", texts[*place]);
                }
                whole.extend(places);
            }
            Err(error) => {
                let error = error.to_string();
                assert!(
                    error.contains("test-embedder at") && error.contains("status 400"),
                    "{error}"
                );
                failed.extend(places);
            }
        }
    }
    whole.sort_unstable();
    assert_eq!(failed, [4, 5, 6, 7]);
    assert_eq!(whole, [0, 1, 2, 3, 8, 9, 10, 11, 12]);
}

#[test]
fn another_width_or_another_body_is_another_embedder() {
    let server = TestServer::start(embeddings);
    let id = |settings| embedder(quick(&server), settings).1.id();
    let extra_body = [("dimensions".to_string(), json!(3))].into_iter().collect();
    let other = EmbedderSettings {
        extra_body,
        ..settings()
    };
    assert!(id(settings()).starts_with("http test-embedder 3 {}"));
    assert_ne!(id(settings()), id(other));
    assert_ne!(
        id(settings()),
        id(EmbedderSettings {
            width: 4,
            ..settings()
        })
    );
}
