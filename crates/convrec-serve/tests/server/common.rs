//! A tiny model, and how it is asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_core::CatalogItem;
use convrec_policy::{ModelConfig, Policy};
use convrec_serve::{EngineLimits, Limits, Server, ServerConfig, Serving};
use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};
use convrec_train::{Language, Model, Prompts, Task, TaskFormat};
use serde_json::Value;

pub const N_RANKS: usize = 2;

/// Of operators, and the value of an environment variable that every test has: clients read keys
/// from the environment alone.
pub const ADMIN: &str = env!("CARGO_PKG_NAME");

pub fn language() -> Language {
    let special_tokens: Vec<String> =
        ["<bos>", "<user>", "<assistant>", "<seen>", "<rec>", "<eos>"]
            .map(str::to_string)
            .to_vec();
    let config = TrainConfig {
        vocab_size: 256 + special_tokens.len(),
        special_tokens,
        ..TrainConfig::default()
    };
    let tokenizer = TextTokenizer::train(["a"].iter(), &config).unwrap();
    let format = TaskFormat {
        prompts: Prompts::Marked(PromptFormat::default()),
        n_ranks: N_RANKS,
        max_new_tokens: 60,
    };
    Language::small(tokenizer, format)
}

pub fn policy(seed: u64) -> Policy {
    Policy::new(&ModelConfig::small(262, 32, 2, 2), seed, &Device::flex()).unwrap()
}

pub fn item(title: &str, year: i32, genre: &str) -> CatalogItem {
    CatalogItem {
        title: title.into(),
        year: Some(year),
        genres: vec![genre.into()],
        metadata: String::new(),
    }
}

pub fn catalog() -> Catalog {
    let items = [
        item("Heat", 1995, "Crime"),
        item("Up", 2009, "Animation"),
        item("Alien", 1979, "Horror"),
        item("Alien 3", 1992, "Horror"),
        item("Her", 2013, "Drama"),
    ];
    Catalog::new(items.to_vec()).unwrap()
}

pub fn task() -> Task {
    language().task(catalog()).unwrap()
}

pub fn config() -> ServerConfig {
    ServerConfig::new("policy")
        .admin_keys([ADMIN.to_string()])
        .engine(EngineLimits {
            rows: 64,
            ..EngineLimits::default()
        })
}

/// Limits under which a test need not wait.
pub fn impatient() -> Limits {
    let short = Duration::from_millis(700);
    Limits {
        header_time: short,
        body_time: short,
        stall_time: short,
        ..Limits::default()
    }
}

pub fn start_with(seed: u64, catalog: Option<Catalog>, config: ServerConfig) -> Serving {
    let model = Model {
        policy: policy(seed),
        language: language(),
    };
    let server = Server::new(model, catalog, Device::flex(), config).unwrap();
    server
        .start(TcpListener::bind("127.0.0.1:0").unwrap())
        .unwrap()
}

pub fn start(seed: u64, catalog: Option<Catalog>) -> Serving {
    start_with(seed, catalog, config())
}

/// A server that loads weights from below a folder.
pub fn start_below(seed: u64, weights: &Path, catalog: Option<Catalog>) -> Serving {
    start_with(seed, catalog, config().weights(weights))
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub fn message(&self) -> String {
        self.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_string()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let name = format!("{name}:");
        let line = |line: &&str| line.to_ascii_lowercase().starts_with(&name);
        self.head
            .lines()
            .find(line)
            .map(|line| line[name.len()..].trim())
    }

    /// The data of the events of a stream.
    pub fn events(&self) -> Vec<Value> {
        let data = self
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data:"));
        data.map(str::trim)
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }
}

/// Sends a request and reads all of the answer. The connection is closed.
pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build(),
    );
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut reply = match body.is_empty() && method != "POST" {
        true => agent.run(request.body(()).unwrap()),
        false => agent.run(request.body(body).unwrap()),
    }
    .unwrap();
    let head = reply
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or_default()));
    let head: String = head.collect();
    Answer {
        status: reply.status().as_u16(),
        head,
        body: reply.body_mut().read_to_string().unwrap(),
    }
}

pub fn get(serving: &Serving, path: &str) -> Answer {
    ask(serving.address(), "GET", path, &[], b"")
}

const JSON: (&str, &str) = ("content-type", "application/json");

pub fn post_bytes(serving: &Serving, path: &str, body: &[u8]) -> Answer {
    ask(serving.address(), "POST", path, &[JSON], body)
}

pub fn post(serving: &Serving, path: &str, body: &Value) -> Answer {
    post_bytes(serving, path, body.to_string().as_bytes())
}

/// As an operator.
pub fn operate(serving: &Serving, path: &str, body: &Value) -> Answer {
    let key = format!("Bearer {ADMIN}");
    let headers = [JSON, ("authorization", key.as_str())];
    ask(
        serving.address(),
        "POST",
        path,
        &headers,
        body.to_string().as_bytes(),
    )
}

/// An answer without the probabilities of its items, which are the same to rounding alone where a
/// prompt is known from before.
pub fn without_scores(answer: &Value) -> Value {
    match answer {
        Value::Array(all) => all.iter().map(without_scores).collect(),
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| *name != "score");
            let kept = kept.map(|(name, value)| (name.clone(), without_scores(value)));
            Value::Object(kept.collect())
        }
        other => other.clone(),
    }
}

/// Sends bytes as they are, and reads what comes until the end or for a while.
pub fn raw(address: SocketAddr, bytes: &[u8], wait: Duration) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(wait)).unwrap();
    stream.set_write_timeout(Some(wait)).unwrap();
    // The server may close before it has read all.
    let _ = stream.write_all(bytes);
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Whether the server answers at all, with a list.
pub fn is_well(serving: &Serving) -> bool {
    let body = serde_json::json!({ "messages": [{ "role": "user", "content": "hi" }] });
    get(serving, "/health").status == 200
        && post(serving, "/v1/chat/completions", &body).status == 200
}
