use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use convrec_cloning::{ChatModel, ChatRequest, Done, ServiceError};
use convrec_core::jsonl::{self, Check};
use convrec_core::{append, files};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::RequestKey;
use crate::chat::now;
use crate::completion::{Completion, body};
use crate::ledger::{Ledger, Record};
use crate::reply::shorten;
use crate::settings::{ChatSettings, SettingsError};

/// Records that go to the disk together while results are read.
const KEPT_TOGETHER: usize = 1000;

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
/// [`write`](Self::write) has what to send, [`read_results`] takes what comes back, and the same run with either of the two
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
struct RequestLine {
    custom_id: String,
    method: String,
    url: String,
    body: Value,
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

/// A line of a file of results or of errors.
#[derive(Deserialize)]
struct ResultLine {
    custom_id: String,
    response: Option<Response>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Response {
    status_code: u16,
    body: Value,
}

impl Check for RequestLine {
    fn check(&self) -> Result<(), (&'static str, String)> {
        self.custom_id.parse::<RequestKey>().map(|_| ()).map_err(|problem| ("custom_id", problem))
    }
}

impl Check for ResultLine {
    fn check(&self) -> Result<(), (&'static str, String)> {
        match (&self.response, &self.error) {
            (None, None) => Err(("response", "neither a response nor an error".into())),
            _ => Ok(()),
        }
    }
}

/// What came back from a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchReport {
    /// Answers that are new in the ledger.
    pub kept: usize,
    /// Answers to requests that had one already, and were left out.
    pub repeated: usize,
    /// Requests that failed, with what the provider says.
    pub failed: Vec<(RequestKey, String)>,
    /// Ids that no request has.
    pub unknown: Vec<String>,
    /// Requests without answer or failure.
    pub missing: Vec<RequestKey>,
}

/// `12 answers kept, 1 repeated, 2 failed (the first: ...), 0 of unknown requests, 3 missing`.
impl fmt::Display for BatchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.failed.first().map(|(key, problem)| format!(" (the first: {key}: {problem})"));
        write!(f, "{} answers kept, {} repeated, ", self.kept, self.repeated)?;
        write!(f, "{} failed{}, ", self.failed.len(), first.unwrap_or_default())?;
        write!(f, "{} of unknown requests, {} missing", self.unknown.len(), self.missing.len())
    }
}

/// Puts the answers of the provider's files of results and errors into the ledger, checked against the files of requests.
///
/// # Errors
/// When a file cannot be read, a line is not what such a file holds, a request was changed, or the ledger cannot be
/// written. What was kept before stays, and reading again goes on from there.
pub fn read_results(
    ledger: &Ledger,
    requests: &[impl AsRef<Path>],
    results: &[impl AsRef<Path>],
) -> Result<BatchReport, BatchError> {
    let mut asked = BTreeMap::new();
    for file in requests {
        for RequestLine { custom_id, body, .. } in jsonl::read_file::<RequestLine>(file)? {
            let key = RequestKey::of(&body);
            if key.to_string() != custom_id {
                return Err(BatchError::Changed { file: file.as_ref().into(), id: custom_id });
            }
            let model = body.get("model").and_then(Value::as_str).unwrap_or_default();
            asked.insert(key, (model.to_string(), body.to_string().len()));
        }
    }
    let (mut report, mut answered, mut failed) = (BatchReport::default(), BTreeSet::new(), BTreeMap::new());
    for file in results {
        let mut records = Vec::new();
        for line in jsonl::read_file::<ResultLine>(file)? {
            let known = line.custom_id.parse().ok().and_then(|key| Some((key, asked.get(&key)?)));
            let Some((key, (model, sent))) = known else {
                report.unknown.push(line.custom_id);
                continue;
            };
            match read_result(&line, *sent) {
                Err(problem) => {
                    failed.insert(key, problem);
                }
                Ok(_) if ledger.contains(&key) || answered.contains(&key) => report.repeated += 1,
                Ok(Completion { text, finish, tokens }) => {
                    answered.insert(key);
                    records.push(Record { key, model: model.clone(), time: now(), tokens, finish, text });
                }
            }
        }
        report.kept += records.len();
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            ledger.keep(records.by_ref().take(KEPT_TOGETHER))?;
        }
    }
    // Who failed in one file and was answered in another is answered.
    let open = |key: &RequestKey| !ledger.contains(key);
    report.failed = failed.into_iter().filter(|(key, _)| open(key)).collect();
    let has_failed: BTreeSet<_> = report.failed.iter().map(|(key, _)| *key).collect();
    report.missing = asked.into_keys().filter(|key| open(key) && !has_failed.contains(key)).collect();
    Ok(report)
}

fn read_result(line: &ResultLine, sent: usize) -> Result<Completion, String> {
    match (&line.response, &line.error) {
        (Some(Response { status_code: 200, body }), None) => Completion::read(body.to_string().as_bytes(), sent)
            .map_err(|e| format!("{e}, in: {}", shorten(&body.to_string()))),
        (Some(Response { status_code, body }), None) => {
            Err(format!("status {status_code}: {}", shorten(&body.to_string())))
        }
        (_, Some(error)) => Err(shorten(&error.to_string())),
        (None, None) => unreachable!("the line was checked"),
    }
}
