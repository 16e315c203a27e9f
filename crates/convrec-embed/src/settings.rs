//! The settings in the files of the sentence-transformers library: the pooling of tokens, the
//! longest text, and the prompts.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::error::{EmbedError, maybe_read_json, read_json};

/// The way in which the last hidden states of a text's tokens become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooling {
    /// The mean of all tokens.
    Mean,
    /// The state of the first token.
    Cls,
    /// The maximum of each dimension.
    Max,
}

/// All settings of these files.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where config, tokenizer and weights are.
    pub(crate) folder: PathBuf,
    pub(crate) pooling: Pooling,
    /// `None` leaves it to the tokenizer's and the encoder's files.
    pub(crate) max_tokens: Option<usize>,
    /// Whether texts are made lower case before they get to the tokenizer.
    pub(crate) lower_case: bool,
    pub(crate) prompts: BTreeMap<String, String>,
    pub(crate) default_prompt: Option<String>,
}

#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize, Default)]
struct SentenceBert {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

#[derive(Deserialize, Default)]
struct SentenceTransformers {
    #[serde(default)]
    prompts: BTreeMap<String, String>,
    default_prompt_name: Option<String>,
}

impl Settings {
    /// Reads `modules.json` and the files that it names. As in that library, a folder without one
    /// is a bare encoder with mean pooling.
    pub(crate) fn read(folder: &Path) -> Result<Self, EmbedError> {
        let mut encoder = folder.to_path_buf();
        let mut pooling = Pooling::Mean;
        let path = folder.join("modules.json");
        for (n, module) in maybe_read_json::<Vec<Module>>(&path)?
            .into_iter()
            .flatten()
            .enumerate()
        {
            let bad = |field: &str, problem: String| {
                EmbedError::field(&path, format!("[{n}].{field}"), problem)
            };
            if !Path::new(&module.path)
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
            {
                return Err(bad(
                    "path",
                    format!("{:?} leads out of the folder", module.path),
                ));
            }
            match (n, module.kind.rsplit('.').next().unwrap_or_default()) {
                (0, "Transformer") => encoder = folder.join(&module.path),
                (1, "Pooling") => {
                    pooling = read_pooling(&folder.join(&module.path).join("config.json"))?
                }
                // Nothing to do: rows get unit length in any case.
                (2, "Normalize") => {}
                _ => {
                    let expected =
                        "expected Transformer, Pooling and, at most, Normalize, in this order";
                    return Err(bad("type", format!("{:?}; {expected}", module.kind)));
                }
            }
        }
        let texts: SentenceBert =
            maybe_read_json(&encoder.join("sentence_bert_config.json"))?.unwrap_or_default();
        let path = folder.join("config_sentence_transformers.json");
        let SentenceTransformers {
            prompts,
            default_prompt_name,
        } = maybe_read_json(&path)?.unwrap_or_default();
        let prompt = |name: String| {
            let unknown = || {
                EmbedError::field(
                    &path,
                    "default_prompt_name",
                    format!("no prompt has the name {name:?}"),
                )
            };
            prompts.get(&name).cloned().ok_or_else(unknown)
        };
        Ok(Self {
            folder: encoder,
            pooling,
            max_tokens: texts.max_seq_length,
            lower_case: texts.do_lower_case,
            default_prompt: default_prompt_name.map(prompt).transpose()?,
            prompts,
        })
    }
}

/// The names of the poolings, as values in files of version 5 and later, and as flags in older
/// files.
const POOLINGS: [(&str, &str, Pooling); 4] = [
    ("mean", "pooling_mode_mean_tokens", Pooling::Mean),
    // A multiple of the mean, and so the same at unit length.
    (
        "mean_sqrt_len_tokens",
        "pooling_mode_mean_sqrt_len_tokens",
        Pooling::Mean,
    ),
    ("cls", "pooling_mode_cls_token", Pooling::Cls),
    ("max", "pooling_mode_max_tokens", Pooling::Max),
];

fn read_pooling(path: &Path) -> Result<Pooling, EmbedError> {
    let fields: BTreeMap<String, Value> = read_json(path)?;
    let bad = |field: &str, problem: String| Err(EmbedError::field(path, field, problem));
    if fields.get("include_prompt") == Some(&Value::Bool(false)) {
        return bad(
            "include_prompt",
            "false is not supported; expected true".into(),
        );
    }
    if let Some(mode) = fields.get("pooling_mode") {
        let known = POOLINGS.iter().find(|(name, ..)| mode == name);
        return match known {
            Some((.., pooling)) => Ok(*pooling),
            None => bad(
                "pooling_mode",
                format!("{mode} is not supported; expected one of mean, cls, max"),
            ),
        };
    }
    let set = fields
        .iter()
        .filter(|(name, value)| name.starts_with("pooling_mode") && **value == Value::Bool(true));
    let set: Vec<&str> = set.map(|(name, _)| name.as_str()).collect();
    match POOLINGS.iter().find(|(_, flag, _)| set == [*flag]) {
        Some((.., pooling)) => Ok(*pooling),
        None => {
            let expected = "expected true for one alone of mean_tokens, mean_sqrt_len_tokens, \
                            cls_token, max_tokens";
            bad("pooling_mode_*", format!("true for {set:?}; {expected}"))
        }
    }
}
