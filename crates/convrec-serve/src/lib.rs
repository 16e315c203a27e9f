//! A policy behind HTTP, in the OpenAI protocol: completions from token ids for a trainer that
//! samples elsewhere, and recommendations from a conversation for everybody else.
//!
//! | endpoint | |
//! |---|---|
//! | `POST /v1/completions` | several prompts as token ids or texts, `n`, `seed`, `temperature`, `logprobs`; with `seen` lists that cannot leave the catalog |
//! | `POST /v1/chat/completions` | a conversation; the answer is the list, and `items` are its items |
//! | `GET /v1/models`, `GET /health` | |
//! | `POST /reload` | `{"path": ...}`: new weights of the same shape; answers once they are in use |
//!
//! What is drawn depends on the request alone, not on what else is asked at the time
//! (log-probabilities to rounding). There are no keys and no encryption: it is made for one's own
//! machines, or to stand behind a server that has both.

mod chat;
mod completions;
mod engine;
mod http;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use convrec_policy::ModelConfig;
use convrec_train::{Language, Task};

pub use http::{Serving, serve};

/// All that is served but the weights.
pub struct Served {
    /// What clients call the model.
    pub name: String,
    /// Its tokenizer and its prompts.
    pub language: Language,
    /// Ends a completion where a request names no other.
    pub end_token: u32,
    /// Its shape.
    pub config: ModelConfig,
    /// The catalog and how lists from it are written; without it there are only unconstrained completions.
    pub task: Option<Task>,
    /// Folders of new weights must lie below this one; without it, none are loaded.
    pub weights: Option<PathBuf>,
    /// Completions that are sampled side by side at most.
    pub max_rows: usize,
}

/// Why a request is not answered: a status of HTTP and a text for people.
#[derive(Debug)]
struct Refusal {
    status: u16,
    message: String,
}

impl Refusal {
    /// The request is wrong.
    fn bad(message: impl Into<String>) -> Self {
        Self {
            status: 400,
            message: message.into(),
        }
    }
}

/// The field of a request is wrong.
fn bad_field(field: &str, problem: impl std::fmt::Display) -> Refusal {
    Refusal::bad(format!("field `{field}`: {problem}"))
}

/// Seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
