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
    /// The first rule of `(field, holds, expected)` that does not hold; `section` goes before its field.
    pub(crate) fn first(section: &str, rules: &[(&str, bool, &str)]) -> Result<(), ConfigError> {
        match rules.iter().find(|(_, holds, _)| !holds) {
            None => Ok(()),
            Some((field, _, expected)) => {
                let dot = if section.is_empty() { "" } else { "." };
                Err(ConfigError { field: format!("{section}{dot}{field}"), problem: format!("expected {expected}") })
            }
        }
    }
}
