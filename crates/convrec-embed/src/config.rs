//! The part of `config.json` that decides what an encoder computes.

use std::path::Path;

use serde::Deserialize;

use crate::error::{EmbedError, read_json};

/// The fields of `config.json`; others do not change what an encoder computes.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Config {
    model_type: String,
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) max_position_embeddings: usize,
    pub(crate) type_vocab_size: usize,
    pub(crate) layer_norm_eps: f64,
    hidden_act: String,
    position_embedding_type: Option<String>,
    is_decoder: Option<bool>,
    pad_token_id: Option<u32>,
}

impl Config {
    /// Reads and checks the file.
    pub(crate) fn read(path: &Path) -> Result<Self, EmbedError> {
        let config: Self = read_json(path)?;
        let bad = |field: &str, problem: String| Err(EmbedError::field(path, field, problem));
        let Some(_) = config.family() else {
            let known = FAMILIES.map(|(name, _)| name).join(", ");
            return bad(
                "model_type",
                format!(
                    "{:?} is not supported; expected one of {known}",
                    config.model_type
                ),
            );
        };
        for (field, value) in [
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("num_hidden_layers", config.num_hidden_layers),
            ("num_attention_heads", config.num_attention_heads),
            ("intermediate_size", config.intermediate_size),
            ("type_vocab_size", config.type_vocab_size),
            (
                "max_position_embeddings",
                config
                    .max_position_embeddings
                    .saturating_sub(config.first_position()),
            ),
        ] {
            if value == 0 {
                return bad(field, "too small; expected at least 1".into());
            }
        }
        let (width, heads) = (config.hidden_size, config.num_attention_heads);
        if !width.is_multiple_of(heads) {
            return bad(
                "num_attention_heads",
                format!("{heads} does not divide hidden_size = {width}"),
            );
        }
        if !(config.layer_norm_eps > 0.0 && config.layer_norm_eps < 1.0) {
            return bad(
                "layer_norm_eps",
                format!(
                    "{}; expected a small positive number",
                    config.layer_norm_eps
                ),
            );
        }
        if config.hidden_act != "gelu" {
            return bad(
                "hidden_act",
                format!(
                    "{:?} is not supported; expected \"gelu\"",
                    config.hidden_act
                ),
            );
        }
        if let Some(kind) = config
            .position_embedding_type
            .as_ref()
            .filter(|kind| *kind != "absolute")
        {
            return bad(
                "position_embedding_type",
                format!("{kind:?} is not supported; expected \"absolute\""),
            );
        }
        if config.is_decoder == Some(true) {
            return bad("is_decoder", "true; expected an encoder".into());
        }
        Ok(config)
    }

    fn family(&self) -> Option<Family> {
        FAMILIES
            .into_iter()
            .find(|(name, _)| *name == self.model_type)
            .map(|(_, family)| family)
    }

    /// The token for padding: in RoBERTa's models it decides where positions begin.
    pub(crate) fn pad(&self) -> u32 {
        self.pad_token_id.unwrap_or(match self.family() {
            Some(Family::Roberta) => 1,
            _ => 0,
        })
    }

    /// The position of a text's first token.
    pub(crate) fn first_position(&self) -> usize {
        match self.family() {
            Some(Family::Roberta) => self.pad() as usize + 1,
            _ => 0,
        }
    }

    /// The number of tokens of the longest text, by its positions.
    pub(crate) fn longest(&self) -> usize {
        self.max_position_embeddings - self.first_position()
    }

    /// The position of each token.
    pub(crate) fn positions(&self, tokens: &[u32]) -> Vec<usize> {
        let (first, pad) = (self.first_position(), self.pad());
        if first == 0 {
            return (0..tokens.len()).collect();
        }
        // A padding token that is spelled in the text has the position of padding, and is not
        // counted.
        let mut next = first;
        let mut position = |token: &u32| {
            let is_pad = *token == pad;
            next += usize::from(!is_pad);
            if is_pad { first - 1 } else { next - 1 }
        };
        tokens.iter().map(&mut position).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Family {
    Bert,
    Roberta,
}

/// The families by their `model_type`.
const FAMILIES: [(&str, Family); 3] = [
    ("bert", Family::Bert),
    ("roberta", Family::Roberta),
    ("xlm-roberta", Family::Roberta),
];
