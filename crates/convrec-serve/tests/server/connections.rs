//! Many connections, slow ones, and ones that are left.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use convrec_serve::{Limits, Serving};
use serde_json::json;

use crate::common::*;

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}

pub const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Whether a kept-alive connection gets its answer.
fn answered(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 2048];
    stream.write_all(HEALTH).is_ok()
        && matches!(stream.read(&mut answer), Ok(n) if answer[..n].starts_with(b"HTTP/1.1 200"))
}

fn counter(serving: &Serving, name: &str) -> u64 {
    let text = get(serving, "/metrics").body;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap().parse().unwrap()
}

#[test]
fn connections_that_are_kept_get_their_answers() {
    let serving = start(1, None);
    for n in [8, 48, 300] {
        let mut kept: Vec<TcpStream> = (0..n).map(|_| connect(serving.address())).collect();
        for _ in 0..2 {
            for stream in &mut kept {
                stream.write_all(HEALTH).unwrap();
            }
            let mut answer = [0; 2048];
            let mut well = 0;
            for stream in &mut kept {
                let read = stream.read(&mut answer);
                well +=
                    usize::from(matches!(read, Ok(n) if answer[..n].starts_with(b"HTTP/1.1 200")));
            }
            assert_eq!(well, n);
        }
    }
    serving.stop().unwrap();
}

/// Idle connections make room for those that ask.
#[test]
fn idle_connections_do_not_close_the_door() {
    let limits = Limits {
        connections: 20,
        ..Limits::default()
    };
    let serving = start_with(1, Some(catalog()), config().limits(limits));
    let idle: Vec<TcpStream> = (0..60).map(|_| connect(serving.address())).collect();
    let slow: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut stream = connect(serving.address());
            let _ = stream.write_all(b"GET /health HTTP/1.1\r\nX-a: ");
            stream
        })
        .collect();
    let started = Instant::now();
    assert!(is_well(&serving));
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    assert!(counter(&serving, "convrec_evicted_connections_total") >= 60);
    assert!(counter(&serving, "convrec_connections") <= 20);
    drop((idle, slow));
    serving.stop().unwrap();
}

/// Bodies that never come, headers that never end, and connections that say nothing.
#[test]
fn slow_clients_are_hung_up_on() {
    let serving = start_with(1, Some(catalog()), config().limits(impatient()));
    let begin = |bytes: &[u8]| {
        let mut stream = connect(serving.address());
        stream.write_all(bytes).unwrap();
        stream
    };
    let head =
        b"POST /v1/completions HTTP/1.1\r\nHost: x.localhost\r\nContent-Type: application/json\r\n";
    let head = String::from_utf8_lossy(head).replace("x.localhost", "localhost");
    let body = |n: usize| format!("{head}Content-Length: {n}\r\n\r\n{{");
    let mut slow: Vec<TcpStream> = (0..64).map(|_| begin(body(100_000).as_bytes())).collect();
    slow.extend((0..64).map(|_| begin(body(500).as_bytes())));
    let mut rest: Vec<TcpStream> = (0..64)
        .map(|_| begin(b"GET /health HTTP/1.1\r\nX-a: "))
        .collect();
    rest.extend((0..64).map(|_| connect(serving.address())));
    // Others are answered meanwhile.
    assert!(is_well(&serving));
    for stream in &mut slow {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.contains(" 408 "), "{answer}");
    }
    for stream in &mut rest {
        // Closed, with or without a word.
        let _ = stream.read_to_end(&mut vec![]);
        assert!(!answered(stream));
    }
    assert!(is_well(&serving));
    serving.stop().unwrap();
}

/// Clients that ask for much and read nothing.
#[test]
fn answers_that_nobody_reads_are_dropped() {
    let serving = start_with(1, None, config().limits(impatient()));
    let body = json!({
        "prompt": [1], "n": 64, "max_tokens": 200, "stop_token_ids": [4_000_000_000_u32],
        "logprobs": 20, "return_token_ids": true,
    })
    .to_string();
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let streams: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = connect(serving.address());
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    let ended = (0..1200).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        counter(&serving, "convrec_connections") == 1
    });
    // Each answer is larger than what the system keeps for a connection.
    assert!(ended, "connections are kept for clients that do not read");
    drop(streams);
    serving.stop().unwrap();
}

/// A client that leaves takes its work with it.
#[test]
fn abandoned_work_is_given_up() {
    let serving = start(1, Some(catalog()));
    let body = json!({
        "prompt": [1], "n": 64, "max_tokens": 1000, "stop_token_ids": [4_000_000_000_u32],
    })
    .to_string();
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for stream in [false, true] {
        let request = match stream {
            false => request.clone(),
            true => {
                let body = body.replace("{\"", "{\"stream\":true,\"");
                format!(
                    "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
        };
        let before = counter(&serving, "convrec_cancelled_total");
        let mut client = connect(serving.address());
        client.write_all(request.as_bytes()).unwrap();
        let under_way = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            counter(&serving, "convrec_batch_completions") > 0
        });
        assert!(under_way);
        drop(client);
        let given_up = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            counter(&serving, "convrec_cancelled_total") > before
                && counter(&serving, "convrec_batch_completions") == 0
        });
        assert!(given_up);
    }
    serving.stop().unwrap();
}

