//! Tokenizers from files.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use convrec_core::{files, printable};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::{TextTokenizer, TokenizerError, patterns};

/// The file beside `tokenizer.json` that may name more tokens.
const CONFIG: &str = "tokenizer_config.json";

/// The part of `tokenizer_config.json` that names tokens.
#[derive(Deserialize, Default)]
struct Config {
    #[serde(default)]
    added_tokens_decoder: BTreeMap<String, AddedToken>,
    /// Everything else. This field makes sure that only an object is read.
    #[serde(flatten)]
    _others: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
struct AddedToken {
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    single_word: bool,
}

impl TextTokenizer {
    /// Loads a `tokenizer.json`, with the added tokens that only a `tokenizer_config.json` beside
    /// it names. [`notes`](Self::notes) says which settings of the file are switched off.
    ///
    /// # Errors
    /// [`TokenizerError::File`] when a file cannot be read. [`TokenizerError::Unsupported`] when it
    /// is no tokenizer, is of another kind or changes text, or its numbers are out of bounds.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let path = path.as_ref();
        let text = files::read_text(path)?;
        let unsupported = |problem| TokenizerError::Unsupported {
            file: path.display().to_string(),
            problem,
        };
        let mut value = json_of(&text).map_err(unsupported)?;
        let mut tokenizer = parse(&value).map_err(unsupported)?;
        let missing = named_elsewhere(path, &tokenizer)?;
        if !missing.is_empty() {
            add(&mut value, &missing).map_err(unsupported)?;
            tokenizer = parse(&value).map_err(unsupported)?;
        }
        Self::new(tokenizer).map_err(unsupported)
    }

    /// A tokenizer from the content of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Unsupported`] as [`load`](Self::load).
    pub fn from_json(text: &str) -> Result<Self, TokenizerError> {
        let unsupported = |problem| TokenizerError::Unsupported {
            file: "tokenizer.json".into(),
            problem,
        };
        let tokenizer = json_of(text).and_then(|value| parse(&value));
        tokenizer.and_then(Self::new).map_err(unsupported)
    }

    /// Saves as `tokenizer.json`, and replaces the file as a whole.
    ///
    /// # Errors
    /// [`TokenizerError::File`] when the file cannot be written. The former file is then still
    /// there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), TokenizerError> {
        let text = self.to_json()?;
        Ok(files::write_atomic(path, |out| {
            out.write_all(text.as_bytes())
        })?)
    }
}

fn json_of(text: &str) -> Result<Value, String> {
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(no_tokenizer)
}

/// The tokenizer of a checked JSON value. The library would panic on text that is no JSON, and on a
/// `Precompiled` normalizer whose map is damaged.
fn parse(value: &Value) -> Result<Tokenizer, String> {
    patterns::check(value)?;
    if holds_precompiled(&value["normalizer"]) {
        return Err(
            "its normalizer is a `Precompiled` map, which changes text; expected a tokenizer that \
             keeps text as it is, as those of Llama, Qwen and SmolLM"
                .into(),
        );
    }
    check_ids(value)?;
    Tokenizer::deserialize(value).map_err(no_tokenizer)
}

/// No two tokens may share an id: one of them could be written and never read.
fn check_ids(value: &Value) -> Result<(), String> {
    let vocab = value["model"]["vocab"].as_object();
    let mut names: HashMap<u64, &str> = HashMap::new();
    for (name, id) in vocab.into_iter().flatten() {
        let Some(id) = id.as_u64() else { continue };
        if let Some(other) = names.insert(id, name) {
            return Err(format!(
                "field `model.vocab`: \"{}\" and \"{}\" have the id {id}; expected an id of its \
                 own for each token",
                printable(other),
                printable(name)
            ));
        }
    }
    Ok(())
}

/// Whether a normalizer, or one within it, is or would be read as a `Precompiled` map.
fn holds_precompiled(normalizer: &Value) -> bool {
    match normalizer {
        Value::Array(parts) => parts.iter().any(holds_precompiled),
        Value::Object(fields) => {
            fields.get("type").is_some_and(|kind| kind == "Precompiled")
                || fields.contains_key("precompiled_charsmap")
                || fields.values().any(holds_precompiled)
        }
        _ => false,
    }
}

fn no_tokenizer(e: impl std::fmt::Display) -> String {
    format!("no tokenizer: {e}; expected a `tokenizer.json`")
}

/// The tokens of `tokenizer_config.json` that the tokenizer lacks, by id.
fn named_elsewhere(
    path: &Path,
    tokenizer: &Tokenizer,
) -> Result<Vec<(u32, AddedToken)>, TokenizerError> {
    let path = path.with_file_name(CONFIG);
    if !path.exists() {
        return Ok(vec![]);
    }
    let unsupported = |problem: String| TokenizerError::Unsupported {
        file: path.display().to_string(),
        problem,
    };
    let text = files::read_text(&path)?;
    let config: Config = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|e| unsupported(format!("{e}; expected a JSON object")))?;
    let mut missing = vec![];
    for (id, token) in config.added_tokens_decoder {
        if tokenizer.token_to_id(&token.content).is_some() {
            continue;
        }
        let problem = |what: &str| {
            let field = format!("field `added_tokens_decoder`, `{id}`");
            unsupported(format!("{field} (\"{}\"): {what}", token.content))
        };
        let number: u32 = id
            .parse()
            .map_err(|_| problem("expected a token id as the key"))?;
        if let Some(other) = tokenizer.id_to_token(number) {
            let what = format!("tokenizer.json has \"{other}\" there; expected another id");
            return Err(problem(&what));
        }
        missing.push((number, token));
    }
    missing.sort_by_key(|(id, _)| *id);
    Ok(missing)
}

/// Adds tokens with their ids. An added token keeps its id only where the vocabulary has it too.
fn add(tokenizer: &mut Value, tokens: &[(u32, AddedToken)]) -> Result<(), String> {
    for (id, token) in tokens {
        let AddedToken {
            content,
            special,
            lstrip,
            rstrip,
            normalized,
            single_word,
        } = token;
        let Some(vocab) = tokenizer["model"]["vocab"].as_object_mut() else {
            return Err(format!(
                "the token \"{content}\" is only in {CONFIG}, and there is no vocabulary of BPE to \
                 add it to; expected it among the `added_tokens`"
            ));
        };
        vocab.insert(content.clone(), (*id).into());
        let added = json!({"id": id, "content": content, "special": special, "lstrip": lstrip,
            "rstrip": rstrip, "normalized": normalized, "single_word": single_word});
        match tokenizer["added_tokens"].as_array_mut() {
            Some(tokens) => tokens.push(added),
            None => tokenizer["added_tokens"] = json!([added]),
        }
    }
    Ok(())
}
