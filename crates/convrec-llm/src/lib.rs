//! Chat models, embeddings and completions behind an OpenAI-compatible HTTP interface.
//!
//! Any server that speaks the protocol will do: OpenAI's, vLLM, Ollama, llama.cpp. The
//! [settings](ServerSettings) of a [`Server`] limit its requests in rate, time and cost.
//! [`HttpChat`] and [`HttpEmbedder`] are models on it. The answers of a chat model are written to a
//! [`Ledger`] before they are used. A run that was stopped, killed or out of budget therefore goes
//! on where it was:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::sync::Arc;
//!
//! use convrec_services::{ChatModel, ChatRequest};
//! use convrec_core::Turn;
//! use convrec_llm::{ChatSettings, HttpChat, Ledger, Server, ServerSettings};
//!
//! // A server that gives one answer and is gone.
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let base_url = format!("http://{}/v1", listener.local_addr()?);
//! std::thread::spawn(move || {
//!     let (mut stream, _) = listener.accept().unwrap();
//!     let body = r#"{"choices": [{"message": {"content": "1. Heat (1995)"}}]}"#;
//!     let mut request = [0; 4096];
//!     stream.read(&mut request).unwrap();
//!     write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
//! });
//!
//! let folder = tempfile::tempdir()?;
//! let ledger = Arc::new(Ledger::open(folder.path().join("ledger.jsonl"))?);
//! let settings = ServerSettings { base_url, ..ServerSettings::default() };
//! let server = Arc::new(Server::new(settings, Arc::default())?);
//! let settings = ChatSettings { model: "some-model".into(), ..ChatSettings::default() };
//! let model = HttpChat::new(settings, server, ledger)?;
//!
//! let request = ChatRequest { turns: vec![Turn::user("Bank robbers!")], max_tokens: 100 };
//! for _ in 0..2 {
//!     let answers = model.answer(&[request.clone()], &|_| ());
//!     assert_eq!(answers[0].as_ref().map(|answer| &*answer.text), Ok("1. Heat (1995)"));
//! }
//! assert_eq!((model.usage().sent, model.usage().from_ledger), (1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Settings are made to be tables of a TOML file; the example `ask` reads these two:
//!
//! ```toml
//! [server]
//! base_url = "http://localhost:8000/v1"
//! concurrency = 32
//! budget = { max_cost = 20.0 }
//!
//! [chat]
//! model = "some-model"
//! temperature = 0.0
//! price = { input = 0.15, output = 0.60 } # for a million tokens
//! ```
//!
//! # Promises
//!
//! - **A kept answer is not paid again.** A request whose answer is in the ledger is not sent, by
//!   any run. An answer that is under way when the process is killed or the connection breaks may
//!   have been billed, and is asked for again. At a kill these are at most as many as requests may
//!   be under way (`concurrency`).
//! - **A failure stays alone.** A request to a chat model fails by itself and says why; the others
//!   are answered. Where an answer cannot be kept, as on a full disk, nothing more is asked, and no
//!   half-written line stays. A damaged ledger is not opened. A record that is damaged later fails
//!   its request alone. [`HttpEmbedder`] fails as a whole where one of its batches fails; the
//!   `CachedEmbedder` of `convrec-demonstrations` keeps the others.
//! - **The budget holds.** The most that a request may cost is set aside before it is sent
//!   ([`Budget`]).
//! - **The key stays secret.** It is in no debug output, error or ledger, even where a server
//!   repeats it. It is recognised whole, in part (from 8 characters on), reversed, in capitals, in
//!   base64 and as hexadecimal digits. Where a key was sent, errors show a server's own words about
//!   a failure only with [`show_replies`](ServerSettings::show_replies). The HTTP client leaves the
//!   key out of its log messages up to the level `debug`. At `trace` it dumps all that it sends, so
//!   a program that installs a logger keeps `ureq_proto` below that.
//! - **Partial answers are counted.** [`Usage::cut`] and [`Usage::filtered`] count the answers that
//!   were cut at the limit of tokens or stopped by a content filter. Reasoning in a field of its
//!   own (`reasoning_content`) is no part of an answer.
//!
//! [`BatchWriter`] and [`read_results`] do the same through a provider's batch files.
//!
//! # Rollouts
//!
//! [`HttpCompletions`] samples for a trainer: token ids in, token ids with log-probabilities out.
//! Several servers share the work and load new weights from folders. Rate limits, budget, retries
//! and stops are the same. There is no ledger, as each sample is used once. `docs/rollouts.md` says
//! how vLLM, SGLang and the example `serve` are started for it.

mod batch;
mod batch_results;
mod canonical;
mod chat;
mod completion;
mod completions;
mod completions_response;
mod completions_settings;
mod dispatch;
mod embedder;
mod halt;
mod ledger;
mod lenient;
mod meter;
mod model_settings;
mod rate_limiter;
mod response;
mod secret;
mod server;
mod settings;
mod unasked;
mod usage;
mod weights;

pub use batch::{BatchError, BatchFiles, BatchLimits, BatchWriter};
pub use batch_results::{BatchReport, read_results};
pub use canonical::RequestKey;
pub use chat::HttpChat;
pub use completions::{HttpCompletions, Prompt, Sampled};
pub use completions_response::SampledCompletion;
pub use completions_settings::CompletionsSettings;
pub use embedder::HttpEmbedder;
pub use ledger::{Ledger, Record};
pub use model_settings::{ChatSettings, EmbedderSettings, MaxTokensField};
pub use server::Server;
pub use settings::{Budget, ServerSettings};
pub use usage::{Price, Tokens, Usage};
pub use weights::{UpdateCall, WeightFolders, WeightUpdate};
