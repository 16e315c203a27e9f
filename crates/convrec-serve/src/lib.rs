//! A recommender behind HTTP: lists that cannot leave the catalog, in OpenAI's protocol and in one
//! of its own, with a page to talk to.
//!
//! | endpoint | |
//! |---|---|
//! | `GET /` | a page: a conversation, its list, and what else could have been in it |
//! | `POST /v1/chat/completions` | a conversation; the answer is a list, whole or item by item as it is written |
//! | `POST /v1/recommend` | the same as items with probabilities, under constraints: `seen`, `exclude`, `only`, `quotas`; several lists by beam search or drawn without replacement |
//! | `POST /v1/completions` | prompts as token ids or texts, `n`, `seed`, `temperature`, `logprobs`; with `seen` lists that cannot leave the catalog |
//! | `GET /v1/models`, `GET /v1/models/{id}`, `GET /v1/items?q=` | the model, the catalog |
//! | `POST /admin/reload` | new weights of the same shape, another catalog, or items more or fewer; for operators |
//! | `GET /health`, `GET /ready`, `GET /metrics` | for who watches |
//!
//! ```
//! use std::net::TcpListener;
//!
//! use burn::tensor::Device;
//! use convrec_catalog::Catalog;
//! use convrec_core::jsonl;
//! use convrec_policy::{ModelConfig, Policy};
//! use convrec_serve::{Server, ServerConfig};
//! use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};
//! use convrec_train::{Language, Model, Prompts, TaskFormat};
//!
//! // A tiny model that knows nothing; `Model::load` reads a trained one.
//! let special_tokens = ["<bos>", "<user>", "<assistant>", "<seen>", "<rec>", "<eos>"];
//! let special_tokens: Vec<String> = special_tokens.map(str::to_string).to_vec();
//! let config = TrainConfig { vocab_size: 262, special_tokens, ..TrainConfig::default() };
//! let tokenizer = TextTokenizer::train(["a"].iter(), &config)?;
//! let format = TaskFormat { prompts: Prompts::Marked(PromptFormat::default()), n_ranks: 2, max_new_tokens: 60 };
//! let device = Device::flex();
//! let policy = Policy::new(&ModelConfig::small(262, 32, 2, 2), 1, &device)?;
//! let model = Model { policy, language: Language::small(tokenizer, format) };
//!
//! let films = "{\"title\": \"Heat\", \"year\": 1995}\n{\"title\": \"Up\", \"year\": 2009}\n{\"title\": \"Her\", \"year\": 2013}\n";
//! let catalog = Catalog::new(jsonl::read(films.as_bytes(), "films.jsonl")?)?;
//! let server = Server::new(model, Some(catalog), device, ServerConfig::new("films"))?;
//! let serving = server.start(TcpListener::bind("127.0.0.1:0")?)?;
//!
//! let url = format!("http://{}/v1/recommend", serving.address());
//! let asked = r#"{"messages": [{"role": "user", "content": "I loved Heat (1995)."}]}"#;
//! let answer = ureq::post(url).header("Content-Type", "application/json").send(asked)?.body_mut().read_to_string()?;
//! assert!(answer.contains("Up") && answer.contains("Her"));
//! serving.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is drawn depends on the request alone, not on what else is asked at the time
//! (log-probabilities to rounding). Requests that are under way when weights or a catalog change
//! finish on the old ones. There is no encryption: a proxy has it.

mod asked;
mod config;
mod deployment;
mod error;
mod http;
mod listing;
mod log;
mod metrics;
mod object;
mod page;
mod protocol;
mod pulse;
mod refusal;
mod server;
mod state;
mod worker;

pub use config::{Limits, ServerConfig};
pub use convrec_kernels::PackedType;
pub use convrec_policy::EngineLimits;
pub use error::ServeError;
pub use server::{Server, Serving, serve};

/// Reads a request's body as an endpoint would, for tests that look for bodies that do harm.
#[doc(hidden)]
pub fn read_bodies(bytes: &[u8]) {
    let _ = http::body::parse::<protocol::chat::Asking>(bytes);
    let _ = http::body::parse::<protocol::completions::Asking>(bytes);
    let _ = http::body::parse::<protocol::recommend::Asking>(bytes);
    let _ = http::body::parse::<protocol::admin::Asking>(bytes);
}
