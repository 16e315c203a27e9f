use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use convrec_config::ConfigError;
use convrec_core::jsonl::{self, Check};
use convrec_core::{append, files};
use convrec_services::{ChatAnswer, ChatModel, ChatRequest, Done, ServiceError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::RequestKey;
use crate::chat::answer_of;
use crate::completion::body;
use crate::ledger::Ledger;
use crate::model_settings::ChatSettings;

/// The limits of a file of requests. The defaults are those of OpenAI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// The number of requests in a file. Default: 50,000.
    pub requests: usize,
    /// The bytes of a file. Default: 200 million.
    pub bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            requests: 50_000,
            bytes: 200_000_000,
        }
    }
}

/// Batch files could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// One request is larger than a file may be.
    #[error("a request of {bytes} bytes; expected at most {limit}, the bytes of a file")]
    TooLarge {
        /// The bytes of its line.
        bytes: usize,
        /// The bytes that are allowed.
        limit: usize,
    },
    /// A request is another one than its id says.
    #[error(
        "{file}: the request `{id}` was changed after it was written; expected its id to be the \
         hash of its body"
    )]
    Changed {
        /// The file.
        file: PathBuf,
        /// Its `custom_id`.
        id: String,
    },
}

/// A chat model that only collects requests. Requests without an answer in the ledger go into files
/// for the provider's batch interface.
///
/// Use it in place of an [`HttpChat`](crate::HttpChat) of the same settings. The run fails for want
/// of answers. Then [`write`](Self::write) writes the files to send, and
/// [`read_results`](crate::read_results) reads the results. The same run, with either of the two,
/// finds its answers in the ledger.
///
/// Answers may lead to further requests, as a teacher's lead to a judge's. Then there are several
/// such rounds, and one folder holds the files of all.
#[derive(Debug)]
pub struct BatchWriter {
    settings: ChatSettings,
    ledger: Arc<Ledger>,
    /// The lines to write, by their keys.
    lines: Mutex<BTreeMap<RequestKey, String>>,
}

/// The files that a [`BatchWriter`] has written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchFiles {
    /// The new files. There is none where there was nothing new.
    pub written: Vec<PathBuf>,
    /// The number of requests that an older file of the folder has already.
    pub skipped: usize,
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
        self.custom_id
            .parse::<RequestKey>()
            .map(|_| ())
            .map_err(|problem| ("custom_id", problem))
    }
}

impl BatchWriter {
    /// Collects requests for the model that `settings` name.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting that is wrong.
    pub fn new(settings: ChatSettings, ledger: Arc<Ledger>) -> Result<Self, ConfigError> {
        settings.check()?;
        Ok(Self {
            settings,
            ledger,
            lines: Mutex::default(),
        })
    }

    /// Writes the collected requests to `requests-0001.jsonl` and so on in `folder`, behind the
    /// files that are there, and forgets them.
    ///
    /// A request that a file of the folder has already is skipped: it may be on its way, and would
    /// be paid twice. A request that failed is asked again through another folder.
    ///
    /// # Errors
    /// [`BatchError::Line`] when a file of requests in the folder cannot be read,
    /// [`BatchError::File`] when one cannot be written, [`BatchError::TooLarge`] when one request
    /// is too large for a file.
    pub fn write(
        &self,
        folder: impl AsRef<Path>,
        limits: BatchLimits,
    ) -> Result<BatchFiles, BatchError> {
        let folder = folder.as_ref();
        let (mut last, mut known) = (0, BTreeSet::new());
        for (number, path) in request_files(folder)? {
            last = last.max(number);
            known.extend(
                jsonl::read_file::<RequestLine>(path)?
                    .into_iter()
                    .map(|line| line.custom_id),
            );
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<&String> = lines
            .iter()
            .filter(|(key, _)| !known.contains(&key.to_string()))
            .map(|(_, line)| line)
            .collect();
        let skipped = lines.len() - new.len();
        let mut parts: Vec<(usize, Vec<&str>)> = Vec::new();
        for line in new {
            let bytes = line.len() + 1;
            if bytes > limits.bytes {
                return Err(BatchError::TooLarge {
                    bytes,
                    limit: limits.bytes,
                });
            }
            match parts
                .last_mut()
                .filter(|(size, part)| size + bytes <= limits.bytes && part.len() < limits.requests)
            {
                Some((size, part)) => {
                    *size += bytes;
                    part.push(line);
                }
                None => parts.push((bytes, vec![line])),
            }
        }
        let mut written = Vec::with_capacity(parts.len());
        for (number, (_, part)) in (last + 1..).zip(parts) {
            let path = folder.join(format!("requests-{number:04}.jsonl"));
            files::write_atomic(&path, |out| {
                part.iter().try_for_each(|line| writeln!(out, "{line}"))
            })?;
            written.push(path);
        }
        lines.clear();
        Ok(BatchFiles { written, skipped })
    }

    fn answer_one(&self, request: &ChatRequest) -> Result<ChatAnswer, String> {
        let body = body(&self.settings, request);
        let key = RequestKey::of(&body);
        if let Some(record) = self.ledger.get(&key).map_err(|error| error.to_string())? {
            return Ok(answer_of(record));
        }
        let (method, url) = ("POST".into(), "/v1/chat/completions".into());
        let line = RequestLine {
            custom_id: key.to_string(),
            method,
            url,
            body,
        };
        let line = serde_json::to_string(&line).expect("strings and numbers are JSON");
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, line);
        Err("collected for a batch file; the answer is there when its results are read".into())
    }
}

/// The files of requests in a folder, which need not exist, with their numbers.
fn request_files(folder: &Path) -> Result<Vec<(usize, PathBuf)>, files::Error> {
    let failed = |error| files::Error::new("read", folder, error);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_str()
            .unwrap_or_default();
        let number = name
            .strip_prefix("requests-")
            .and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
        found.extend(number.map(|number| (number, path)));
    }
    Ok(found)
}

impl ChatModel for BatchWriter {
    fn name(&self) -> String {
        format!("{} by batch files", self.settings.model)
    }

    fn answer(
        &self,
        requests: &[ChatRequest],
        done: Done<'_>,
    ) -> Vec<Result<ChatAnswer, ServiceError>> {
        let answers = requests.iter().map(|request| {
            let answer = self.answer_one(request);
            done(1);
            answer.map_err(|problem| ServiceError::new(self.name(), problem))
        });
        answers.collect()
    }
}
