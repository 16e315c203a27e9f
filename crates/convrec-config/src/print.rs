use serde::Serialize;
use serde_json::Value;

use crate::error::{ConfigError, dotted};

/// Writes settings as TOML. What is read over the same `defaults` gives the same settings: an
/// optional table that the defaults have and the settings have not is written as `name = false`.
///
/// # Errors
/// [`ConfigError`] when a setting cannot be written as TOML.
pub fn to_toml<T: Serialize>(settings: &T, defaults: &T) -> Result<String, ConfigError> {
    let wrong = |e: &dyn std::fmt::Display| ConfigError::new("", e, "settings that TOML can hold");
    let text = toml::to_string(settings).map_err(|e| wrong(&e))?;
    let value = |settings| serde_json::to_value(settings).map_err(|e| wrong(&e));
    let mut off = Vec::new();
    collect_off("", &value(settings)?, &value(defaults)?, &mut off);
    Ok(off.iter().fold(text, |text, field| insert(&text, field)))
}

/// The paths of tables that `defaults` has and `settings` has not.
fn collect_off(path: &str, settings: &Value, defaults: &Value, off: &mut Vec<String>) {
    match (settings, defaults) {
        (Value::Null, Value::Object(_)) => off.push(path.into()),
        (Value::Object(settings), Value::Object(defaults)) => {
            for (name, value) in settings {
                if let Some(default) = defaults.get(name) {
                    collect_off(&dotted(path, name), value, default, off);
                }
            }
        }
        _ => {}
    }
}

fn insert(text: &str, field: &str) -> String {
    let Some((table, name)) = field.rsplit_once('.') else {
        return format!("{field} = false\n{text}");
    };
    let header = format!("[{table}]\n");
    // A header at the beginning of a line; another one may hold it.
    let at = match text.starts_with(&header) {
        true => Some(0),
        false => text.find(&format!("\n{header}")).map(|at| at + 1),
    };
    match at {
        Some(at) => {
            let (before, after) = text.split_at(at + header.len());
            format!("{before}{name} = false\n{after}")
        }
        None => format!("{text}\n{header}{name} = false\n"),
    }
}
