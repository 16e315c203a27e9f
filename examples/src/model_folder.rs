//! What a training binary leaves and the next one takes: a folder with the weights, their shape, the tokenizer and how
//! prompts and lists are written.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_core::files::{self, write_atomic};
use convrec_policy::{Policy, SaveOptions};
use convrec_text::{PromptFormat, TextTokenizer};
use convrec_train::Task;
use convrec_train::checkpoint::{sha256, sha256_file};
use convrec_train::evaluate::Decoding;
use serde::{Deserialize, Serialize};

const TOKENIZER: &str = "tokenizer.json";
/// Lists side by side in an evaluation.
const ROWS: usize = 96;
const TASK: &str = "task.json";

/// How prompts and lists are written: the content of `task.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFormat {
    /// The prompt and the list.
    pub prompt: PromptFormat,
    /// N, items in a list.
    pub n_ranks: usize,
    /// Cuts lists that do not end.
    pub max_new_tokens: usize,
}

impl TaskFormat {
    /// How the policy is evaluated.
    pub fn greedy(&self) -> Decoding {
        Decoding::greedy(self.max_new_tokens, ROWS)
    }

    /// The task over a catalog; its lists cannot leave the catalog unless they are `free`.
    ///
    /// # Errors
    /// When the tokenizer lacks a special token that prompts need, or lists cannot be constrained to the catalog.
    pub fn task(&self, catalog: Catalog, tokenizer: &TextTokenizer, free: bool) -> Result<Task, Box<dyn Error>> {
        let task = Task::new(catalog, self.prompt.prompter(tokenizer)?, self.n_ranks);
        Ok(if free { task } else { task.constrained()? })
    }
}

/// Writes a model folder. A policy with an adapter is written merged, and the adapter alone into the folder `adapter` in it.
///
/// # Errors
/// When a file cannot be written.
pub fn save(
    folder: &Path,
    policy: &Policy,
    tokenizer: &TextTokenizer,
    format: &TaskFormat,
) -> Result<(), Box<dyn Error>> {
    tokenizer.save(folder.join(TOKENIZER))?;
    let text = serde_json::to_string_pretty(format)? + "\n";
    write_atomic(folder.join(TASK), |out| out.write_all(text.as_bytes()))?;
    if policy.lora().is_some() {
        policy.save_lora(folder.join("adapter"))?;
    }
    Ok(policy.merged().save_folder(folder, &SaveOptions::default())?)
}

/// Reads a model folder.
///
/// # Errors
/// When a file is missing or does not fit the others; the error names it.
pub fn load(folder: &Path, device: &Device) -> Result<(Policy, TextTokenizer, TaskFormat), Box<dyn Error>> {
    let path = folder.join(TASK);
    let bad = |problem: String| format!("{}: {problem}", path.display());
    let format: TaskFormat = serde_json::from_str(&files::read_text(&path)?).map_err(|e| bad(e.to_string()))?;
    if format.n_ranks == 0 || format.max_new_tokens == 0 {
        return Err(bad("fields `n_ranks` and `max_new_tokens`: expected at least 1".into()).into());
    }
    let (policy, tokenizer) = (Policy::load_folder(folder, device)?, TextTokenizer::load(folder.join(TOKENIZER))?);
    let (tokens, known) = (tokenizer.vocab_size(), policy.config().vocab_size);
    if tokens > known {
        let problem = "expected at most as many: the tokenizer is of another model";
        return Err(
            format!("{}: {TOKENIZER} has {tokens} tokens, the weights {known}; {problem}", folder.display()).into()
        );
    }
    Ok((policy, tokenizer, format))
}

/// SHA-256 of files under the names that a checkpoint knows them by.
///
/// # Errors
/// When a file cannot be read.
pub fn hashes(named: &[(&str, &Path)]) -> Result<BTreeMap<String, String>, files::Error> {
    named.iter().map(|(name, path)| Ok(((*name).to_string(), sha256_file(path)?))).collect()
}

/// SHA-256 of the config and the weights of a model's folder, in however many files they are.
///
/// # Errors
/// When a file cannot be read.
pub fn weights_hash(folder: &Path) -> Result<String, files::Error> {
    let read = |e| files::Error::new("read", folder, e);
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "config.json" || (name.starts_with("model") && name.contains(".safetensors")) {
            lines.push(format!("{} {name}\n", sha256_file(&path)?));
        }
    }
    lines.sort();
    Ok(sha256(lines.concat().as_bytes()))
}
