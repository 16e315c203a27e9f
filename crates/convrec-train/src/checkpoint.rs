//! Checkpoints: folders with everything a run needs to go on. A manifest describes each and has its
//! checksums.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use convrec_core::files::{self, write_atomic};
use convrec_core::hash::{sha256, sha256_file};
use convrec_policy::{Policy, SaveOptions, WeightsError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::inputs::in_words;

const MANIFEST: &str = "manifest.json";
/// The file with the SHA-256 of the manifest, which cannot hold its own.
const SEAL: &str = "manifest.sha256";
const OPTIMIZER: &str = "optimizer.bpk";
/// The folder within a checkpoint with the behaviour policy.
const BEHAVIOUR: &str = "behaviour";

/// The description of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// `sft` or `rank_grpo`.
    pub kind: String,
    /// Steps done.
    pub step: usize,
    /// The run's whole configuration, seed included.
    pub run: Value,
    /// SHA-256 of the inputs of the run: the catalog, the tokenizer, the data, the first weights.
    pub inputs: BTreeMap<String, String>,
    /// Further state of the loop: its place in the data, coefficients that adapt.
    #[serde(default)]
    pub state: Value,
    /// SHA-256 of the checkpoint's own files.
    pub files: BTreeMap<String, String>,
}

/// A checkpoint as it is read.
#[derive(Debug)]
pub struct Loaded {
    /// Its description.
    pub manifest: Manifest,
    /// The policy in training.
    pub policy: Policy,
    /// The behaviour policy, where it is another one.
    pub behaviour: Option<Policy>,
    /// The optimiser's moments.
    pub optimizer: Vec<u8>,
}

/// A checkpoint cannot be written or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A file differs from the manifest.
    #[error(
        "{path}: {problem}; remove its folder, and the run resumes from the checkpoint before it"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found and expected.
        problem: String,
    },
    /// The checkpoint is of another run.
    #[error(
        "{path}: the checkpoint is of another run: {difference}; start anew, or resume with what \
         it was started with"
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// The first difference.
        difference: String,
    },
    /// The manifest's `state` is of another version.
    #[error(
        "the checkpoint's manifest, field `state`: {0}; use the version that wrote it, or start \
         anew"
    )]
    State(String),
    /// The model's files do not fit, or cannot be written.
    #[error(transparent)]
    Model(#[from] WeightsError),
}

/// The checkpoint folders of a run, oldest first, with their steps.
///
/// # Errors
/// [`CheckpointError::File`] when the folder cannot be read.
pub fn list(run: &Path) -> Result<Vec<(usize, PathBuf)>, CheckpointError> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(run) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        other => other.map_err(|e| files::Error::new("read", run, e))?,
    };
    for entry in entries {
        let path = entry.map_err(|e| files::Error::new("read", run, e))?.path();
        let step = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix("checkpoint-")?.parse().ok());
        found.extend(step.map(|step| (step, path)));
    }
    found.sort();
    Ok(found)
}

/// Writes a checkpoint into `run/checkpoint-<step>`. It is written aside and renamed when whole.
/// Then all but the newest `keep` are removed. `manifest.files` is filled in.
///
/// `behaviour` is the policy that the next rollouts are drawn from, where it is not `policy`.
///
/// # Errors
/// [`CheckpointError::File`] or [`CheckpointError::Model`] when a file cannot be written. Earlier
/// checkpoints are then still there.
pub fn save(
    run: &Path,
    policy: &Policy,
    behaviour: Option<&Policy>,
    optimizer: Vec<u8>,
    mut manifest: Manifest,
    keep: usize,
) -> Result<PathBuf, CheckpointError> {
    let target = run.join(format!("checkpoint-{:06}", manifest.step));
    let aside = run.join(format!(".part-{:06}", manifest.step));
    let io = |path: &Path, action| {
        let path = path.to_path_buf();
        move |e| CheckpointError::File(files::Error::new(action, path, e))
    };
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(io(&aside, "remove"))?;
    }
    save_policy(policy, &aside)?;
    if let Some(behaviour) = behaviour {
        save_policy(behaviour, &aside.join(BEHAVIOUR))?;
    }
    write(&aside.join(OPTIMIZER), &optimizer)?;
    manifest.files = hashes(&aside)?;
    let text = pretty(&manifest);
    write(&aside.join(SEAL), format!("{}\n", sha256(&text)).as_bytes())?;
    write(&aside.join(MANIFEST), &text)?;
    if target.exists() {
        fs::remove_dir_all(&target).map_err(io(&target, "remove"))?;
    }
    fs::rename(&aside, &target).map_err(io(&target, "write"))?;
    // Without this a power cut could bring the former state back, although the log is ahead
    // already. That is correct, but repeats steps.
    fs::File::open(run)
        .and_then(|folder| folder.sync_all())
        .map_err(io(run, "write"))?;
    let all = list(run)?;
    for (_, old) in &all[..all.len().saturating_sub(keep.max(1))] {
        fs::remove_dir_all(old).map_err(io(old, "remove"))?;
    }
    Ok(target)
}

fn save_policy(policy: &Policy, folder: &Path) -> Result<(), WeightsError> {
    match policy.lora() {
        // The rest of the policy does not change and comes from the first policy.
        Some(_) => policy.save_lora(folder),
        None => policy.save_folder(folder, &SaveOptions::default()),
    }
}

