use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use convrec_cloning::{ChatModel, ChatRequest, Done, ServiceError};
use convrec_core::jsonl::{self, Check};
use convrec_core::{append, files};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::RequestKey;
use crate::completion::body;
use crate::ledger::Ledger;
use crate::model_settings::ChatSettings;
use crate::settings::SettingsError;

/// How large a file of requests may be. The default is what OpenAI takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Requests in a file. 50,000.
    pub requests: usize,
    /// Bytes of a file. 200 million.
    pub bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { requests: 50_000, bytes: 200_000_000 }
    }
}

/// Why batch files could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A file cannot be read, or a line of it is bad.
    #[error(transparent)]
    Line(#[from] jsonl::Error),
    /// The ledger cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] append::Error),
    /// The folder holds requests that may be on their way already.
    #[error("{0} is there already; read its results first, or name another folder: its requests would be paid twice")]
    Exists(PathBuf),
    /// One request is larger than a file may be.
    #[error("a request of {bytes} bytes; expected at most {limit}, the bytes of a file")]
    TooLarge {
        /// Its line.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A request is not what its id says.
    #[error("{file}: the request `{id}` was changed after it was written; expected its id to be the hash of its body")]
    Changed {
        /// The file.
        file: PathBuf,
        /// Its `custom_id`.
        id: String,
    },
}

/// A chat model that only collects: what the ledger lacks goes into files for the provider's batch interface.
///
/// A run with it in place of an [`HttpChat`](crate::HttpChat) of the same settings fails for want of answers; then
/// [`write`](Self::write) has what to send, [`read_results`](crate::read_results) takes what comes back, and the same run with either of the two
/// finds its answers in the ledger.
#[derive(Debug)]
pub struct BatchWriter {
    settings: ChatSettings,
    ledger: Arc<Ledger>,
    /// The lines to write, by their keys.
    lines: Mutex<BTreeMap<RequestKey, String>>,
}

/// A line of a file of requests.
#[derive(Serialize, Deserialize)]
pub(crate) struct RequestLine {
    pub custom_id: String,
    pub method: String,
    pub url: String,
    pub body: Value,
}

impl Check for RequestLine {
    fn check(&self) -> Result<(), (&'static str, String)> {
        self.custom_id.parse::<RequestKey>().map(|_| ()).map_err(|problem| ("custom_id", problem))
    }
}

impl BatchWriter {
    /// Collects for the model that `settings` name.
    ///
    /// # Errors
    /// The field that is wrong, and what was found and expected.
    pub fn new(settings: ChatSettings, ledger: Arc<Ledger>) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self { settings, ledger, lines: Mutex::default() })
    }

    /// Writes what was collected to `requests-0001.jsonl` and so on in `folder`, and forgets it.
    ///
    /// # Errors
    /// When such a file is there already, cannot be written, or a request alone is too large for one.
    pub fn write(&self, folder: impl AsRef<Path>, limits: BatchLimits) -> Result<Vec<PathBuf>, BatchError> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts: Vec<(usize, Vec<&str>)> = Vec::new();
        for line in lines.values() {
            let bytes = line.len() + 1;
            if bytes > limits.bytes {
                return Err(BatchError::TooLarge { bytes, limit: limits.bytes });
            }
            match parts.last_mut().filter(|(size, part)| size + bytes <= limits.bytes && part.len() < limits.requests) {
                Some((size, part)) => {
                    *size += bytes;
                    part.push(line);
                }
                None => parts.push((bytes, vec![line])),
            }
        }
        let path = |index: usize| folder.as_ref().join(format!("requests-{:04}.jsonl", index + 1));
        if path(0).exists() {
            return Err(BatchError::Exists(path(0)));
        }
        for (index, (_, part)) in parts.iter().enumerate() {
            files::write_atomic(path(index), |out| part.iter().try_for_each(|line| writeln!(out, "{line}")))?;
        }
        let paths = (0..parts.len()).map(path).collect();
        lines.clear();
        Ok(paths)
    }

    fn answer_one(&self, request: &ChatRequest) -> Result<String, String> {
        let body = body(&self.settings, request);
        let key = RequestKey::of(&body);
        if let Some(record) = self.ledger.get(&key).map_err(|error| error.to_string())? {
            return Ok(record.text);
        }
        let (method, url) = ("POST".into(), "/v1/chat/completions".into());
        let line = RequestLine { custom_id: key.to_string(), method, url, body };
        let line = serde_json::to_string(&line).expect("strings and numbers are JSON");
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).insert(key, line);
        Err("collected for a batch file; the answer is there when its results are read".into())
    }
}

impl ChatModel for BatchWriter {
    fn name(&self) -> String {
        format!("{} by batch files", self.settings.model)
    }

    fn answer(&self, requests: &[ChatRequest], done: Done<'_>) -> Vec<Result<String, ServiceError>> {
        let answers = requests.iter().map(|request| {
            let answer = self.answer_one(request);
            done(1);
            answer.map_err(|problem| ServiceError::new(self.name(), problem))
        });
        answers.collect()
    }
}
