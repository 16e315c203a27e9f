//! More clients than there is room for, and streams that are refused.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use convrec_serve::Limits;
use serde_json::json;

use crate::common::*;
use crate::connections::{HEALTH, connect, process_with};

fn request(path: &str, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A refusal is known before the first piece of an answer, so it has its status in a stream too.
#[test]
fn a_stream_that_is_refused_has_the_status() {
    let engine = convrec_serve::EngineLimits {
        rows: 8,
        waiting: 4,
        tokens: 1500,
        ..Default::default()
    };
    let serving = start_with(1, Some(catalog()), config().engine(engine));
    let turns = json!([{ "role": "user", "content": "hi" }]);
    let ends = [4_000_000_000_u32];
    let body = json!({
        "prompt": [1], "n": 8, "max_tokens": 300, "stop_token_ids": ends, "stream": true,
    });
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let ask = || scope.spawn(|| post(&serving, "/v1/completions", &body));
        let asking: Vec<_> = (0..24).map(|_| ask()).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let (well, refused): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == 200);
    assert!(!well.is_empty() && !refused.is_empty());
    for answer in well {
        assert!(!answer.body.contains("\"error\""), "{}", answer.body);
    }
    for answer in refused {
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (429, Some("1"))
        );
        assert_eq!(answer.json()["error"]["code"], "rate_limit_exceeded");
    }
    let never =
        json!({ "prompt": [1], "max_tokens": 1800, "stop_token_ids": ends, "stream": true });
    let answer = post(&serving, "/v1/completions", &never);
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert_eq!(answer.json()["error"]["param"], "max_tokens");
    serving.stop().unwrap();
    let engine = convrec_serve::EngineLimits {
        // Room for a list, but not for a prompt beside it.
        tokens: task().longest_list().unwrap() + 2,
        ..Default::default()
    };
    let serving = start_with(1, Some(catalog()), config().engine(engine));
    for path in ["/v1/recommend", "/v1/chat/completions"] {
        let answer = post(
            &serving,
            path,
            &json!({ "messages": turns, "stream": true }),
        );
        assert_eq!(answer.status, 400, "{path}: {}", answer.body);
        assert!(answer.message().contains("tokens"), "{}", answer.message());
    }
    serving.stop().unwrap();
}

/// Connections that wait for others to end get their answers, and so do slow readers.
#[test]
fn a_crowd_loses_no_answer() {
    let limits = Limits {
        connections: 12,
        stall_time: Duration::from_secs(300),
        ..Limits::default()
    };
    let serving = start_with(1, None, config().limits(limits));
    let address = serving.address();
    let large = json!({
        "prompt": [1], "n": 64, "max_tokens": 200, "stop_token_ids": [4_000_000_000_u32],
        "logprobs": 20, "return_token_ids": true,
    });
    let mut slow = connect(address);
    let large = String::from_utf8(request("/v1/completions", &large)).unwrap();
    let large = large.replacen("Host:", "Connection: close\r\nHost:", 1);
    slow.write_all(large.as_bytes()).unwrap();
    let mut first = [0; 1];
    slow.read_exact(&mut first).unwrap();
    // Its answer is made, but not taken. Meanwhile others come, all at once.
    let small = request(
        "/v1/completions",
        &json!({ "prompt": [1], "max_tokens": 8 }),
    );
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..60)
            .map(|_| {
                scope.spawn(|| {
                    let mut stream = connect(address);
                    stream.write_all(&small).unwrap();
                    let mut head = [0; 12];
                    stream.read_exact(&mut head).is_ok() && &head == b"HTTP/1.1 200"
                })
            })
            .collect();
        let answered = asking.into_iter().map(|one| one.join().unwrap());
        assert_eq!(answered.filter(|well| *well).count(), 60);
        let silent: Vec<TcpStream> = (0..60).map(|_| connect(address)).collect();
        assert_eq!(get(&serving, "/health").status, 200);
        drop(silent);
    });
    let mut answer = first.to_vec();
    slow.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length:")
            .map(|n| n.trim().to_string())
    });
    assert_eq!(body.len(), length.unwrap().parse::<usize>().unwrap());
    serving.stop().unwrap();
}

/// Bodies that do not come make room for who asks.
#[test]
fn slow_bodies_do_not_close_the_door() {
    let limits = Limits {
        connections: 12,
        ..Limits::default()
    };
    let serving = start_with(1, None, config().limits(limits));
    let head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{";
    let slow: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = connect(serving.address());
            stream.write_all(head).unwrap();
            stream
        })
        .collect();
    let started = Instant::now();
    assert_eq!(get(&serving, "/health").status, 200);
    // The limit on bodies is 15 s.
    assert!(started.elapsed() < Duration::from_secs(10));
    drop(slow);
    serving.stop().unwrap();
}

/// Nobody reads what a server logs, and it goes on.
#[cfg(unix)]
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let (mut child, address, _out) = process_with("", "log", Stdio::piped());
    let mut stream = connect(address);
    for _ in 0..40 {
        stream.write_all(&HEALTH.repeat(100)).unwrap();
        let (mut answers, mut read) = (0, vec![0; 1 << 16]);
        while answers < 100 {
            let n = stream.read(&mut read).unwrap();
            assert!(n > 0);
            // Each answer has one status, and no other brace.
            answers += read[..n].iter().filter(|byte| **byte == b'{').count();
        }
    }
    let text = ask(address, "GET", "/metrics", &[], b"").body;
    let dropped = text
        .lines()
        .find_map(|line| line.strip_prefix("convrec_unlogged_requests_total "));
    assert!(dropped.unwrap().parse::<u64>().unwrap() > 1000, "{text}");
    child.kill().unwrap();
    child.wait().unwrap();
}