/// Reads a checkpoint. It must be of the run that `expected` describes, apart from `step`, `state`
/// and `files`.
///
/// `first` is the policy that the run was started with. If that has an adapter, the checkpoint
/// holds the adapter alone.
///
/// # Errors
/// [`CheckpointError::File`] and [`CheckpointError::Damaged`] when a file is missing or damaged,
/// [`CheckpointError::OtherRun`] when the checkpoint is of another run. The error names the first
/// difference.
pub fn load(
    checkpoint: &Path,
    expected: &Manifest,
    first: &Policy,
) -> Result<Loaded, CheckpointError> {
    let path = checkpoint.join(MANIFEST);
    let damaged = |problem| CheckpointError::Damaged {
        path: path.clone(),
        problem,
    };
    let bytes = files::read_bytes(&path, files::LARGEST_TEXT)
        .map_err(|e| damaged(format!("it is missing or cannot be read ({e})")))?;
    let seal = files::read_text(checkpoint.join(SEAL)).map_err(|e| {
        damaged(format!(
            "{SEAL} beside it is missing or cannot be read ({e})"
        ))
    })?;
    let found = sha256(&bytes);
    if found != seal.trim() {
        return Err(damaged(format!(
            "SHA-256 {found}, expected {}, as {SEAL} beside it says",
            seal.trim()
        )));
    }
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|e| damaged(format!("not a manifest: {e}")))?;
    if let Some(difference) = difference(&manifest, expected) {
        return Err(CheckpointError::OtherRun {
            path: checkpoint.into(),
            difference,
        });
    }
    for (name, hash) in &manifest.files {
        let path = checkpoint.join(name);
        let damaged = |problem| CheckpointError::Damaged {
            path: path.clone(),
            problem,
        };
        let found = sha256_file(&path)
            .map_err(|e| damaged(format!("it is missing or cannot be read ({e})")))?;
        if found != *hash {
            return Err(CheckpointError::Damaged {
                path,
                problem: format!("SHA-256 {found}, expected {hash}"),
            });
        }
    }
    let load_policy = |folder: &Path| match first.lora() {
        Some(_) => first.clone().load_lora(folder),
        None => Policy::load_folder(folder, &first.device()),
    };
    let has_behaviour = manifest.files.keys().any(|name| within(BEHAVIOUR, name));
    let behaviour = has_behaviour.then(|| load_policy(&checkpoint.join(BEHAVIOUR)));
    Ok(Loaded {
        policy: load_policy(checkpoint)?,
        behaviour: behaviour.transpose()?,
        optimizer: read(&checkpoint.join(OPTIMIZER))?,
        manifest,
    })
}

/// Whether a file of a checkpoint lies in a folder of it.
fn within(folder: &str, file: &str) -> bool {
    let rest = file.strip_prefix(folder);
    rest.is_some_and(|rest| rest.starts_with('/'))
}

fn difference(found: &Manifest, expected: &Manifest) -> Option<String> {
    if found.kind != expected.kind {
        return Some(format!(
            "its kind was {} and is {} now",
            found.kind, expected.kind
        ));
    }
    let mut inputs = found.inputs.keys().chain(expected.inputs.keys());
    if let Some(name) = inputs.find(|name| found.inputs.get(*name) != expected.inputs.get(*name)) {
        let words = in_words(name);
        return Some(
            match (
                found.inputs.contains_key(name),
                expected.inputs.contains_key(name),
            ) {
                (true, true) => format!("{words} (`{name}`) is not the one it was started with"),
                (true, false) => {
                    format!("it was started with {words} (`{name}`), and there is none now")
                }
                (false, _) => {
                    format!("it was started without {words} (`{name}`), and there is one now")
                }
            },
        );
    }
    first_difference("", &found.run, &expected.run)
}

fn first_difference(path: &str, found: &Value, expected: &Value) -> Option<String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let keys: std::collections::BTreeSet<&String> =
                found.keys().chain(expected.keys()).collect();
            keys.into_iter().find_map(|key| {
                let value = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or(Value::Null)
                };
                let dot = if path.is_empty() { "" } else { "." };
                first_difference(
                    &format!("{path}{dot}{key}"),
                    &value(found),
                    &value(expected),
                )
            })
        }
        _ if found == expected => None,
        _ => Some(format!(
            "config field `{path}` was {found} and is {expected} now"
        )),
    }
}

/// SHA-256 of the files in a folder, by their names.
fn hashes(folder: &Path) -> Result<BTreeMap<String, String>, CheckpointError> {
    let hash = |name: String| {
        let hash = sha256_file(&folder.join(&name))?;
        Ok((name, hash))
    };
    names(folder)?.into_iter().map(hash).collect()
}

/// The files in a folder and in the folders below it, as `behaviour/model.safetensors`.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, files::Error> {
    let read = |e| files::Error::new("read", folder, e);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().map_err(read)?.is_dir() {
            let below = names(&entry.path())?.into_iter();
            found.extend(below.map(|file| format!("{name}/{file}")));
        } else {
            found.push(name);
        }
    }
    Ok(found)
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value)
        .expect("numbers, texts and maps with text keys become JSON");
    text.push(b'\n');
    text
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    Ok(write_atomic(path, |out| out.write_all(bytes))?)
}

fn read(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    Ok(files::read_bytes(path, files::LARGEST_DATA)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_were_dropped_or_added_are_differences() {
        let manifest = |names: &[&str]| Manifest {
            kind: "sft".into(),
            step: 0,
            run: Value::Null,
            inputs: names
                .iter()
                .map(|name| (name.to_string(), "0".to_string()))
                .collect(),
            state: Value::Null,
            files: BTreeMap::new(),
        };
        let (one, two) = (manifest(&["a"]), manifest(&["a", "b"]));
        assert_eq!(difference(&one, &one), None);
        assert_eq!(
            difference(&two, &one).unwrap(),
            "it was started with b (`b`), and there is none now"
        );
        assert_eq!(
            difference(&one, &two).unwrap(),
            "it was started without b (`b`), and there is one now"
        );
    }
}
