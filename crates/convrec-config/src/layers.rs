use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{ConfigError, dotted, lookup};
use crate::layer::Layer;

/// The settings of a program's user: layers, the lowest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layers {
    layers: Vec<Layer>,
    /// The table of the file that these settings are; empty for a whole file.
    table: String,
    maps: Vec<String>,
    /// Names that were taken out: an error about an unknown field lists them too.
    taken: Vec<String>,
}

/// Reads the settings of a program without flags: `defaults`, and over them the file at `path`.
///
/// # Errors
/// [`ConfigError`] when the file cannot be read or a field is wrong.
pub fn read<T: Serialize + DeserializeOwned>(
    path: Option<&Path>,
    defaults: T,
) -> Result<T, ConfigError> {
    let layers = path.map(Layer::read).transpose()?;
    Layers::new(layers).resolve(defaults)
}

impl Layers {
    /// Puts layers over each other, the lowest first.
    #[must_use]
    pub fn new(layers: impl IntoIterator<Item = Layer>) -> Self {
        Self {
            layers: layers.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Names tables whose keys are the user's own names. One entry over another is then added, and
    /// does not replace it.
    #[must_use]
    pub fn maps(mut self, names: &[&str]) -> Self {
        self.maps = names.iter().map(|name| name.to_string()).collect();
        self
    }

    /// Whether a layer sets the field at a dotted path.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.found(field).is_some()
    }

    /// The field at a dotted path as the uppermost layer sets it.
    ///
    /// # Errors
    /// [`ConfigError`] when its value is of another type.
    pub fn get<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, ConfigError> {
        let Some((layer, value)) = self.found(field) else {
            return Ok(None);
        };
        let read = serde_path_to_error::deserialize(value.clone());
        read.map(Some).map_err(|e| {
            let path = e.path().to_string();
            let inner = if path == "." { "" } else { &path };
            let field = dotted(&self.table, &dotted(field, inner));
            let error = ConfigError::from_serde(field, &e.inner().to_string());
            ConfigError {
                file: layer.file.clone(),
                ..error
            }
        })
    }

    fn found(&self, field: &str) -> Option<(&Layer, &Value)> {
        let layers = self.layers.iter().rev();
        layers
            .filter_map(|layer| Some((layer, lookup(&layer.fields, field)?)))
            .next()
    }

    /// Takes the table of this name out of all layers, as settings of their own.
    ///
    /// # Errors
    /// [`ConfigError`] when a layer has something else than a table there.
    pub fn take(&mut self, table: &str) -> Result<Self, ConfigError> {
        let name = dotted(&self.table, table);
        self.remember(&format!("[{name}]"));
        let taken = self.layers.iter_mut().filter_map(|layer| {
            let fields = layer.fields.as_object_mut()?.remove(table)?;
            let file = layer.file.clone();
            Some(match fields.is_object() {
                true => Ok(Layer { file, fields }),
                false => Err(ConfigError {
                    file,
                    ..ConfigError::new(&name, fields, format!("a table, `[{name}]`"))
                }),
            })
        });
        Ok(Self {
            layers: taken.collect::<Result<_, _>>()?,
            table: name,
            maps: self.maps.clone(),
            taken: vec![],
        })
    }

    fn remember(&mut self, name: &str) {
        if !self.taken.iter().any(|taken| taken == name) {
            self.taken.push(name.into());
        }
    }

    /// The settings: `defaults`, and over them each layer. Fields that the type does not know are
    /// refused where the type has `#[serde(deny_unknown_fields)]`.
    ///
    /// # Errors
    /// [`ConfigError`] at the first field that is wrong.
    pub fn resolve<T: Serialize + DeserializeOwned>(&self, defaults: T) -> Result<T, ConfigError> {
        let mut settings = serde_json::to_value(defaults)
            .map_err(|e| ConfigError::new(&self.table, e, "defaults that JSON can hold"))?;
        for layer in &self.layers {
            self.merge(&mut settings, layer.fields.clone());
        }
        serde_path_to_error::deserialize(settings).map_err(|e| {
            let path = e.path().to_string();
            let field = if path == "." { "" } else { path.as_str() };
            let mut error = ConfigError::from_serde(field.into(), &e.inner().to_string());
            let is_unknown = error.found.starts_with("unknown field");
            if is_unknown && !field.contains('.') && !self.taken.is_empty() {
                let others: Vec<String> = self.taken.iter().map(|t| format!("`{t}`")).collect();
                error.expected = format!("{}, {}", error.expected, others.join(", "));
            }
            self.locate(error)
        })
    }

    /// Adds to an error about these settings which file set the field, and the table it stands in.
    #[must_use]
    pub fn locate(&self, error: ConfigError) -> ConfigError {
        // A choice names its variant in the path, a list its place: whoever set the table did it.
        let mut path = error.field.as_str();
        let file = loop {
            match self.found(path) {
                Some((layer, _)) => break layer.file.clone(),
                None => match path.rsplit_once('.') {
                    Some((table, _)) => path = table,
                    None => break None,
                },
            }
        };
        ConfigError {
            file: file.or(error.file.clone()),
            ..error
        }
        .within(&self.table)
    }

    /// Takes a field of the top out of all layers: a setting that others follow from, and that the
    /// resolved settings do not have. The uppermost layer decides.
    ///
    /// # Errors
    /// [`ConfigError`] when its value is of another type.
    pub fn take_field<T: DeserializeOwned>(
        &mut self,
        field: &str,
    ) -> Result<Option<T>, ConfigError> {
        let value = self.get(field)?;
        self.remember(field);
        for layer in &mut self.layers {
            layer
                .fields
                .as_object_mut()
                .and_then(|fields| fields.remove(field));
        }
        Ok(value)
    }

    fn merge(&self, settings: &mut Value, over: Value) {
        match (settings, over) {
            (settings @ (Value::Object(_) | Value::Null), Value::Bool(false)) => {
                *settings = Value::Null;
            }
            (settings @ Value::Object(_), Value::Object(over)) if is_choice(settings, &over) => {
                *settings = over.into();
            }
            (Value::Object(settings), Value::Object(over)) => {
                for (field, value) in over {
                    match (settings.entry(&field).or_insert(Value::Null), value) {
                        (Value::Object(old), Value::Object(new)) if self.maps.contains(&field) => {
                            old.extend(new);
                        }
                        (old, value) => self.merge(old, value),
                    }
                }
            }
            (settings, over) => *settings = over,
        }
    }
}

/// Whether both name one variant of a choice, and different ones.
fn is_choice(settings: &Value, over: &Map<String, Value>) -> bool {
    let one = |map: &Map<String, Value>| map.keys().next().filter(|_| map.len() == 1).cloned();
    settings
        .as_object()
        .and_then(one)
        .zip(one(over))
        .is_some_and(|(old, new)| old != new)
}
