//! Embeddings over HTTP, with and without a file that remembers them.

mod common;

use std::sync::Arc;

use base64::Engine;
use common::{Reply, Seen, TestServer, quick};
use convrec_cloning::{CachedEmbedder, Embedder};
use convrec_llm::{Budget, EmbedderSettings, HttpEmbedder, Server, ServerSettings};
use serde_json::{Value, json};

const WIDTH: usize = 3;

/// What the server makes of a text: its length, its first byte, and 1.
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
        "settings, field `embedder.width`: 0; expected at least 1"
    );
}

#[test]
fn what_a_file_remembers_is_not_asked_again() {
    let server = TestServer::start(embeddings);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let expected = embedder(quick(&server), settings())
        .1
        .embed(&texts(60))
        .unwrap();
    let before = server.requests();
    for _ in 0..3 {
        let cached = CachedEmbedder::open(&path, embedder(quick(&server), settings()).1).unwrap();
        assert_eq!(cached.embed(&texts(60)).unwrap(), expected);
        assert_eq!((cached.len(), server.requests() - before), (60, 15));
    }
    // Where a batch fails, the others are kept: of 40 more texts, one of them blank, four are asked
    // again.
    let failing = |seen: &Seen| match seen.body["input"][0].as_str() {
        Some("60 is a text") => Reply::status(400),
        _ => embeddings(seen),
    };
    let failing = TestServer::start(failing);
    let mut more = texts(100);
    more[99] = " ".into();
    let cached = CachedEmbedder::open(&path, embedder(quick(&failing), settings()).1).unwrap();
    let error = cached.embed(&more).unwrap_err().to_string();
    assert!(
        error.contains("test-embedder at") && error.contains("status 400"),
        "{error}"
    );
    assert_eq!((cached.len(), failing.requests()), (96, 10));
    drop(cached);
    let before = server.requests();
    let cached = CachedEmbedder::open(&path, embedder(quick(&server), settings()).1).unwrap();
    let rows = cached.embed(&more).unwrap();
    assert_eq!(server.requests() - before, 1);
    assert_eq!(
        rows,
        embedder(quick(&server), settings()).1.embed(&more).unwrap()
    );
    drop(cached);
    // A wider model, or one that is asked otherwise, is another model.
    let extra_body = [("dimensions".to_string(), json!(3))].into_iter().collect();
    let other = embedder(
        quick(&server),
        EmbedderSettings {
            extra_body,
            ..settings()
        },
    )
    .1;
    let error = CachedEmbedder::open(&path, other).unwrap_err().to_string();
    assert!(
        error.contains("holds embeddings of `http test-embedder 3 {}`; expected `http"),
        "{error}"
    );
}
