//! The fields of the JSON files of a model folder, with errors that name them.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::config::ConfigError;

pub(crate) const COUNT: &str = "a whole number";
pub(crate) const NUMBER: &str = "a number";
pub(crate) const FLAG: &str = "true or false";

/// Reads a JSON object.
pub(crate) fn read_object(text: &str) -> Result<Map<String, Value>, ConfigError> {
    let whole = |problem: String| ConfigError::new("(the whole file)", problem);
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(whole("not a JSON object; expected one".into())),
        Err(e) => Err(whole(format!("not JSON: {e}; expected a JSON object"))),
    }
}

/// A JSON object, with its own name for errors.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) map: &'a Map<String, Value>,
    pub(crate) of: &'a str,
}

impl<'a> Fields<'a> {
    pub(crate) fn of_file(map: &'a Map<String, Value>) -> Self {
        Self { map, of: "" }
    }

    pub(crate) fn error(&self, field: &str, problem: impl Into<String>) -> ConfigError {
        let dot = if self.of.is_empty() { "" } else { "." };
        ConfigError::new(format!("{}{dot}{field}", self.of), problem)
    }

    pub(crate) fn unsupported<T>(
        &self,
        field: &str,
        found: impl std::fmt::Display,
        expected: &str,
    ) -> Result<T, ConfigError> {
        let problem = format!("{found} is not supported; expected {expected}");
        Err(self.error(field, problem))
    }

    /// The value of a field; null counts as absent.
    pub(crate) fn value(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn maybe<T: DeserializeOwned>(
        &self,
        field: &str,
        expected: &str,
    ) -> Result<Option<T>, ConfigError> {
        let read = |value: &Value| {
            T::deserialize(value)
                .map_err(|_| self.error(field, format!("{value}; expected {expected}")))
        };
        self.value(field).map(read).transpose()
    }

    pub(crate) fn must<T: DeserializeOwned>(
        &self,
        field: &str,
        expected: &str,
    ) -> Result<T, ConfigError> {
        self.maybe(field, expected)?
            .ok_or_else(|| self.error(field, format!("missing; expected {expected}")))
    }

    pub(crate) fn count(&self, field: &str) -> Result<usize, ConfigError> {
        self.must(field, COUNT)
    }

    pub(crate) fn flag(&self, field: &str) -> Result<Option<bool>, ConfigError> {
        self.maybe(field, FLAG)
    }

    pub(crate) fn number(&self, field: &str) -> Result<Option<f64>, ConfigError> {
        self.maybe(field, NUMBER)
    }

    /// The object in a field; `of` is its name for errors.
    pub(crate) fn object(&self, field: &'a str) -> Result<Option<Fields<'a>>, ConfigError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields { map, of: field })),
            Some(other) => Err(self.error(field, format!("{other}; expected an object"))),
        }
    }

    /// One token id, or none. Some tools write -1 for none.
    pub(crate) fn token(&self, field: &str) -> Result<Option<u32>, ConfigError> {
        Ok(self.tokens(field)?.first().copied())
    }

    /// One token id, a list of them, or none. Some tools write -1 for none.
    pub(crate) fn tokens(&self, field: &str) -> Result<Vec<u32>, ConfigError> {
        const EXPECTED: &str = "a token id, a list of them, or null";
        let ids: Vec<i64> = if self.value(field).is_some_and(Value::is_array) {
            self.maybe(field, EXPECTED)?.unwrap_or_default()
        } else {
            self.maybe(field, EXPECTED)?.into_iter().collect()
        };
        let id = |id: &i64| {
            u32::try_from(*id).map_err(|_| self.error(field, format!("{id}; expected {EXPECTED}")))
        };
        ids.iter().filter(|id| **id != -1).map(id).collect()
    }
}
