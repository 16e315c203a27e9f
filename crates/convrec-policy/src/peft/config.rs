//! The content of an `adapter_config.json` of the PEFT library.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::places::{Names, Pattern};
use crate::config::ConfigError;
use crate::fields::{COUNT, Fields, NUMBER, read_object};
use crate::lora_config::LoraConfig;
use crate::saved_modules::{EMBEDDINGS, HEAD};

/// Initialisations that leave the base model as it is.
const HARMLESS_INITS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

#[derive(Debug)]
pub(super) struct PeftConfig {
    pub(super) rank: usize,
    pub(super) alpha: f64,
    pub(super) rank_stabilized: bool,
    pub(super) targets: Names,
    pub(super) exclude: Option<Names>,
    /// The blocks that have an adapter; all where there are none.
    pub(super) layers: Option<Vec<usize>>,
    /// The text before a block's number in a module's name, where the file gives it.
    pub(super) layer_patterns: Vec<Pattern>,
    pub(super) ranks: Vec<(Pattern, usize)>,
    pub(super) alphas: Vec<(Pattern, f64)>,
    pub(super) saved_modules: Vec<&'static str>,
}

impl PeftConfig {
    pub(super) fn read(text: &str) -> Result<Self, ConfigError> {
        let map = read_object(text)?;
        let fields = Fields::of_file(&map);
        let kind: String = fields.must("peft_type", "a text")?;
        if kind != "LORA" {
            return fields.unsupported("peft_type", format!("{kind:?}"), "\"LORA\"");
        }
        refuse_unsupported(&fields)?;
        let names = |field| -> Result<Option<Names>, ConfigError> {
            let value = fields.value(field).filter(|value| **value != json!([]));
            value
                .map(|value| Names::read(&fields, field, value))
                .transpose()
        };
        let targets = names("target_modules")?
            .ok_or_else(|| fields.error("target_modules", "missing; expected names of modules"))?;
        let layers = read_layers(&fields)?;
        if layers.is_some() && matches!(targets, Names::Matching(_)) {
            let problem = "not allowed beside a regular expression in target_modules, as in PEFT";
            return Err(fields.error("layers_to_transform", problem));
        }
        let config = Self {
            rank: fields.must("r", COUNT)?,
            alpha: fields.must("lora_alpha", NUMBER)?,
            rank_stabilized: fields.flag("use_rslora")?.unwrap_or(false),
            targets,
            exclude: names("exclude_modules")?,
            layers,
            layer_patterns: read_layer_patterns(&fields)?,
            ranks: read_pattern(&fields, "rank_pattern", COUNT)?,
            alphas: read_pattern(&fields, "alpha_pattern", NUMBER)?,
            saved_modules: read_saved(&fields)?,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let zero = self.rank == 0 || self.ranks.iter().any(|(_, rank)| *rank == 0);
        let bad = |alpha: &f64| !(*alpha > 0.0 && alpha.is_finite());
        if zero {
            let field = if self.rank == 0 { "r" } else { "rank_pattern" };
            return Err(ConfigError::new(field, "0; expected at least 1"));
        }
        for (field, alpha) in [("lora_alpha", Some(&self.alpha).filter(|x| bad(x)))]
            .into_iter()
            .chain(
                self.alphas
                    .iter()
                    .map(|(_, x)| ("alpha_pattern", Some(x).filter(|x| bad(x)))),
            )
        {
            if let Some(alpha) = alpha {
                let problem = format!("{alpha}; expected a positive number");
                return Err(ConfigError::new(field, problem));
            }
        }
        Ok(())
    }

    /// The shape of an adapter that no pattern changes.
    pub(super) fn shape(&self) -> LoraConfig {
        LoraConfig {
            rank: self.rank,
            alpha: self.alpha,
            targets: vec![],
            rank_stabilized: self.rank_stabilized,
        }
    }
}

fn refuse_unsupported(fields: &Fields) -> Result<(), ConfigError> {
    // These are the values that change nothing; absent and null mean the same.
    for (field, harmless) in [
        ("bias", json!("none")),
        ("use_dora", json!(false)),
        ("use_qalora", json!(false)),
        ("use_bdlora", json!(false)),
        ("alora_invocation_tokens", json!([])),
        ("lora_bias", json!(false)),
        ("fan_in_fan_out", json!(false)),
        ("layer_replication", json!([])),
        ("trainable_token_indices", json!([])),
        ("target_parameters", json!([])),
        ("arrow_config", json!({})),
        ("kasa_config", json!({})),
        ("monteclora_config", json!({})),
        ("velora_config", json!({})),
    ] {
        if let Some(value) = fields.value(field).filter(|value| **value != harmless) {
            return fields.unsupported(field, value, &harmless.to_string());
        }
    }
    // PEFT itself writes `true` when it converts such an adapter to one for the plain model.
    match fields.value("init_lora_weights") {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(Value::String(name)) if HARMLESS_INITS.contains(&name.as_str()) => Ok(()),
        Some(other) => {
            let problem = format!(
                "{other} changed the weights of the base model, so the adapter does not fit the \
                 plain one; convert it with PEFT: save_pretrained(folder, \
                 path_initial_model_for_weight_conversion=...)"
            );
            Err(fields.error("init_lora_weights", problem))
        }
    }
}

/// One number or a list of them.
fn read_layers(fields: &Fields) -> Result<Option<Vec<usize>>, ConfigError> {
    const FIELD: &str = "layers_to_transform";
    match fields.value(FIELD) {
        Some(Value::Array(list)) if list.is_empty() => Ok(None),
        Some(Value::Array(_)) => fields.maybe(FIELD, "numbers of blocks"),
        _ => Ok(fields
            .maybe(FIELD, "numbers of blocks")?
            .map(|one| vec![one])),
    }
}

/// One text or a list of them.
fn read_layer_patterns(fields: &Fields) -> Result<Vec<Pattern>, ConfigError> {
    const FIELD: &str = "layers_pattern";
    let texts: Vec<String> = match fields.value(FIELD) {
        Some(Value::Array(_)) => fields.maybe(FIELD, "a list of texts")?.unwrap_or_default(),
        _ => fields.maybe(FIELD, "a text")?.into_iter().collect(),
    };
    let number = |text: &String| format!(r".*\.{text}\.(\d+)\.");
    let patterns = texts.iter().filter(|text| !text.is_empty());
    patterns
        .map(|text| Pattern::new(fields, FIELD, &number(text)))
        .collect()
}

fn read_pattern<T: serde::de::DeserializeOwned>(
    fields: &Fields,
    field: &str,
    expected: &str,
) -> Result<Vec<(Pattern, T)>, ConfigError> {
    let expected = format!("an object of names and {expected}");
    let found: BTreeMap<String, T> = fields.maybe(field, &expected)?.unwrap_or_default();
    let pair = |(name, value): (String, T)| {
        let ends = format!(r"(?:.*\.)?(?:{name})$");
        Ok((Pattern::new(fields, field, &ends)?, value))
    };
    found.into_iter().map(pair).collect()
}

fn read_saved(fields: &Fields) -> Result<Vec<&'static str>, ConfigError> {
    const FIELD: &str = "modules_to_save";
    let names: Vec<String> = fields
        .maybe(FIELD, "a list of modules")?
        .unwrap_or_default();
    let mut saved = vec![];
    for name in &names {
        match [EMBEDDINGS, HEAD]
            .into_iter()
            .find(|known| name.rsplit('.').next() == Some(*known))
        {
            Some(known) if saved.contains(&known) => {}
            Some(known) => saved.push(known),
            None => {
                let expected = format!("{EMBEDDINGS} and {HEAD}");
                return fields.unsupported(FIELD, format!("{name:?}"), &expected);
            }
        }
    }
    Ok(saved)
}
