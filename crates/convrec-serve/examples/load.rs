//! How many lists a second a server writes, and how long clients wait.
//!
//! ```sh
//! cargo run --release -p convrec-serve --example load -- --catalog films.jsonl [--model FOLDER] \
//!   [--seconds 10] [--clients 1,8,32,256] [--prefix-tokens 8192] \
//!   [--weights-dtype bf16] [--kinds recommend,draw,text] [--at 127.0.0.1:8080] [--first-item] [--serve]
//! ```
//!
//! Without a model it is an untrained one of the default shape, over a tokenizer of the catalog:
//! it takes as long as a trained one. With `--first-item` it measures the time to the first item of
//! conversations, turn by turn, without and with the cache of prompts. With `--serve` it only
//! serves, for other clients; with `--at` it measures a server that is there.

mod support;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use convrec_serve::{EngineLimits, PackedType, Server, ServerConfig, Serving, serve};
use serde_json::{Value, json};
use support::client::{Client, at};
use support::flags::Flags;
use support::model;
use support::process::{memory, processor_seconds};

/// What one client asks, again and again, on one connection.
#[derive(Clone, Copy)]
enum Kind {
    /// A conversation of three turns; the most likely list.
    Recommend,
    /// A prompt of three tokens; a list that is drawn.
    Draw,
    /// A text of a few dozen words, and up to 64 tokens of whatever the model says.
    Text,
}

fn main() {
    let flags = Flags::read();
    let prefix = flags.value("prefix-tokens", EngineLimits::default().prefix);
    if flags.has("first-item") {
        return first_items(&flags, prefix);
    }
    if flags.has("serve") {
        let listener = TcpListener::bind("127.0.0.1:8800").unwrap();
        println!("at http://{}", listener.local_addr().unwrap());
        return serve(listener, server(&flags, prefix)).unwrap();
    }
    let seconds = flags.value("seconds", 10.0);
    let clients = flags.text("clients").unwrap_or("1,8,16,32,256");
    // Another server with OpenAI's protocol, or one of our own.
    let at: Option<SocketAddr> = flags.text("at").map(|at| at.parse().unwrap());
    let serving = at.is_none().then(|| start(&flags, prefix));
    let own = serving.as_ref().map(Serving::address);
    let address = at.or(own).unwrap();
    println!(
        "| what | clients | answers/s | tokens/s | p50 ms | p99 ms | longest ms | failed | memory MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for name in flags.text("kinds").unwrap_or("recommend,draw").split(',') {
        let kind = match name {
            "draw" => Kind::Draw,
            "text" => Kind::Text,
            _ => Kind::Recommend,
        };
        for clients in clients.split(',').map(|n| n.parse().unwrap()) {
            let time = Duration::from_secs_f64(seconds);
            let line = measure(address, kind, clients, time);
            println!("| {name} | {clients} | {line} | {} |", memory("self"));
        }
    }
    if let Some(serving) = serving {
        serving.stop().unwrap();
    }
}

fn server(flags: &Flags, prefix: usize) -> Server {
    let device = Device::flex();
    let catalog = model::catalog(flags);
    let model = model::model(flags, &catalog, &device);
    let limits = EngineLimits {
        prefix,
        ..EngineLimits::default()
    };
    let dtype = match flags.text("weights-dtype") {
        Some("bf16") => Some(PackedType::Bf16),
        Some("int8") => Some(PackedType::Int8),
        _ => None,
    };
    let config = ServerConfig::new("load")
        .engine(limits)
        .weights_dtype(dtype);
    Server::new(model, Some(catalog), device, config).unwrap()
}

fn start(flags: &Flags, prefix: usize) -> Serving {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    server(flags, prefix).start(listener).unwrap()
}

fn turn(role: &str, content: impl Into<String>) -> Value {
    json!({ "role": role, "content": content.into() })
}

fn body(kind: Kind, seed: usize) -> (&'static str, String) {
    match kind {
        Kind::Recommend => {
            let greeting = "and I look for something to watch tonight.";
            let turns = [
                turn("user", format!("Hi, I am number {seed}, {greeting}")),
                turn("assistant", "What did you like lately?"),
                turn(
                    "user",
                    "I loved Heat (1995), and I like thrillers with a good cast.",
                ),
            ];
            ("/v1/recommend", json!({ "messages": turns }).to_string())
        }
        Kind::Draw => {
            let body = json!({ "prompt": [1, 2, 3], "seen": [], "seed": seed });
            ("/v1/completions", body.to_string())
        }
        Kind::Text => {
            let prompt = format!(
                "Note {seed}. Heat is a film of 1995 about a robber and the detective who is after \
                 him. The two meet once, over coffee, and talk about what they would give up. What \
                 happens then is"
            );
            let body = json!({ "prompt": prompt, "max_tokens": 64, "temperature": 0 });
            ("/v1/completions", body.to_string())
        }
    }
}

