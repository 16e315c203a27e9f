use convrec_config::ConfigError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model_settings::{check_extra, check_model};
use crate::settings::wrong;
use crate::usage::Price;
use crate::weights::WeightUpdate;

/// The settings of a model that completes, and of the way in which its servers get new weights.
/// Only `model` has no default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompletionsSettings {
    /// The model, as the servers call it. For servers that load adapters it is the adapter's name.
    pub model: String,
    /// Whether each completion of a prompt is a request of its own, with `n` 1. llama.cpp's server
    /// needs it, as it counts the tokens of one completion alone.
    pub separate: bool,
    /// Further fields of the requests' bodies, as in `{ ignore_eos = true }`.
    pub extra_body: Map<String, Value>,
    /// The price of tokens.
    pub price: Price,
    /// How the servers are told to load new weights.
    pub update: WeightUpdate,
    /// The folder of weights as the servers see it, where their paths differ from the trainer's.
    pub weights_at_servers: Option<String>,
}

impl CompletionsSettings {
    /// Checks that the model has a name and that prices are finite and not below 0. No extra field
    /// may be one of the client's own, and the calls of `update` must be paths.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_model("completions", &self.model, &self.price)?;
        let own = [
            "model",
            "prompt",
            "n",
            "temperature",
            "max_tokens",
            "seed",
            "logprobs",
            "stop_token_ids",
            "return_token_ids",
            "return_tokens_as_token_ids",
            "stream",
            "echo",
        ];
        check_extra("completions", &self.extra_body, &own)?;
        match self
            .update
            .calls(&self.model)
            .iter()
            .find(|call| !call.path.starts_with('/'))
        {
            Some(call) => {
                let problem = format!(
                    "`{}`; expected a path from the host on, as in `/v1/load`",
                    call.path
                );
                Err(wrong("completions.update.calls.path", problem))
            }
            None => Ok(()),
        }
    }
}
