use burn::module::Module;
use convrec_policy::{LoraConfig, Policy};

/// A field of a configuration makes no sense; the run does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config, field `{field}`: {problem}")]
pub struct ConfigError {
    /// The field, as in `optimizer.learning_rate`.
    pub field: String,
    /// What was expected.
    pub problem: String,
}

impl ConfigError {
    /// The first rule of `(field, holds, expected)` that does not hold; `section` goes before its
    /// field.
    pub(crate) fn first(section: &str, rules: &[(&str, bool, &str)]) -> Result<(), ConfigError> {
        match rules.iter().find(|(_, holds, _)| !holds) {
            None => Ok(()),
            Some((field, _, expected)) => {
                let dot = if section.is_empty() { "" } else { "." };
                Err(ConfigError {
                    field: format!("{section}{dot}{field}"),
                    problem: format!("expected {expected}"),
                })
            }
        }
    }
}

/// Whether the shape of an adapter makes sense.
pub(crate) fn check_lora(lora: Option<&LoraConfig>) -> Result<(), ConfigError> {
    lora.map_or(Ok(()), LoraConfig::check).map_err(in_lora)
}

/// The policy to sample from, to evaluate or to refer to.
pub(crate) fn frozen(policy: &Policy, bf16: bool) -> Policy {
    if bf16 {
        policy.valid().bf16_copy()
    } else {
        policy.valid()
    }
}

/// The policy with the adapter that the settings ask for.
pub(crate) fn with_lora(
    policy: Policy,
    lora: Option<&LoraConfig>,
    seed: u64,
) -> Result<Policy, ConfigError> {
    match lora {
        Some(config) => policy.with_lora(config, seed).map_err(in_lora),
        None => Ok(policy),
    }
}

fn in_lora(error: convrec_policy::ConfigError) -> ConfigError {
    let field = if error.field == "lora" {
        error.field
    } else {
        format!("lora.{}", error.field)
    };
    ConfigError {
        field,
        problem: error.problem,
    }
}
