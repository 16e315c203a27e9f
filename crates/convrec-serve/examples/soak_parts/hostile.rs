//! Requests that mean harm, in turn.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::rest;
use super::world::World;

const HEAD: &str =
    "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

/// A way to do harm: what is sent, and for how long the connection is held open afterwards.
struct Attack {
    name: &'static str,
    bytes: Vec<u8>,
    hold: Duration,
    connections: usize,
}

fn attacks() -> Vec<Attack> {
    let attack = |name, bytes: Vec<u8>| Attack {
        name,
        bytes,
        hold: Duration::ZERO,
        connections: 1,
    };
    let head = |length: usize| format!("{HEAD}Content-Length: {length}\r\n\r\n").into_bytes();
    let with = |body: Vec<u8>| [head(body.len()), body].concat();
    let said = |text: String| {
        let body = json!({ "messages": [{ "role": "user", "content": text }] });
        with(body.to_string().into_bytes())
    };
    let many = json!({ "prompt": [1], "n": 100_000 }).to_string();
    let stream = json!({ "messages": [{ "role": "user", "content": "hi" }], "stream": true });
    let short = with(stream.to_string().into_bytes());
    let slow = Duration::from_secs(4);
    vec![
        attack(
            "a length of 2^63-1",
            format!("{HEAD}Content-Length: 9223372036854775807\r\n\r\n{{}}").into(),
        ),
        attack("garbage", b"\x00\x01\x16\x03\x01".repeat(20_000)),
        attack(
            "nested lists",
            with([b"{\"messages\":".to_vec(), b"[".repeat(500_000)].concat()),
        ),
        attack("1 MB of (", said("(".repeat(1_000_000))),
        attack("50 kB of (", said("(".repeat(50_000))),
        attack("a body of 6 MB", with(vec![b' '; 6 << 20])),
        attack(
            "an endless header",
            [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 4 << 20]].concat(),
        ),
        attack(
            "another host",
            b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_vec(),
        ),
        attack("100,000 completions", with(many.into_bytes())),
        attack("60 at once", short.repeat(60)),
        Attack {
            hold: slow,
            ..attack("half a body", [head(1000), b"{\"mess".to_vec()].concat())
        },
        Attack {
            hold: slow,
            connections: 100,
            ..attack("100 half headers", b"GET /hea".to_vec())
        },
        Attack {
            hold: slow,
            connections: 200,
            ..attack("200 idle connections", vec![])
        },
        Attack {
            hold: slow,
            ..attack("an answer that is not taken", short)
        },
    ]
}

/// One attack after the other, for as long as there is time.
pub fn attack(world: &World, until: Instant) {
    let attacks = attacks();
    for attack in attacks.iter().cycle() {
        if !rest(Duration::from_millis(1500), until) {
            return;
        }
        let address = world.life().address;
        let open = (0..attack.connections).filter_map(|_| TcpStream::connect(address).ok());
        let mut open: Vec<TcpStream> = open.collect();
        for stream in &mut open {
            let limit = Some(Duration::from_secs(2));
            // Whatever comes of it, the server must live on.
            let _ = stream.set_write_timeout(limit);
            let _ = stream.set_read_timeout(limit);
            let _ = stream.write_all(&attack.bytes);
        }
        if attack.hold.is_zero() {
            for stream in &mut open {
                let _ = stream.read(&mut [0; 4096]);
            }
        }
        rest(attack.hold, until);
        let mut counts = world.counts.hostile.lock().unwrap();
        *counts.entry(attack.name).or_default() += open.len() as u64;
    }
}
