use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

/// A setting is wrong. It names the file, the field, what was found and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{}expected {expected}", place(.file.as_deref(), .field), .found, join(.found))]
pub struct ConfigError {
    /// The file that set the field; `None` for flags, defaults and settings made in code.
    pub file: Option<PathBuf>,
    /// The path of the field, as in `optimizer.learning_rate`; empty for a file as a whole.
    pub field: String,
    /// What was found, as a phrase (`found 0`); empty where nothing was.
    pub found: String,
    /// What is expected, as a phrase that follows "expected".
    pub expected: String,
}

fn place(file: Option<&Path>, field: &str) -> String {
    let file = file.map_or_else(|| "config".into(), |file| file.display().to_string());
    match field {
        "" => format!("{file}: "),
        field => format!("{file}, field `{field}`: "),
    }
}

fn join(found: &str) -> &'static str {
    if found.is_empty() { "" } else { ", " }
}

impl ConfigError {
    /// An error about a field: `found` is a value as it is shown, and may be empty.
    pub fn new(
        field: impl Into<String>,
        found: impl std::fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        let found = found.to_string();
        Self {
            file: None,
            field: field.into(),
            found: match found.as_str() {
                "" => found,
                _ => format!("found {found}"),
            },
            expected: expected.into(),
        }
    }

    /// An error about a file as a whole, with what was found in words of its own.
    pub fn file(path: impl Into<PathBuf>, found: impl Into<String>, expected: &str) -> Self {
        Self {
            file: Some(path.into()),
            field: String::new(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// The same error seen from the table around it: `within("optimizer")` makes `adam_beta1` the
    /// field `optimizer.adam_beta1`.
    #[must_use]
    pub fn within(mut self, table: &str) -> Self {
        self.field = dotted(table, &self.field);
        self
    }

    /// The same error in the file that set the field.
    #[must_use]
    pub fn in_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// From serde's words, such as "unknown field `a`, expected `b`".
    pub(crate) fn from_serde(field: String, problem: &str) -> Self {
        let (found, mut expected) = match problem.split_once(", expected ") {
            Some((found, expected)) => (found, expected.to_string()),
            None => (problem, "what `--print-config` shows there".to_string()),
        };
        // The words of serde for a choice that is named without its fields.
        if problem.contains("unit variant") {
            expected += "; write its fields as well: `{ name = { field = value } }`";
        }
        Self {
            file: None,
            field,
            found: found.into(),
            expected,
        }
    }
}

/// A rule of a config: the path of the field, whether the rule holds, and what is expected.
pub type Rule<'a> = (&'a str, bool, &'a str);

/// Checks settings by rules. The error shows the field's value, which is looked up in `settings`.
///
/// # Errors
/// [`ConfigError`] for the first rule that does not hold.
pub fn check(settings: &impl Serialize, rules: &[Rule<'_>]) -> Result<(), ConfigError> {
    let Some((field, _, expected)) = rules.iter().find(|(_, holds, _)| !holds) else {
        return Ok(());
    };
    let settings = serde_json::to_value(settings).unwrap_or(Value::Null);
    let value = lookup(&settings, field).filter(|value| !value.is_object());
    let shown = match value {
        None => String::new(),
        // JSON has no other numbers that are none.
        Some(Value::Null) => "nothing, or no finite number".into(),
        Some(value) => value.to_string(),
    };
    Err(ConfigError::new(*field, shown, *expected))
}

/// The value at a dotted path.
pub(crate) fn lookup<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .filter(|name| !name.is_empty())
        .try_fold(value, |value, name| match value {
            Value::Array(values) => values.get(name.parse::<usize>().ok()?),
            _ => value.get(name),
        })
}

pub(crate) fn dotted(table: &str, field: &str) -> String {
    let dot = if table.is_empty() || field.is_empty() {
        ""
    } else {
        "."
    };
    format!("{table}{dot}{field}")
}
