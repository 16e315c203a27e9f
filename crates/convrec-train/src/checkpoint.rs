//! Checkpoints: a folder with everything a run needs to go on, and a manifest that says what it is and proves it whole.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use convrec_core::files::{self, write_atomic};
use convrec_policy::{ConfigError, ModelConfig, Policy, WeightsError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

const MANIFEST: &str = "manifest.json";
const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
const OPTIMIZER: &str = "optimizer.bpk";

/// What a checkpoint is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// `sft` or `rank_grpo`.
    pub kind: String,
    /// Steps done.
    pub step: usize,
    /// The run's whole configuration, seed included.
    pub run: Value,
    /// SHA-256 of what the run was started from: the catalog, the tokenizer, the data, the first weights.
    pub inputs: BTreeMap<String, String>,
    /// SHA-256 of the checkpoint's own files.
    pub files: BTreeMap<String, String>,
}

/// A checkpoint cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A file is not what the manifest says.
    #[error("{path}: {problem}; use another checkpoint")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found and expected.
        problem: String,
    },
    /// The checkpoint is of another run.
    #[error(
        "{path}: the checkpoint is of another run: {difference}; start anew, or resume with what it was started with"
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// The first difference.
        difference: String,
    },
    /// The weights do not fit.
    #[error("{path}: {source}")]
    Weights {
        /// The file.
        path: PathBuf,
        /// Why.
        source: WeightsError,
    },
    /// The model's shape makes no sense.
    #[error("{path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ConfigError,
    },
}

/// SHA-256 in hexadecimal digits, as [`Manifest::inputs`] holds it.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a policy's weights and shape into a folder, each file replaced whole.
///
/// # Errors
/// When a file cannot be written.
pub fn save_policy(policy: &Policy, folder: &Path) -> Result<(), CheckpointError> {
    write(folder, &policy_files(policy, folder)?)
}

/// Reads a policy from a folder with `config.json` and `model.safetensors`.
///
/// # Errors
/// When a file cannot be read or does not fit the other; the error names it.
pub fn load_policy(folder: &Path, device: &Device) -> Result<Policy, CheckpointError> {
    let path = folder.join(CONFIG);
    let config = ModelConfig::from_hugging_face(&files::read_text(&path)?);
    let policy = config.and_then(|config| Policy::new(&config, 0, device));
    let policy = policy.map_err(|source| CheckpointError::Config { path, source })?;
    let path = folder.join(WEIGHTS);
    policy.load_safetensors(read(&path)?).map_err(|source| CheckpointError::Weights { path, source })
}

/// The checkpoint folders of a run, oldest first, with their steps.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(run: &Path) -> Result<Vec<(usize, PathBuf)>, CheckpointError> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(run) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        other => other.map_err(|e| files::Error::new("read", run, e))?,
    };
    for entry in entries {
        let path = entry.map_err(|e| files::Error::new("read", run, e))?.path();
        let step = path.file_name().and_then(|name| name.to_str()?.strip_prefix("checkpoint-")?.parse().ok());
        found.extend(step.map(|step| (step, path)));
    }
    found.sort();
    Ok(found)
}

/// Writes a checkpoint into `run/checkpoint-<step>`: aside first, renamed when whole; then removes all but the newest
/// `keep`. `manifest.files` is filled in.
///
/// # Errors
/// When a file cannot be written; earlier checkpoints are then still there.
pub fn save(
    run: &Path,
    policy: &Policy,
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
    let mut contents = policy_files(policy, &aside)?;
    contents.insert(OPTIMIZER, optimizer);
    manifest.files = contents.iter().map(|(name, bytes)| ((*name).to_string(), sha256(bytes))).collect();
    contents.insert(MANIFEST, pretty(&manifest));
    write(&aside, &contents)?;
    if target.exists() {
        fs::remove_dir_all(&target).map_err(io(&target, "remove"))?;
    }
    fs::rename(&aside, &target).map_err(io(&target, "write"))?;
    let all = list(run)?;
    for (_, old) in &all[..all.len().saturating_sub(keep.max(1))] {
        fs::remove_dir_all(old).map_err(io(old, "remove"))?;
    }
    Ok(target)
}

/// Reads a checkpoint of the run that `expected` describes (`step` and `files` aside): its step, policy and optimiser.
///
/// # Errors
/// When a file is missing or damaged, or the checkpoint is of another run; the error names the first difference.
pub fn load(
    checkpoint: &Path,
    expected: &Manifest,
    device: &Device,
) -> Result<(usize, Policy, Vec<u8>), CheckpointError> {
    let path = checkpoint.join(MANIFEST);
    let manifest: Manifest = serde_json::from_str(&files::read_text(&path)?)
        .map_err(|e| CheckpointError::Damaged { path: path.clone(), problem: format!("not a manifest: {e}") })?;
    if let Some(difference) = difference(&manifest, expected) {
        return Err(CheckpointError::OtherRun { path: checkpoint.into(), difference });
    }
    for (name, hash) in &manifest.files {
        let path = checkpoint.join(name);
        let found = sha256(&read(&path)?);
        if found != *hash {
            return Err(CheckpointError::Damaged { path, problem: format!("SHA-256 {found}, expected {hash}") });
        }
    }
    Ok((manifest.step, load_policy(checkpoint, device)?, read(&checkpoint.join(OPTIMIZER))?))
}

fn difference(found: &Manifest, expected: &Manifest) -> Option<String> {
    if found.kind != expected.kind {
        return Some(format!("kind is {}, expected {}", found.kind, expected.kind));
    }
    let changed = |(name, hash): &(&String, &String)| found.inputs.get(*name) != Some(hash);
    if let Some((name, _)) = expected.inputs.iter().find(changed) {
        return Some(format!("{name} is not the one it was started with"));
    }
    first_difference("", &found.run, &expected.run)
}

fn first_difference(path: &str, found: &Value, expected: &Value) -> Option<String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let keys: std::collections::BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
            keys.into_iter().find_map(|key| {
                let value = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                let dot = if path.is_empty() { "" } else { "." };
                first_difference(&format!("{path}{dot}{key}"), &value(found), &value(expected))
            })
        }
        _ if found == expected => None,
        _ => Some(format!("config field `{path}` is {found}, expected {expected}")),
    }
}

fn policy_files(policy: &Policy, folder: &Path) -> Result<BTreeMap<&'static str, Vec<u8>>, CheckpointError> {
    let weights = policy.to_safetensors();
    let weights = weights.map_err(|source| CheckpointError::Weights { path: folder.join(WEIGHTS), source })?;
    Ok(BTreeMap::from([(WEIGHTS, weights), (CONFIG, policy.config().to_hugging_face().into_bytes())]))
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("numbers, texts and maps with text keys become JSON");
    text.push(b'\n');
    text
}

fn write(folder: &Path, contents: &BTreeMap<&'static str, Vec<u8>>) -> Result<(), CheckpointError> {
    for (name, bytes) in contents {
        write_atomic(folder.join(name), |out: &mut dyn Write| out.write_all(bytes))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    Ok(fs::read(path).map_err(|e| files::Error::new("read", path, e))?)
}
