//! Whether new weights go together with what stays: the tokenizer, the form of lists, the
//! retriever, the semantic ids.

use std::path::Path;

use burn::module::Module;
use convrec_core::files::read_text;
use convrec_policy::{Policy, Sequence};
use convrec_text::{SemanticIds, TextTokenizer};
use convrec_train::{Language, TaskFormat};
use serde_json::Value;

/// The parts of a tokenizer that decide on the tokens of a text. Others, as truncation, are written
/// by trainers and mean nothing here.
const TOKENS: [&str; 4] = ["model", "added_tokens", "normalizer", "pre_tokenizer"];

/// Tokens of the text that new weights are tried on.
const PROBE: u32 = 8;

/// Refuses a folder whose files say otherwise than the language that is served. Files that are not
/// there say nothing.
///
/// # Errors
/// A text that names the file.
pub(super) fn language(folder: &Path, served: &Language) -> Result<(), String> {
    let other = |name: &str, what: &str| {
        format!(
            "{name} has {what} than the model that is served; expected the same: a server that is \
             started anew takes another"
        )
    };
    let path = folder.join("tokenizer.json");
    if path.exists() {
        let found = TextTokenizer::load(&path).map_err(|e| e.to_string())?;
        if tokens(&found)? != tokens(&served.tokenizer)? {
            return Err(other("tokenizer.json", "other tokens"));
        }
    }
    let path = folder.join("task.json");
    if path.exists() {
        let text = read_text(&path).map_err(|e| e.to_string())?;
        let found: TaskFormat = serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|e| format!("task.json: {e}"))?;
        if found != served.format {
            return Err(other("task.json", "other prompts or lists"));
        }
    }
    let path = folder.join("retriever.jsonl");
    if path.exists() {
        let text = read_text(&path).map_err(|e| e.to_string())?;
        let known = served.retriever.as_ref().map(|fitted| fitted.to_text());
        if known.as_ref() != Some(&text) {
            return Err(other("retriever.jsonl", "another retriever"));
        }
    }
    let path = folder.join("semantic_ids.jsonl");
    if path.exists() {
        let found = SemanticIds::read(&path).map_err(|e| e.to_string())?;
        if served.semantic_ids.as_deref() != Some(&found) {
            return Err(other("semantic_ids.jsonl", "other codes of items"));
        }
    }
    Ok(())
}

fn tokens(tokenizer: &TextTokenizer) -> Result<Vec<Value>, String> {
    let text = tokenizer.to_json().map_err(|e| e.to_string())?;
    let json: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    Ok(TOKENS.map(|part| json[part].clone()).to_vec())
}

/// Refuses weights that compute nothing: numbers that are not finite, or the same ones for all
/// tokens.
///
/// # Errors
/// A text that names the folder.
pub(super) fn numbers(folder: &Path, policy: &Policy) -> Result<(), String> {
    let n = PROBE.min(u32::try_from(policy.config().vocab_size).unwrap_or(PROBE));
    let probe: Vec<u32> = (0..n).collect();
    let sequence = Sequence {
        prompt: &probe[..1],
        completion: &probe,
    };
    let computed = policy.valid().log_probs(&[sequence], 1.0).log_probs;
    let computed: Vec<f32> = computed.into_data().iter::<f32>().collect();
    let folder = folder.display();
    if computed.iter().any(|p| !p.is_finite()) {
        return Err(format!(
            "the weights of {folder} compute numbers that are not finite; expected a trained model"
        ));
    }
    if n > 1 && computed.iter().all(|p| *p == computed[0]) {
        return Err(format!(
            "by the weights of {folder} all tokens are as likely; expected a trained model"
        ));
    }
    Ok(())
}
