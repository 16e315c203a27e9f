use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use convrec_core::jsonl::{self, Check};
use serde::Deserialize;
use serde_json::Value;

use crate::RequestKey;
use crate::batch::{BatchError, RequestLine};
use crate::chat::now;
use crate::completion::{Completion, End};
use crate::ledger::{Ledger, Record};
use crate::response::shorten;

/// Records that go to the disk together while results are read.
const KEPT_TOGETHER: usize = 1000;

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

impl Check for ResultLine {
    fn check(&self) -> Result<(), (&'static str, String)> {
        match (&self.response, &self.error) {
            (None, None) => Err(("response", "neither a response nor an error".into())),
            _ => Ok(()),
        }
    }
}

/// The outcome of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BatchReport {
    /// The number of answers that are new in the ledger.
    pub kept: usize,
    /// The number of new answers that were cut at the limit of tokens (`finish_reason` is
    /// `length`).
    pub cut: usize,
    /// The number of new answers that a content filter stopped (`finish_reason` is
    /// `content_filter`).
    pub filtered: usize,
    /// The number of answers to requests that had one already. They were left out.
    pub repeated: usize,
    /// The requests that failed, with the reason that the provider gives.
    pub failed: Vec<(RequestKey, String)>,
    /// The ids that no request has.
    pub unknown: Vec<String>,
    /// The requests without an answer or a failure.
    pub missing: Vec<RequestKey>,
}

/// `12 answers kept, 1 repeated, 2 failed (the first: ...), 0 of unknown requests, 3 missing`.
impl fmt::Display for BatchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self
            .failed
            .first()
            .map(|(key, problem)| format!(" (the first: {key}: {problem})"));
        write!(f, "{} answers kept, ", self.kept)?;
        if self.cut > 0 {
            write!(f, "{} of them cut (finish_reason `length`), ", self.cut)?;
        }
        if self.filtered > 0 {
            write!(
                f,
                "{} of them filtered (finish_reason `content_filter`), ",
                self.filtered
            )?;
        }
        write!(f, "{} repeated, ", self.repeated)?;
        write!(
            f,
            "{} failed{}, ",
            self.failed.len(),
            first.unwrap_or_default()
        )?;
        write!(
            f,
            "{} of unknown requests, {} missing",
            self.unknown.len(),
            self.missing.len()
        )
    }
}

/// Puts the answers of the provider's files of results and errors into the ledger, checked against
/// the files of requests.
///
/// # Errors
/// [`BatchError::Line`] when a file cannot be read or a line is bad, [`BatchError::Changed`] when a
/// request was changed, [`BatchError::Ledger`] when the ledger cannot be written. Kept answers
/// stay, and reading again goes on from there.
pub fn read_results(
    ledger: &Ledger,
    requests: &[impl AsRef<Path>],
    results: &[impl AsRef<Path>],
) -> Result<BatchReport, BatchError> {
    let mut asked = BTreeMap::new();
    for file in requests {
        for RequestLine {
            custom_id, body, ..
        } in jsonl::read_file::<RequestLine>(file)?
        {
            let key = RequestKey::of(&body);
            if key.to_string() != custom_id {
                return Err(BatchError::Changed {
                    file: file.as_ref().into(),
                    id: custom_id,
                });
            }
            let model = body
                .get("model")
                .and_then(Value::as_str)
                .unwrap_or_default();
            asked.insert(key, (model.to_string(), body.to_string().len()));
        }
    }
    let (mut report, mut answered, mut failed) =
        (BatchReport::default(), BTreeSet::new(), BTreeMap::new());
    for file in results {
        let mut records = Vec::new();
        for line in jsonl::read_file::<ResultLine>(file)? {
            let known = line
                .custom_id
                .parse()
                .ok()
                .and_then(|key| Some((key, asked.get(&key)?)));
            let Some((key, (model, sent))) = known else {
                report.unknown.push(line.custom_id);
                continue;
            };
            match read_result(&line, *sent) {
                Err(problem) => {
                    failed.insert(key, problem);
                }
                Ok(_) if ledger.contains(&key) || answered.contains(&key) => report.repeated += 1,
                Ok(Completion {
                    text,
                    finish,
                    tokens,
                }) => {
                    answered.insert(key);
                    match End::of(finish.as_deref()) {
                        None => {}
                        Some(End::Cut) => report.cut += 1,
                        Some(End::Filtered) => report.filtered += 1,
                    }
                    records.push(Record {
                        key,
                        model: model.clone(),
                        time: now(),
                        tokens,
                        finish,
                        text,
                    });
                }
            }
        }
        report.kept += records.len();
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            ledger.keep(records.by_ref().take(KEPT_TOGETHER))?;
        }
    }
    // A request that failed in one file and was answered in another is answered.
    let open = |key: &RequestKey| !ledger.contains(key);
    report.failed = failed.into_iter().filter(|(key, _)| open(key)).collect();
    let has_failed: BTreeSet<_> = report.failed.iter().map(|(key, _)| *key).collect();
    report.missing = asked
        .into_keys()
        .filter(|key| open(key) && !has_failed.contains(key))
        .collect();
    Ok(report)
}

fn read_result(line: &ResultLine, sent: usize) -> Result<Completion, String> {
    match (&line.response, &line.error) {
        (
            Some(Response {
                status_code: 200,
                body,
            }),
            None,
        ) => Completion::read(body.to_string().as_bytes(), sent)
            .map_err(|e| format!("{}, in: {}", e.problem, shorten(&body.to_string()))),
        (Some(Response { status_code, body }), None) => Err(format!(
            "status {status_code}: {}",
            shorten(&body.to_string())
        )),
        (_, Some(error)) => Err(shorten(&error.to_string())),
        (None, None) => unreachable!("the line was checked"),
    }
}
