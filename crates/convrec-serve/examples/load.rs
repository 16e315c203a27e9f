//! How many lists a second a server writes, and how long clients wait.
//!
//! ```sh
//! cargo run --release -p convrec-serve --example load -- --catalog films.jsonl [--model FOLDER] \
//!   [--seconds 10] [--clients 1,8,32,256] [--serve]
//! ```
//!
//! Without a model it is an untrained one of the default shape, over a tokenizer of the catalog:
//! it takes as long as a trained one. With `--serve` it only serves, for other clients.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_policy::{ModelConfig, Policy};
use convrec_serve::{Server, ServerConfig, serve};
use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};
use convrec_train::{Language, Model, Prompts, TaskFormat};
use serde_json::json;

/// What one client asks, again and again, on one connection.
#[derive(Clone, Copy)]
enum Kind {
    /// A conversation of three turns; the most likely list.
    Recommend,
    /// A prompt of three tokens; a list that is drawn.
    Draw,
}

fn main() {
    let mut arguments: HashMap<String, String> = HashMap::new();
    let mut words = std::env::args().skip(1).peekable();
    while let Some(word) = words.next() {
        if let Some(name) = word.strip_prefix("--") {
            let value = words.next_if(|next| !next.starts_with("--"));
            arguments.insert(name.into(), value.unwrap_or_default());
        }
    }
    let Some(catalog) = arguments.get("catalog") else {
        eprintln!("error: no catalog; expected --catalog FILE");
        std::process::exit(2);
    };
    let catalog = Catalog::read(catalog).unwrap();
    let device = Device::flex();
    let model = match arguments.get("model") {
        Some(folder) => Model::load(folder, &device).unwrap(),
        None => untrained(&catalog, &device),
    };
    let server = Server::new(model, Some(catalog), device, ServerConfig::new("load")).unwrap();
    if arguments.contains_key("serve") {
        let listener = TcpListener::bind("127.0.0.1:8800").unwrap();
        println!("at http://{}", listener.local_addr().unwrap());
        return serve(listener, server).unwrap();
    }
    let number =
        |name: &str, usual: &str| arguments.get(name).cloned().unwrap_or_else(|| usual.into());
    let seconds: f64 = number("seconds", "10").parse().unwrap();
    let clients = number("clients", "1,8,16,32,256");
    let serving = server
        .start(TcpListener::bind("127.0.0.1:0").unwrap())
        .unwrap();
    println!("| what | clients | lists/s | p50 ms | p99 ms | longest ms | failed | memory MB |");
    println!("|---|---|---|---|---|---|---|---|");
    for (name, kind) in [("recommend", Kind::Recommend), ("draw", Kind::Draw)] {
        for clients in clients.split(',').map(|n| n.parse().unwrap()) {
            let line = measure(
                serving.address(),
                kind,
                clients,
                Duration::from_secs_f64(seconds),
            );
            println!("| {name} | {clients} | {line} | {} |", memory());
        }
    }
    serving.stop().unwrap();
}

fn untrained(catalog: &Catalog, device: &Device) -> Model {
    let special_tokens = ["<bos>", "<user>", "<assistant>", "<seen>", "<rec>", "<eos>"];
    let config = TrainConfig {
        vocab_size: 8192,
        special_tokens: special_tokens.map(str::to_string).to_vec(),
        ..TrainConfig::default()
    };
    let lines: Vec<String> = catalog
        .iter()
        .map(|(_, item)| format!("{}\n", item.item()))
        .collect();
    let tokenizer = TextTokenizer::train(lines.iter(), &config).unwrap();
    let format = TaskFormat {
        prompts: Prompts::Marked(PromptFormat::default()),
        n_ranks: 20,
        max_new_tokens: 1024,
    };
    let shape = ModelConfig::small(tokenizer.vocab_size(), 256, 4, 4);
    let policy = Policy::new(&shape, 1, device).unwrap();
    Model {
        policy,
        language: Language::small(tokenizer, format),
    }
}

fn body(kind: Kind, seed: usize) -> (&'static str, String) {
    match kind {
        Kind::Recommend => {
            let turn = |role: &str, content: String| json!({ "role": role, "content": content });
            let turns = [
                turn(
                    "user",
                    format!("Hi, I am number {seed}, and I look for something to watch tonight."),
                ),
                turn("assistant", "What did you like lately?".into()),
                turn(
                    "user",
                    "I loved Heat (1995), and I like thrillers with a good cast.".into(),
                ),
            ];
            ("/v1/recommend", json!({ "messages": turns }).to_string())
        }
        Kind::Draw => {
            let body = json!({ "prompt": [1, 2, 3], "seen": [], "seed": seed });
            ("/v1/completions", body.to_string())
        }
    }
}

fn measure(address: SocketAddr, kind: Kind, clients: usize, time: Duration) -> String {
    let started = Instant::now();
    let found: Vec<(Vec<f64>, usize)> = std::thread::scope(|scope| {
        let client = |n: usize| {
            scope.spawn(move || {
                let mut connection: Option<BufReader<TcpStream>> = None;
                let (mut times, mut failed, mut asked) = (vec![], 0, 0);
                while started.elapsed() < time {
                    let (path, body) = body(kind, n * 100_000 + asked);
                    asked += 1;
                    let began = Instant::now();
                    let stream = connection
                        .take()
                        .or_else(|| TcpStream::connect(address).ok().map(BufReader::new));
                    match stream.and_then(|stream| ask(stream, path, &body)) {
                        Some((stream, 200)) => {
                            times.push(began.elapsed().as_secs_f64() * 1e3);
                            connection = Some(stream);
                        }
                        Some((stream, _)) => {
                            failed += 1;
                            connection = Some(stream);
                        }
                        None => failed += 1,
                    }
                }
                (times, failed)
            })
        };
        let clients: Vec<_> = (0..clients).map(client).collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    let took = started.elapsed().as_secs_f64();
    let failed: usize = found.iter().map(|(_, failed)| failed).sum();
    let mut times: Vec<f64> = found.into_iter().flat_map(|(times, _)| times).collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| {
        times
            .get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    };
    let rate = times.len() as f64 / took;
    format!(
        "{rate:.1} | {:.0} | {:.0} | {:.0} | {failed}",
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

/// The status of an answer on a connection that is kept.
fn ask(
    mut stream: BufReader<TcpStream>,
    path: &str,
    body: &str,
) -> Option<(BufReader<TcpStream>, u16)> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.get_mut().write_all(head.as_bytes()).ok()?;
    let (mut line, mut status, mut length) = (String::new(), 0, 0);
    loop {
        line.clear();
        stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.starts_with("http/") {
            status = line.split(' ').nth(1)?.parse().ok()?;
        } else if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        } else if line.is_empty() {
            break;
        }
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).ok()?;
    Some((stream, status))
}

/// What the process holds in memory, in megabytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}
