//! Settings from a TOML file.

use std::error::Error;
use std::path::{Path, PathBuf};

use convrec_core::files;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// `defaults`, and over them what the TOML file at `path` says; tables are merged field by field,
/// so that a file may set one field of a nested table. Unknown fields are refused.
///
/// # Errors
/// When the file cannot be read or a field is wrong: the error names the file, and the line or the
/// field.
pub fn read<T: DeserializeOwned + Serialize>(
    path: Option<&Path>,
    defaults: T,
) -> Result<T, Box<dyn Error>> {
    let Some(path) = path else {
        return Ok(defaults);
    };
    over(path, "", defaults, table(path)?)
}

/// What a file says, of which tables are settings of their own.
#[derive(Debug, Clone)]
pub struct Given {
    path: PathBuf,
    rest: toml::Table,
}

impl Given {
    /// What this table of the file at `path` says.
    pub fn new(path: &Path, table: toml::Table) -> Self {
        Self {
            path: path.into(),
            rest: table,
        }
    }

    /// Whether the file has something of this name that was not taken yet.
    pub fn has(&self, name: &str) -> bool {
        self.rest.contains_key(name)
    }

    /// Takes the table of this name: `defaults`, and over them what it says.
    ///
    /// # Errors
    /// As [`read`].
    pub fn part<T: DeserializeOwned + Serialize>(
        &mut self,
        name: &str,
        defaults: T,
    ) -> Result<T, Box<dyn Error>> {
        match self.rest.remove(name) {
            None => Ok(defaults),
            Some(toml::Value::Table(part)) => over(&self.path, name, defaults, part),
            Some(_) => Err(format!(
                "{}, field `{name}`: expected a table, `[{name}]`",
                self.path.display()
            )
            .into()),
        }
    }

    /// `defaults`, and over them everything that was not taken.
    ///
    /// # Errors
    /// As [`read`].
    pub fn rest<T: DeserializeOwned + Serialize>(self, defaults: T) -> Result<T, Box<dyn Error>> {
        over(&self.path, "", defaults, self.rest)
    }
}

/// What a TOML file says.
///
/// # Errors
/// When it cannot be read or is no TOML; the error names the file and the line.
pub fn table(path: &Path) -> Result<toml::Table, Box<dyn Error>> {
    let table =
        toml::from_str(&files::read_text(path)?).map_err(|e| format!("{}: {e}", path.display()))?;
    let table = toml::Value::Table(table);
    if let Some(field) = not_finite(&table) {
        return Err(format!(
            "{}, field `{field}`: expected a finite number",
            path.display()
        )
        .into());
    }
    let toml::Value::Table(table) = table else {
        unreachable!("it is one")
    };
    Ok(table)
}

/// The path of the first number that is NaN or infinite: JSON has none.
fn not_finite(value: &toml::Value) -> Option<String> {
    let inner = |name: String, value: &toml::Value| {
        let rest = not_finite(value)?;
        Some(if rest.is_empty() {
            name
        } else {
            format!("{name}.{rest}")
        })
    };
    match value {
        toml::Value::Float(x) if !x.is_finite() => Some(String::new()),
        toml::Value::Table(table) => table
            .iter()
            .find_map(|(name, value)| inner(name.clone(), value)),
        toml::Value::Array(values) => values
            .iter()
            .enumerate()
            .find_map(|(n, value)| inner(n.to_string(), value)),
        _ => None,
    }
}

/// `defaults`, and over them what the table called `name` of the file says.
fn over<T: DeserializeOwned + Serialize>(
    path: &Path,
    name: &str,
    defaults: T,
    table: toml::Table,
) -> Result<T, Box<dyn Error>> {
    let mut settings = serde_json::to_value(defaults)?;
    merge(&mut settings, serde_json::to_value(table)?);
    let dot = if name.is_empty() { "" } else { "." };
    serde_path_to_error::deserialize(settings).map_err(|e| {
        let (field, problem) = (format!("{name}{dot}{}", e.path()), e.inner().to_string());
        // serde's words for a choice that was named without its fields.
        let hint = match problem.contains("unit variant") {
            true => "; expected its fields as well, `{ name = { field = value } }` (docs/training.md lists them)",
            false => "",
        };
        format!("{}, field `{field}`: {problem}{hint}", path.display()).into()
    })
}

