use convrec_config::ConfigError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::settings::{first, wrong};
use crate::usage::Price;

/// The name of the field that limits an answer's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MaxTokensField {
    /// `max_tokens`, which most servers know.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`, which newer models of OpenAI want.
    MaxCompletionTokens,
}

/// The settings of a chat model and its sampling. Only `model` has no default.
///
/// Each of them but `price` is part of a request, and so of the key by which the ledger knows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatSettings {
    /// The model, as the server calls it.
    pub model: String,
    /// The temperature, 0 or more. It is not sent where it is not set, as some models refuse it.
    pub temperature: Option<f64>,
    /// The seed, for servers that take one. It is not sent where it is not set.
    pub seed: Option<u64>,
    /// The name of the field that limits the answer: `max_tokens` or `max_completion_tokens`.
    pub max_tokens_field: MaxTokensField,
    /// Further fields of the request's body, as in `{ top_p = 0.9 }`.
    pub extra_body: Map<String, Value>,
    /// The price of tokens.
    pub price: Price,
}

impl ChatSettings {
    /// Checks that the model has a name, that `temperature` and prices are finite and not below 0,
    /// and that no extra field is one of the client's own.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_model("chat", &self.model, &self.price)?;
        let temperature = self.temperature.unwrap_or(0.0);
        if !(temperature.is_finite() && temperature >= 0.0) {
            let problem = format!("{temperature}; expected a number of 0 or more");
            return Err(wrong("chat.temperature", problem));
        }
        let own = [
            "model",
            "messages",
            "temperature",
            "seed",
            "max_tokens",
            "max_completion_tokens",
            "stream",
            "n",
        ];
        check_extra("chat", &self.extra_body, &own)
    }
}

/// The settings of an embedding model. `model` and `width` have no defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbedderSettings {
    /// The model, as the server calls it.
    pub model: String,
    /// The width D of an embedding. An embedding of another width is refused.
    pub width: usize,
    /// The number of texts in one request. Default: 64.
    pub batch: usize,
    /// Whether numbers come as base64, which takes a quarter of the bytes. The server must know it.
    /// Default: false.
    pub base64: bool,
    /// Further fields of the request's body, as in `{ dimensions = 256 }`.
    pub extra_body: Map<String, Value>,
    /// The price of tokens. Only `input` counts.
    pub price: Price,
}

impl Default for EmbedderSettings {
    fn default() -> Self {
        let (model, extra_body) = Default::default();
        Self {
            model,
            width: 0,
            batch: 64,
            base64: false,
            extra_body,
            price: Price::default(),
        }
    }
}

impl EmbedderSettings {
    /// Checks that the model has a name, that `width` and `batch` are at least 1, and that prices
    /// are finite and not below 0. No extra field may be one of the client's own.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_model("embeddings", &self.model, &self.price)?;
        let number = |name, value: usize| (name, value > 0, value.to_string(), "at least 1");
        first(
            "embeddings",
            &[number("width", self.width), number("batch", self.batch)],
        )?;
        check_extra(
            "embeddings",
            &self.extra_body,
            &["model", "input", "encoding_format"],
        )
    }
}

pub(crate) fn check_model(section: &str, model: &str, price: &Price) -> Result<(), ConfigError> {
    if model.trim().is_empty() {
        return Err(wrong(
            format!("{section}.model"),
            "blank; expected a model's name",
        ));
    }
    let finite = |name, value: f64| {
        (
            name,
            value.is_finite() && value >= 0.0,
            value.to_string(),
            "a price for a million tokens, 0 or more",
        )
    };
    first(
        section,
        &[
            finite("price.input", price.input),
            finite("price.output", price.output),
        ],
    )
}

pub(crate) fn check_extra(
    section: &str,
    extra: &Map<String, Value>,
    own: &[&str],
) -> Result<(), ConfigError> {
    match own.iter().find(|name| extra.contains_key(**name)) {
        Some(name) => {
            let problem = "the client sets this field itself; expected others";
            Err(wrong(format!("{section}.extra_body.{name}"), problem))
        }
        None => Ok(()),
    }
}
