//! Fields that say how to draw, as OpenAI's protocol and vLLM name them.

use convrec_policy::Sampling;
use serde::Deserialize;
use serde_json::Value;

use crate::refusal::Refusal;

/// A seed: any integer.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "expected an integer")]
pub(crate) enum Seed {
    Natural(u64),
    Negative(i64),
}

impl Seed {
    /// Without a seed every request is another draw.
    pub(crate) fn number(seed: Option<Self>) -> u64 {
        match seed {
            Some(Self::Natural(seed)) => seed,
            Some(Self::Negative(seed)) => seed as u64,
            None => rand::random(),
        }
    }
}

/// What a client asks of a stream.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct StreamOptions {
    /// A last chunk with the number of tokens.
    pub(crate) include_usage: Option<bool>,
    #[serde(rename = "include_obfuscation")]
    _include_obfuscation: Option<bool>,
}

pub(crate) fn sampling(
    temperature: f32,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
) -> Result<Sampling, Refusal> {
    let sampling = Sampling {
        temperature,
        top_p,
        // -1 and 0 keep all in vLLM.
        top_k: top_k.filter(|k| *k > 0).map(|k| k as usize),
        min_p: min_p.filter(|p| *p != 0.0),
        ..Sampling::default()
    };
    match sampling.check() {
        Ok(()) => Ok(sampling),
        Err(e) => Err(Refusal::field(&e.field, e.problem)),
    }
}

/// Whether what is not done here is asked for in earnest.
pub(crate) fn nothing_else(
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    logit_bias: Option<&Value>,
) -> Result<(), Refusal> {
    for (field, value) in [
        ("frequency_penalty", frequency_penalty),
        ("presence_penalty", presence_penalty),
    ] {
        if let Some(value) = value.filter(|value| *value != 0.0) {
            let problem = format!("{value}; expected 0, as there are no penalties here");
            return Err(Refusal::field(field, problem));
        }
    }
    let is_empty = |bias: &Value| bias.is_null() || bias.as_object().is_some_and(|b| b.is_empty());
    match logit_bias.is_none_or(is_empty) {
        true => Ok(()),
        false => Err(Refusal::field(
            "logit_bias",
            "expected none: tokens have no bias here",
        )),
    }
}

/// Whether the model is the one that is served.
pub(crate) fn check_model(asked: Option<&str>, name: &str) -> Result<(), Refusal> {
    match asked.filter(|asked| *asked != name) {
        None => Ok(()),
        Some(asked) => Err(no_model(asked, name)),
    }
}

pub(crate) fn no_model(asked: &str, name: &str) -> Refusal {
    let shown: String = asked.chars().take(200).collect();
    let message = format!("field `model`: `{shown}` is not served here; expected `{name}`");
    Refusal::new(axum::http::StatusCode::NOT_FOUND, message).coded("model_not_found")
}