/// More than may wait is refused with a time to come back, and nothing is lost.
#[test]
fn a_full_queue_says_so() {
    let engine = convrec_serve::EngineLimits {
        rows: 8,
        waiting: 4,
        ..Default::default()
    };
    let serving = start_with(1, None, config().engine(engine));
    let body =
        json!({ "prompt": [1], "n": 8, "max_tokens": 400, "stop_token_ids": [4_000_000_000_u32] });
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..24)
            .map(|_| scope.spawn(|| post(&serving, "/v1/completions", &body)))
            .collect();
        asking
            .into_iter()
            .map(|asking| asking.join().unwrap())
            .collect()
    });
    let refused: Vec<&Answer> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert!(!refused.is_empty() && refused.len() < answers.len());
    assert!(
        refused
            .iter()
            .all(|answer| answer.header("retry-after") == Some("1"))
    );
    assert!(
        answers
            .iter()
            .all(|answer| [200, 429].contains(&answer.status))
    );
    assert_eq!(
        post(
            &serving,
            "/v1/completions",
            &json!({ "prompt": [1], "max_tokens": 2 })
        )
        .status,
        200
    );
    serving.stop().unwrap();
}

/// An answer that takes too long is given up.
#[test]
fn time_is_limited() {
    let limits = Limits {
        request_time: Duration::from_millis(150),
        ..Limits::default()
    };
    let serving = start_with(1, None, config().limits(limits));
    let body = json!({ "prompt": [1], "n": 2000, "max_tokens": 1000, "stop_token_ids": [4_000_000_000_u32] });
    let started = Instant::now();
    let answer = post(&serving, "/v1/completions", &body);
    assert_eq!(answer.status, 504, "{}", answer.body);
    assert!(started.elapsed() < Duration::from_secs(10));
    serving.stop().unwrap();
}

/// Requests under way are answered when the server is told to end.
#[test]
fn an_end_loses_nothing() {
    let serving = start(1, None);
    let address = serving.address();
    let body =
        json!({ "prompt": [1], "n": 32, "max_tokens": 300, "stop_token_ids": [4_000_000_000_u32] });
    let asking = std::thread::spawn(move || {
        let body = body.to_string();
        ask(
            address,
            "POST",
            "/v1/completions",
            &[("content-type", "application/json")],
            body.as_bytes(),
        )
    });
    let begun = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        counter(&serving, "convrec_batch_completions") > 0
    });
    assert!(begun);
    serving.stop().unwrap();
    let answer = asking.join().unwrap();
    assert_eq!(
        (
            answer.status,
            answer.json()["choices"].as_array().unwrap().len()
        ),
        (200, 32)
    );
    assert!(TcpStream::connect(address).is_err());
}

/// This test program serves in a process of its own, for signals and for limits of the system.
#[test]
fn serves_in_its_own_process() {
    let Ok(kind) = std::env::var("CONVREC_SERVE_TEST") else {
        return;
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    println!("\nat {}", listener.local_addr().unwrap());
    let model = convrec_train::Model {
        policy: policy(1),
        language: language(),
    };
    let device = burn::tensor::Device::flex();
    let config = config().log(kind == "log");
    let server = convrec_serve::Server::new(model, Some(catalog()), device, config).unwrap();
    convrec_serve::serve(listener, server).unwrap();
}

/// A server in a process of its own that is started by a shell.
fn process(before: &str) -> (std::process::Child, SocketAddr, impl Sized) {
    process_with(before, "1", Stdio::null())
}

pub fn process_with(
    before: &str,
    kind: &str,
    errors: Stdio,
) -> (std::process::Child, SocketAddr, impl Sized) {
    use std::io::BufRead;
    let program = std::env::current_exe().unwrap();
    let command = format!(
        "{before} exec '{}' --exact connections::serves_in_its_own_process --nocapture",
        program.display()
    );
    let mut child = Command::new("sh")
        .args(["-c", &command])
        .env("CONVREC_SERVE_TEST", kind)
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let address = out.by_ref().lines().map_while(Result::ok).find_map(|line| {
        line.trim()
            .strip_prefix("at ")
            .map(|address| address.parse().unwrap())
    });
    // While it is open, the process can print.
    (child, address.unwrap(), out)
}

#[cfg(unix)]
#[test]
fn signals_end_it_with_an_answer() {
    for signal in ["TERM", "INT"] {
        let (mut child, address, _out) = process("");
        let body = json!({ "prompt": [1], "n": 64, "max_tokens": 1000, "stop_token_ids": [4_000_000_000_u32] });
        let asking = std::thread::spawn(move || {
            let body = body.to_string();
            ask(
                address,
                "POST",
                "/v1/completions",
                &[("content-type", "application/json")],
                body.as_bytes(),
            )
        });
        // It answers, and writes.
        let under_way = || {
            let text = ask(address, "GET", "/metrics", &[], b"").body;
            text.lines()
                .any(|line| line == "convrec_batch_completions 64")
        };
        while !under_way() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let kill = Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        let status = child.wait().unwrap();
        assert!(status.success(), "{signal}: {status}");
        assert_eq!(asking.join().unwrap().status, 200, "{signal}");
    }
}

/// Few open files: connections beyond them wait, and the server goes on.
#[cfg(target_os = "linux")]
#[test]
fn few_descriptors_are_enough() {
    let (mut child, address, _out) = process("ulimit -n 128;");
    let mut idle: Vec<TcpStream> = (0..400).map(|_| connect(address)).collect();
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(ask(address, "GET", "/health", &[], b"").status, 200);
    }
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    let open = std::fs::read_dir(format!("/proc/{}/fd", child.id()))
        .unwrap()
        .count();
    assert!(open < 128, "{open} files are open");
    // Those that came last are still there.
    assert!(answered(idle.last_mut().unwrap()));
    child.kill().unwrap();
    child.wait().unwrap();
}
