//! What ended, hung or fooled earlier servers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::*;

const B: &str = r#"{"prompt":[1],"max_tokens":2}"#;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Requests that are no HTTP, or lie about their length.
#[test]
fn broken_requests_end_their_connection_alone() {
    let serving = start(1, Some(catalog()));
    let head =
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let huge_url = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1_000_000));
    let headers = format!(
        "GET /health HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "X: y\r\n".repeat(100_000)
    );
    let many = format!("{head}Content-Length: {}\r\n\r\n{B}", B.len()).repeat(100);
    let cases: Vec<(&str, String, Option<&str>)> = vec![
        ("length 2^63-1", format!("{head}Content-Length: 9223372036854775807\r\n\r\n{B}"), Some(" 413 ")),
        ("length 2^64", format!("{head}Content-Length: 18446744073709551616\r\n\r\n{B}"), Some(" 400 ")),
        ("length 2^64-1", format!("{head}Content-Length: 18446744073709551615\r\n\r\n{B}"), None),
        ("length -1", format!("{head}Content-Length: -1\r\n\r\n{B}"), Some(" 400 ")),
        ("two lengths", format!("{head}Content-Length: 5\r\nContent-Length: {}\r\n\r\n{B}", B.len()), Some(" 400 ")),
        ("chunk ffff...", format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{B}"), None),
        ("chunk zz", format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{B}"), Some(" 400 ")),
        ("chunked with a length", format!("{head}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n1d\r\n{B}\r\n0\r\n\r\n"), None),
        ("expect", format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n{B}", B.len()), Some(" 200 ")),
        ("version 9.9", "GET /health HTTP/9.9\r\n\r\n".into(), None),
        ("no version", "GET /health\r\n\r\n".into(), None),
        ("no host", "GET /health HTTP/1.1\r\n\r\n".into(), Some(" 400 ")),
        ("upgrade", "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n".into(), Some(" 200 ")),
        ("a URL of 1 MB", huge_url, None),
        ("100,000 headers", headers, None),
        ("100 at once, and garbage", format!("{many}\u{1}\u{2}\u{3}"), Some(" 200 ")),
        ("garbage", "\u{0}\u{1}\u{16}\u{3}\u{1}".repeat(20_000), None),
    ];
    for (name, bytes, expected) in cases {
        let answer = raw(serving.address(), bytes.as_bytes(), seconds(3));
        let first: String = answer.chars().take(120).collect();
        if let Some(expected) = expected {
            assert!(answer.contains(expected), "{name}: {first}");
        }
        assert!(is_well(&serving), "after {name}: {first}");
    }
    serving.stop().unwrap();
}

/// Bodies that are no requests: each is refused, none at length.
#[test]
fn hostile_bodies_are_refused_at_once() {
    let serving = start(1, Some(catalog()));
    let chat = |content: String| {
        json!({ "messages": [{ "role": "user", "content": content }] })
            .to_string()
            .into_bytes()
    };
    let long = |text: &str, n: usize| chat(text.repeat(n / text.len()));
    let turns = |n: usize| {
        let turn = json!({ "role": "user", "content": "Heat (1995)" });
        json!({ "messages": vec![turn; n] })
            .to_string()
            .into_bytes()
    };
    let (c, t) = ("/v1/chat/completions", "/v1/completions");
    let nested = |open: &str, n: usize| [br#"{"prompt":"#, open.repeat(n).as_bytes()].concat();
    let cases: Vec<(&str, &str, Vec<u8>, &[u16])> = vec![
        ("empty", t, vec![], &[400]),
        ("nested lists", t, nested("[", 1_000_000), &[400]),
        (
            "nested in an unknown field",
            c,
            [&b"{\"zz\":"[..], &b"{\"a\":".repeat(500_000)].concat(),
            &[400],
        ),
        ("zeros", t, vec![0; 4 << 20], &[400]),
        ("17 MB", t, vec![b' '; 17 << 20], &[413]),
        ("no UTF-8", t, b"{\"prompt\":\"\xff\xfe\"}".to_vec(), &[400]),
        (
            "half a letter",
            t,
            br#"{"prompt":"\ud800"}"#.to_vec(),
            &[400],
        ),
        (
            "a key twice",
            t,
            br#"{"prompt":[1],"prompt":[2]}"#.to_vec(),
            &[400],
        ),
        (
            "two bodies",
            t,
            br#"{"prompt":[1],"max_tokens":2}{}"#.to_vec(),
            &[400],
        ),
        (
            "n = 10^30",
            t,
            br#"{"prompt":[1],"n":1000000000000000000000000000000}"#.to_vec(),
            &[400],
        ),
        (
            "NaN",
            t,
            br#"{"prompt":[1],"temperature":NaN}"#.to_vec(),
            &[400],
        ),
        ("token -1", t, br#"{"prompt":[-1]}"#.to_vec(), &[400]),
        (
            "token 2^32",
            t,
            br#"{"prompt":[4294967296]}"#.to_vec(),
            &[400],
        ),
        (
            "10^6 tokens",
            t,
            json!({ "prompt": vec![1; 1_000_000] })
                .to_string()
                .into_bytes(),
            &[400],
        ),
        (
            "a prompt of 10^6 letters",
            t,
            json!({ "prompt": "a ".repeat(500_000) })
                .to_string()
                .into_bytes(),
            &[400],
        ),
        (
            "10 MB of chat",
            c,
            long("I like Heat (1995) ", 10_000_000),
            &[400, 413],
        ),
        ("1 MB of (", c, long("(", 1_000_000), &[400]),
        ("190 kB of (", c, long("(", 190_000), &[200]),
        (
            "190 kB of titles",
            c,
            long("I like Heat (1995) ", 190_000),
            &[200],
        ),
        ("190 kB of one word", c, long("a", 190_000), &[200, 400]),
        ("10^5 turns", c, turns(100_000), &[400, 413]),
        ("400 turns", c, turns(400), &[200]),
        (
            "all is seen",
            c,
            json!({ "messages": [{ "role": "user", "content": "hi" }], "seen": [0, 1, 2, 3, 4] })
                .to_string()
                .into_bytes(),
            &[400],
        ),
        (
            "10^5 seen",
            t,
            json!({ "prompt": [1], "seen": vec!["Heat (1995)"; 100_000] })
                .to_string()
                .into_bytes(),
            &[400],
        ),
        (
            "10^4 seen",
            t,
            json!({ "prompt": [1], "seen": vec!["Heat (1995)"; 10_000] })
                .to_string()
                .into_bytes(),
            &[200],
        ),
        (
            "an end token that is none",
            t,
            br#"{"prompt":[1],"stop_token_ids":[4000000000],"max_tokens":5}"#.to_vec(),
            &[200],
        ),
        (
            "temperature 1e-40",
            t,
            br#"{"prompt":[1],"temperature":1e-40,"max_tokens":5}"#.to_vec(),
            &[400],
        ),
        (
            "temperature 3e38",
            t,
            br#"{"prompt":[1],"temperature":3e38,"max_tokens":5,"logprobs":1}"#.to_vec(),
            &[200],
        ),
        (
            "top_p 1e-45",
            t,
            br#"{"prompt":[1],"top_p":1e-45,"max_tokens":5}"#.to_vec(),
            &[200, 400],
        ),
        (
            "a cut list",
            t,
            br#"{"prompt":[1],"seen":[],"max_tokens":1}"#.to_vec(),
            &[200],
        ),
        (
            "a list cut by one of its tokens",
            t,
            br#"{"prompt":[1],"seen":[],"stop_token_ids":[72]}"#.to_vec(),
            &[200],
        ),
    ];
    for (name, path, body, expected) in cases {
        let started = Instant::now();
        let status = send(&serving, path, &body);
        let time = started.elapsed();
        assert!(expected.contains(&status), "{name}: {status}");
        assert!(time < seconds(10), "{name}: {time:?}");
        assert!(is_well(&serving), "after {name}");
    }
    serving.stop().unwrap();
}

/// The status. A server that refuses a long body may close before all of it is sent.
fn send(serving: &convrec_serve::Serving, path: &str, body: &[u8]) -> u16 {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(seconds(60))).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let bytes = [head.as_bytes(), body].concat();
    let sending = std::thread::spawn(move || {
        let _ = writer.write_all(&bytes);
    });
    let mut answer = [0; 64];
    let mut read = 0;
    while read < 15 {
        match stream.read(&mut answer[read..]) {
            Ok(0) | Err(_) => break,
            Ok(n) => read += n,
        }
    }
    drop(stream);
    sending.join().unwrap();
    let line = String::from_utf8_lossy(&answer[..read]).into_owned();
    line.get(9..12)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0)
}

/// An endless header takes no memory beyond its limit.
#[test]
fn an_endless_header_is_cut() {
    let serving = start(1, Some(catalog()));
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_write_timeout(Some(seconds(5))).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nX: ").unwrap();
    let block = vec![b'a'; 64 << 10];
    let sent = (0..1600)
        .take_while(|_| stream.write_all(&block).is_ok())
        .count();
    // What fits the buffers of the system goes out; 100 MB do not.
    assert!(sent < 1600, "all of it was taken");
    assert!(is_well(&serving));
    serving.stop().unwrap();
}
