use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::completions::{self, CompletionRecord};
use crate::error::Error;
use crate::log;
use crate::record::{Record, number, step};
use crate::timing::TimedStep;

/// A run, read from its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingRun {
    /// The name of its folder.
    pub name: String,
    /// The log.
    pub records: Vec<Record>,
    /// Its settings by their paths, as `optimizer.learning_rate`: those of the newest checkpoint's
    /// manifest and of `config.toml`, where they are there.
    pub settings: BTreeMap<String, String>,
    /// The times of its steps. There may be none.
    pub timing: Vec<TimedStep>,
    /// The first completions that are kept, and the latest. There may be none.
    pub completions: [Vec<CompletionRecord>; 2],
}

impl TrainingRun {
    /// Reads the run in a folder, or a log alone.
    ///
    /// # Errors
    /// [`Error::NoLog`] when there is no log, [`Error::Line`] at a bad line, [`Error::File`] when a
    /// file cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let mut records = log::read(path)?;
        let settings = settings(path)?;
        // Such runs measure no KL, although some logs say that it is 0.
        if settings.get("loss.kl").is_some_and(|kl| kl == "null") {
            records
                .iter_mut()
                .for_each(|record| drop(record.remove("kl")));
        }
        let kept = completions::kept(path)?;
        let read = |kept: Option<&(usize, PathBuf)>| {
            kept.map_or(Ok(vec![]), |(_, path)| completions::read(path))
        };
        let completions = [read(kept.first())?, read(kept.iter().skip(1).next_back())?];
        let timing = TimedStep::read(path)?;
        let whole = path.canonicalize().unwrap_or_else(|_| path.into());
        let folder = if whole.is_file() {
            whole.parent().unwrap_or(&whole)
        } else {
            &whole
        };
        let name = folder.file_name().map_or_else(
            || path.display().to_string(),
            |name| name.to_string_lossy().into(),
        );
        Ok(Self {
            name,
            records,
            settings,
            timing,
            completions,
        })
    }

    /// Reads several runs, and gives no two of them the same name.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_all<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<Self>, Error> {
        let mut runs: Vec<Self> = Vec::new();
        for path in paths {
            let run = Self::read(path)?;
            let named =
                std::iter::once(run.name.clone()).chain((2..).map(|n| format!("{} {n}", run.name)));
            let is_free = |name: &String| runs.iter().all(|other| other.name != *name);
            let name = named.into_iter().find(is_free).expect("numbers do not end");
            runs.push(Self { name, ..run });
        }
        Ok(runs)
    }

    /// The values of a field with their steps.
    pub fn curve(&self, field: &str) -> Vec<(f64, f64)> {
        self.curve_of(&|record| number(record, field))
    }

    /// The values of one rank of `rank_relevance`, from 0, with their steps.
    pub fn rank_curve(&self, rank: usize) -> Vec<(f64, f64)> {
        self.curve_of(&|record| record.get("rank_relevance")?.get(rank)?.as_f64())
    }

    fn curve_of(&self, value: &dyn Fn(&Record) -> Option<f64>) -> Vec<(f64, f64)> {
        let point = |record: &Record| Some((step(record)? as f64, value(record)?));
        self.records.iter().filter_map(point).collect()
    }
}

fn settings(folder: &Path) -> Result<BTreeMap<String, String>, Error> {
    let mut found = BTreeMap::new();
    let mut checkpoints = log::numbered(folder, &|name| {
        name.strip_prefix("checkpoint-")?.parse().ok()
    })?;
    let newest = checkpoints
        .pop()
        .map(|(_, path)| path.join("manifest.json"));
    if let Some(path) = newest.filter(|path| path.exists()) {
        let text = convrec_core::files::read_text(&path)?;
        let manifest: Value =
            serde_json::from_str(&text).map_err(|e| Error::line(&path, e.line(), e.to_string()))?;
        flatten("", &manifest["run"], &mut found);
    }
    let path = folder.join("config.toml");
    if path.exists() {
        let text = convrec_core::files::read_text(&path)?;
        let line = |e: &toml::de::Error| {
            e.span()
                .map_or(1, |span| text[..span.start].lines().count().max(1))
        };
        let config: Value =
            toml::from_str(&text).map_err(|e| Error::line(&path, line(&e), e.message()))?;
        flatten("", &config, &mut found);
    }
    Ok(found)
}

fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            let dot = if path.is_empty() { "" } else { "." };
            fields
                .iter()
                .for_each(|(name, value)| flatten(&format!("{path}{dot}{name}"), value, into));
        }
        Value::Null if path.is_empty() => {}
        Value::String(text) => drop(into.insert(path.into(), text.clone())),
        other => drop(into.insert(path.into(), other.to_string())),
    }
}
