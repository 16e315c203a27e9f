//! The chat template of a model's folder.

use std::collections::BTreeMap;
use std::path::Path;

use convrec_core::files;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ChatError, ChatTemplate};

const CONFIG: &str = "tokenizer_config.json";
const TOKENS: &str = "special_tokens_map.json";
const TEMPLATE: &str = "chat_template.jinja";
const PROCESSOR: &str = "chat_template.json";

/// The part of `tokenizer_config.json` and of `chat_template.json` that templates need.
#[derive(Deserialize, Default)]
struct Config {
    chat_template: Option<Source>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Source {
    One(String),
    Listed(Vec<Named>),
    Mapped(BTreeMap<String, String>),
    /// A value of another type.
    Other(Value),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

impl Source {
    /// The template, or the one that is named `default`.
    fn default(self) -> Result<String, String> {
        let named: Vec<(String, String)> = match self {
            Self::One(source) => return Ok(source),
            Self::Listed(named) => named.into_iter().map(|t| (t.name, t.template)).collect(),
            Self::Mapped(named) => named.into_iter().collect(),
            Self::Other(value) => {
                let kind = match value {
                    Value::Array(_) => "a list of other things",
                    Value::Object(_) => "an object of other things",
                    _ => "a number or a truth value",
                };
                return Err(format!(
                    "{kind}; expected a template, or a list of `name` and `template`"
                ));
            }
        };
        let names: Vec<String> = named.iter().map(|(name, _)| format!("`{name}`")).collect();
        let default = named.into_iter().find(|(name, _)| name == "default");
        default.map(|(_, source)| source).ok_or(format!(
            "templates named {}; expected one named `default` among them",
            names.join(", ")
        ))
    }
}

impl ChatTemplate {
    /// The template of a model's folder, with the special tokens that the folder names
    /// (`bos_token` and the like) as variables.
    ///
    /// The template is that of `chat_template.jinja`, else of `chat_template.json`, else of
    /// `tokenizer_config.json`. Where there are several, the one named `default` is taken. Special
    /// tokens are those of `tokenizer_config.json` and of `special_tokens_map.json`. The latter
    /// count first where the former lists no `added_tokens_decoder`, as in `transformers`. Each
    /// file but that of the template may be absent.
    ///
    /// # Errors
    /// [`ChatError::File`] when a file cannot be read, [`ChatError::Wrong`] when it is wrong, and
    /// [`ChatError::Missing`] when there is no template.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, ChatError> {
        let folder = folder.as_ref();
        let wrong = |problem| ChatError::Wrong {
            folder: folder.display().to_string(),
            problem,
        };
        let config: Config = read(folder, CONFIG)?;
        let source = match folder.join(TEMPLATE) {
            path if path.exists() => Some((TEMPLATE, Source::One(files::read_text(path)?))),
            _ => match read::<Config>(folder, PROCESSOR)?.chat_template {
                Some(source) => Some((PROCESSOR, source)),
                None => config.chat_template.map(|source| (CONFIG, source)),
            },
        };
        let Some((file, source)) = source else {
            return Err(ChatError::Missing {
                folder: folder.display().to_string(),
                problem: format!("no {TEMPLATE}, no `chat_template` in {PROCESSOR} and {CONFIG}"),
            });
        };
        let source = source
            .default()
            .map_err(|problem| wrong(format!("{file}, field `chat_template`: {problem}")))?;
        let mut template = Self::new(source).map_err(|e| wrong(format!("{file}: {e}")))?;
        let map: BTreeMap<String, Value> = read(folder, TOKENS)?;
        let tokens = match config.others.contains_key("added_tokens_decoder") {
            true => map.into_iter().chain(config.others),
            false => config.others.into_iter().chain(map),
        };
        for (name, value) in tokens.filter(|(name, _)| name.ends_with("_token")) {
            // Older files write a token with its settings.
            if let Some(token) = value.as_str().or_else(|| value.get("content")?.as_str()) {
                template = template.with_variable(name, token);
            }
        }
        Ok(template)
    }
}

/// A JSON file of the folder; the default where there is none.
fn read<T: DeserializeOwned + Default>(folder: &Path, name: &str) -> Result<T, ChatError> {
    let path = folder.join(name);
    if !path.exists() {
        return Ok(T::default());
    }
    let text = files::read_text(path)?;
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|e| ChatError::Wrong {
        folder: folder.display().to_string(),
        problem: format!("{name}: {e}; expected a JSON object"),
    })
}
