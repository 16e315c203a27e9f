use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{ConfigError, dotted};

/// The largest settings file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// The settings of one source: a file, or the flags of a program. Fields that it does not set are
/// absent.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    pub(crate) file: Option<PathBuf>,
    pub(crate) fields: Value,
}

impl Layer {
    /// A layer of flags, which sets nothing yet.
    #[must_use]
    pub fn flags() -> Self {
        Self {
            file: None,
            fields: Map::new().into(),
        }
    }

    /// Reads a TOML file of at most 1 MiB.
    ///
    /// # Errors
    /// [`ConfigError`] when it cannot be read, is no regular file, is too large, is no TOML, or
    /// holds a number that is not finite.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = || -> io::Result<String> {
            if !path.metadata()?.is_file() {
                return Err(io::Error::other("it is no regular file"));
            }
            let mut text = String::new();
            let read = File::open(path)?
                .take(LARGEST + 1)
                .read_to_string(&mut text)?;
            match read as u64 > LARGEST {
                true => Err(io::Error::other("it is larger than 1 MiB")),
                false => Ok(text),
            }
        };
        let text = read().map_err(|e| {
            ConfigError::file(path, format!("it cannot be read ({e})"), "a TOML file")
        })?;
        Self::parse(&text, path)
    }

    /// Reads TOML that was found at `path`.
    ///
    /// # Errors
    /// [`ConfigError`] when the text is no TOML or holds a number that is not finite.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let wrong = |e: &dyn std::fmt::Display| {
            ConfigError::file(path, e.to_string().trim_end().to_string(), "TOML")
        };
        let table: toml::Table = toml::from_str(text).map_err(|e| wrong(&e))?;
        let table = toml::Value::Table(table);
        if let Some((field, number)) = not_finite(&table) {
            return Err(ConfigError::new(field, number, "a finite number").in_file(path));
        }
        Ok(Self {
            file: Some(path.into()),
            fields: serde_json::to_value(table).map_err(|e| wrong(&e))?,
        })
    }

    /// Sets the field at a dotted path where there is a value. `false` turns an optional table off.
    ///
    /// # Panics
    /// When the value cannot be written as JSON, as a map whose keys are no texts.
    pub fn set(&mut self, field: &str, value: Option<impl Serialize>) {
        let Some(value) = value else { return };
        let mut place = &mut self.fields;
        for name in field.split('.') {
            if !place.is_object() {
                *place = Map::new().into();
            }
            place = &mut place[name];
        }
        *place = serde_json::to_value(value).expect("numbers, texts, lists and maps of texts");
    }
}

/// The path and the value of the first number that is NaN or infinite, which JSON does not have.
fn not_finite(value: &toml::Value) -> Option<(String, f64)> {
    let inner = |name: String, value: &toml::Value| {
        let (rest, number) = not_finite(value)?;
        Some((dotted(&name, &rest), number))
    };
    match value {
        toml::Value::Float(x) if !x.is_finite() => Some((String::new(), *x)),
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
