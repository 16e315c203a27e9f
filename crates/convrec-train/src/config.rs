use burn::module::Module;
use convrec_config::ConfigError;
use convrec_policy::{LoraConfig, Policy};

/// Checks the shape of an adapter.
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
    let field = match error.field.as_str() {
        "lora" => error.field,
        field => format!("lora.{field}"),
    };
    of_problem(field, &error.problem)
}

/// The error of a crate whose message has the found and the expected value in one phrase.
fn of_problem(field: String, problem: &str) -> ConfigError {
    let (found, expected) = problem.split_once("expected ").unwrap_or(("", problem));
    let found = found.trim_end_matches([' ', ',', ';', ':']);
    ConfigError {
        found: found.into(),
        ..ConfigError::new(field, "", expected)
    }
}
