//! A server on the loopback that answers, or misbehaves as its script says.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use convrec_core::Turn;
use convrec_llm::{ChatSettings, HttpChat, Ledger, Server, ServerSettings};
use convrec_services::{ChatModel, ChatRequest, ServiceError};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A request as the server saw it.
pub struct Seen {
    /// The first line and the headers.
    pub head: String,
    pub body: Value,
    /// The SHA-256 of the body's bytes.
    pub hash: String,
    /// The number of times that this body came before.
    pub before: usize,
}

/// The server's reply to a request.
pub enum Reply {
    /// A good answer, which is counted.
    Answer(String),
    /// A status with headers (lines that end in `\r\n`) and a body.
    Text(u16, String, String),
    /// Breaks the connection.
    Reset,
    /// A body that comes byte by byte and never ends.
    Drip,
    /// Half of this body, and then the end.
    Cut(String),
    /// A body of so many bytes.
    Large(usize),
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Text(
            status,
            String::new(),
            json!({ "error": { "message": "a message" } }).to_string(),
        )
    }

    pub fn json(body: Value) -> Self {
        Self::Text(200, String::new(), body.to_string())
    }

    /// A completion that holds this text and says that it took 10 and 5 tokens.
    pub fn completion(content: &str) -> Self {
        let message = json!({ "role": "assistant", "content": content });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        Self::Answer(
            json!({ "choices": [choice], "usage": { "prompt_tokens": 10, "completion_tokens": 5 } }).to_string(),
        )
    }

    /// A completion without a text.
    pub fn empty() -> Self {
        Self::json(json!({ "choices": [{ "message": { "content": null } }] }))
    }
}

/// The answer of a working server to a prompt.
pub fn echo(prompt: &str) -> String {
    format!("You said: {prompt}")
}

/// The last message of a request.
pub fn prompt(body: &Value) -> &str {
    body["messages"].as_array().unwrap().last().unwrap()["content"]
        .as_str()
        .unwrap()
}

/// The ordinary answer.
pub fn echoed(seen: &Seen) -> Reply {
    Reply::completion(&echo(prompt(&seen.body)))
}

/// One of this many requests goes wrong.
const ONE_IN: u64 = 5;

/// The fault of this try of this request, one of 14, by chance but always the same.
pub fn fault(seen: &Seen) -> Option<u64> {
    let mut state = u64::from_str_radix(&seen.hash[..16], 16).unwrap()
        ^ (seen.before as u64).wrapping_mul(0x9e37_79b9);
    state = (state ^ (state >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state ^= state >> 29;
    state.is_multiple_of(ONE_IN).then_some(state / ONE_IN % 14)
}

#[derive(Default)]
struct Log {
    asked: HashMap<String, usize>,
    /// Bodies whose answers were sent whole.
    answered: HashMap<String, usize>,
    heads: Vec<String>,
}

pub struct TestServer {
    pub base_url: String,
    log: Arc<Mutex<Log>>,
}

impl TestServer {
    pub fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (log, script) = (Arc::<Mutex<Log>>::default(), Arc::new(script));
        let shared = log.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, script) = (shared.clone(), script.clone());
                // A client that goes away is no failure of the server.
                thread::spawn(move || serve(stream?, &log, &*script));
            }
        });
        Self { base_url, log }
    }

    /// Requests that came, with repetitions.
    pub fn requests(&self) -> usize {
        self.log.lock().unwrap().asked.values().sum()
    }

    /// How often each body (by its hash) was answered whole.
    pub fn answered(&self) -> HashMap<String, usize> {
        self.log.lock().unwrap().answered.clone()
    }

    /// How often each body came.
    pub fn asked(&self) -> HashMap<String, usize> {
        self.log.lock().unwrap().asked.clone()
    }

    /// The heads of all requests.
    pub fn heads(&self) -> Vec<String> {
        self.log.lock().unwrap().heads.clone()
    }
}

fn serve(
    stream: TcpStream,
    log: &Mutex<Log>,
    script: &dyn Fn(&Seen) -> Reply,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let start = head.len();
            if input.read_line(&mut head)? == 0 {
                return Ok(());
            }
            let line = head[start..].trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut bytes = vec![0; length];
        input.read_exact(&mut bytes)?;
        let hash: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let before = {
            let mut log = log.lock().unwrap();
            log.heads.push(head.clone());
            let asked = log.asked.entry(hash.clone()).or_default();
            *asked += 1;
            *asked - 1
        };
        let seen = Seen {
            head,
            body: serde_json::from_slice(&bytes).unwrap(),
            hash: hash.clone(),
            before,
        };
        let mut reply = script(&seen);
        if let Reply::Answer(body) = reply {
            // It is counted before it is sent, as a test may ask for the count right after.
            *log.lock().unwrap().answered.entry(hash).or_default() += 1;
            reply = Reply::Text(200, String::new(), body);
        }
        match reply {
            Reply::Answer(_) => unreachable!("it became a text"),
            Reply::Text(status, headers, body) => {
                let head = format!(
                    "HTTP/1.1 {status} Status\r\n{headers}content-length: {}\r\n\r\n",
                    body.len()
                );
                out.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
            }
            // The connection ends without a byte of an answer. Later bytes of the client meet a
            // closed port.
            Reply::Reset => return Ok(()),
            Reply::Drip => {
                out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")?;
                loop {
                    out.write_all(b" ")?;
                    thread::sleep(Duration::from_millis(20));
                }
            }
            Reply::Cut(body) => {
                write!(
                    out,
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}",
                    body.len(),
                    &body[..body.len() / 2]
                )?;
                return Ok(());
            }
            Reply::Large(bytes) => {
                write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n")?;
                let part = [b'x'; 1 << 16];
                (0..bytes / part.len()).try_for_each(|_| out.write_all(&part))?;
                return Ok(());
            }
        }
    }
}

/// Settings that lose no time.
pub fn quick(server: &TestServer) -> ServerSettings {
    ServerSettings {
        base_url: server.base_url.clone(),
        api_key_env: "CONVREC_TEST_NO_KEY".into(),
        timeout: 5.0,
        first_delay: 0.002,
        max_delay: 0.05,
        max_retry_after: 0.05,
        ..ServerSettings::default()
    }
}

pub fn chat_settings() -> ChatSettings {
    ChatSettings {
        model: "test-model".into(),
        temperature: Some(0.0),
        ..ChatSettings::default()
    }
}

pub fn model(settings: ServerSettings, ledger: &Arc<Ledger>) -> HttpChat {
    let server = Server::new(settings, Arc::default()).unwrap();
    HttpChat::new(chat_settings(), Arc::new(server), ledger.clone()).unwrap()
}

pub fn request(text: impl Into<String>) -> ChatRequest {
    ChatRequest {
        turns: vec![Turn::user(text)],
        max_tokens: 64,
    }
}

pub fn requests(n: usize) -> Vec<ChatRequest> {
    (0..n).map(|i| request(format!("prompt {i}"))).collect()
}

pub fn ask(model: &HttpChat, requests: &[ChatRequest]) -> Vec<Result<String, ServiceError>> {
    let answers = model.answer(requests, &|_| ()).into_iter();
    answers.map(|answer| Ok(answer?.text)).collect()
}

/// Asks one prompt that must fail, and returns the error's text.
pub fn fails(model: &HttpChat, text: &str) -> String {
    ask(model, &[request(text)])
        .remove(0)
        .unwrap_err()
        .to_string()
}

pub fn new_ledger() -> (tempfile::TempDir, Arc<Ledger>) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path().join("ledger.jsonl")).unwrap();
    (folder, Arc::new(ledger))
}