/// Clients ask at once, each again and again.
fn measure(address: SocketAddr, kind: Kind, clients: usize, time: Duration) -> String {
    let started = Instant::now();
    let found: Vec<Found> = std::thread::scope(|scope| {
        let client = |n: usize| {
            scope.spawn(move || {
                let mut client = Client::new(address);
                let (mut found, mut asked) = (Found::default(), 0);
                while started.elapsed() < time {
                    let (path, body) = body(kind, n * 100_000 + asked);
                    asked += 1;
                    let began = Instant::now();
                    match client.post(path, &body) {
                        Some(answer) if answer.status == 200 => {
                            found.times.push(began.elapsed().as_secs_f64() * 1e3);
                            found.tokens += tokens(&answer.body);
                        }
                        _ => found.failed += 1,
                    }
                }
                found
            })
        };
        let clients: Vec<_> = (0..clients).map(client).collect();
        let joined = clients.into_iter().map(|client| client.join().unwrap());
        joined.collect()
    });
    let took = started.elapsed().as_secs_f64();
    let failed: usize = found.iter().map(|found| found.failed).sum();
    let written: u64 = found.iter().map(|found| found.tokens).sum();
    let mut times: Vec<f64> = found.into_iter().flat_map(|found| found.times).collect();
    times.sort_by(f64::total_cmp);
    let rate = times.len() as f64 / took;
    let speed = written as f64 / took;
    let [median, late, last] = [0.5, 0.99, 1.0].map(|share| at(&times, share));
    format!("{rate:.1} | {speed:.0} | {median:.0} | {late:.0} | {last:.0} | {failed}")
}

/// What came of a client's requests.
#[derive(Default)]
struct Found {
    times: Vec<f64>,
    tokens: u64,
    failed: usize,
}

/// The tokens of an answer, where it says them.
fn tokens(body: &str) -> u64 {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    body["usage"]["completion_tokens"].as_u64().unwrap_or(0)
}

/// Conversations of so many turns of the user are played turn by turn.
const TURNS: usize = 4;

/// The median time to the first item of each turn, without and with the cache.
fn first_items(flags: &Flags, prefix: usize) {
    let conversations = flags.value("conversations", 10);
    let servers = [start(flags, 0), start(flags, prefix)];
    let spent = processor_seconds();
    let without = play(&servers[0], conversations);
    let between = processor_seconds();
    let with = play(&servers[1], conversations);
    let all = processor_seconds();
    println!("| turn | without, ms | with, ms |");
    println!("|---|---|---|");
    for (n, (without, with)) in without.iter().zip(&with).enumerate() {
        println!("| {} | {without:.1} | {with:.1} |", n + 1);
    }
    let (without, with) = (between - spent, all - between);
    println!("| processor time of all, s | {without:.1} | {with:.1} |");
    let metrics = Client::new(servers[1].address()).ask("GET", "/metrics", "");
    let text = metrics.map_or_else(String::new, |answer| answer.body);
    let of_cache = text
        .lines()
        .filter(|line| line.starts_with("convrec_prefix"));
    of_cache.for_each(|line| println!("{line}"));
}

fn play(serving: &Serving, conversations: usize) -> Vec<f64> {
    let mut client = Client::new(serving.address());
    let said = [
        "and I look for something to watch tonight. It may be long, but nothing too sad please.",
        "I loved Heat (1995), and I like thrillers with a good cast and a bank robbery or two.",
        "Not that one, my brother has told me the end of it. Something that is a little older?",
        "Those look good. One more thing: we are four, and one of us is only fourteen years old.",
    ];
    let mut times: Vec<Vec<f64>> = vec![vec![]; TURNS];
    // The first conversation only warms up what every request needs.
    for number in 0..=conversations {
        let mut turns = vec![];
        for (n, said) in said.iter().enumerate() {
            turns.push(turn("user", format!("It is {number}, {said}")));
            let body = json!({ "messages": turns, "stream": true }).to_string();
            let began = Instant::now();
            let answer = client.post("/v1/recommend", &body).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.body);
            if let Some(first) = answer.first_item.filter(|_| number > 0) {
                times[n].push((first - began).as_secs_f64() * 1e3);
            }
            turns.push(turn(
                "assistant",
                "Have a look at these, and tell me which you know.",
            ));
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        at(&times, 0.5)
    };
    times.into_iter().map(median).collect()
}