fn merge(settings: &mut Value, over: Value) {
    match (settings, over) {
        // Another variant of a choice, as `{ cispo = ... }` over `{ ppo = ... }`, replaces it.
        (settings @ Value::Object(_), Value::Object(over)) if is_choice(settings, &over) => {
            *settings = over.into()
        }
        (Value::Object(settings), Value::Object(over)) => {
            for (field, value) in over {
                let old = settings.entry(&field).or_insert(Value::Null);
                match (old, value) {
                    // Names of one's own, not variants.
                    (Value::Object(old), Value::Object(new)) if field == "reward_weights" => {
                        old.extend(new)
                    }
                    (old, value) => merge(old, value),
                }
            }
        }
        (settings, over) => *settings = over,
    }
}

/// Whether both name one variant, and different ones.
fn is_choice(settings: &Value, over: &Map<String, Value>) -> bool {
    let one = |map: &Map<String, Value>| map.keys().next().filter(|_| map.len() == 1).cloned();
    settings
        .as_object()
        .and_then(one)
        .zip(one(over))
        .is_some_and(|(old, new)| old != new)
}

/// Replaces an optional `field` where a flag was given.
pub fn set_some<T: Clone>(field: &mut Option<T>, flag: &Option<T>) {
    if flag.is_some() {
        field.clone_from(flag);
    }
}

/// Replaces `field` where a flag was given.
pub fn set<T>(field: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *field = value;
    }
}

#[cfg(test)]
mod tests {
    use convrec_policy::{LoraConfig, Projection};
    use convrec_train::{RlConfig, SftConfig};
    use rank_grpo::LossConfig;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let defaults = RlConfig {
            max_completion_length: 77,
            ..RlConfig::default()
        };
        let file =
            file("max_steps = 3\n[loss.kl]\nbeta = 0.25\n[optimizer]\nlearning_rate = 1e-3\n");
        let read = read(Some(file.path()), defaults.clone()).unwrap();
        let mut expected = RlConfig {
            max_steps: 3,
            ..defaults
        };
        expected.loss.kl.as_mut().unwrap().beta = 0.25;
        expected.optimizer.learning_rate = 1e-3;
        assert_eq!(read, expected);
    }

    /// What is printed is what is read back, and every member of the family can be written in a
    /// file.
    #[test]
    fn every_preset_goes_through_a_file() {
        let presets = [
            LossConfig::paper(),
            LossConfig::authors(),
            LossConfig::grpo(),
            LossConfig::gspo(),
            LossConfig::dapo(),
            LossConfig::dr_grpo(256),
            LossConfig::cispo(),
            LossConfig::bnpo(),
        ];
        for loss in presets {
            let config = RlConfig {
                loss,
                ..RlConfig::default()
            };
            let text = toml::to_string(&config.clone().printable()).unwrap();
            let read = read(Some(file(&text).path()), RlConfig::default()).unwrap();
            assert_eq!(read, config.printable());
        }
    }

    #[test]
    fn an_adapter_goes_through_a_file() {
        let read = |text: &str| read(Some(file(text).path()), SftConfig::default()).unwrap();
        assert_eq!(read("max_steps = 3").lora, None);
        let config = read("[lora]\nrank = 4\ntargets = [\"q_proj\"]\n");
        let lora = LoraConfig {
            rank: 4,
            targets: vec![Projection::QProj],
            ..LoraConfig::default()
        };
        assert_eq!(config.lora, Some(lora));
        assert_eq!(read(&toml::to_string(&config).unwrap()), config);
    }

    #[test]
    fn reward_weights_are_added_to_the_default_however_many_are_named() {
        for text in [
            "[reward_weights]\nnovelty = 0.5",
            "[reward_weights]\nnovelty = 0.5\ndiversity = 1.0",
        ] {
            let read = read(Some(file(text).path()), RlConfig::default()).unwrap();
            assert_eq!(
                (
                    read.reward_weights["relevance"],
                    read.reward_weights["novelty"]
                ),
                (1.0, 0.5)
            );
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        let error = |text: &str| {
            read(Some(file(text).path()), SftConfig::default())
                .unwrap_err()
                .to_string()
        };
        assert!(error("stepz = 3").contains("unknown field `stepz`"));
        assert!(
            error("[optimizer]\nlearning_rate = \"x\"").contains("field `optimizer.learning_rate`")
        );
        assert!(error("max_steps = = 3").contains("line 1"));
        let choice = over(
            Path::new("x"),
            "",
            RlConfig::default(),
            toml::from_str("loss.clip = \"cispo\"").unwrap(),
        );
        assert!(
            choice
                .unwrap_err()
                .to_string()
                .contains("`loss.clip.cispo`")
        );
        assert!(
            error("[optimizer]\nlearning_rate = nan")
                .contains("field `optimizer.learning_rate`: expected a finite")
        );
    }
}
