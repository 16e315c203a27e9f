//! Settings from a TOML file.

use std::error::Error;
use std::path::Path;

use convrec_core::files;
use serde::de::DeserializeOwned;

/// Reads a config from `path`; fields that the file leaves out keep their defaults, unknown ones are refused.
///
/// # Errors
/// When the file cannot be read or a field is wrong: the error names the file, the line and the field.
pub fn read<T: DeserializeOwned + Default>(path: Option<&Path>) -> Result<T, Box<dyn Error>> {
    let Some(path) = path else { return Ok(T::default()) };
    Ok(toml::from_str(&files::read_text(path)?).map_err(|e| format!("{}: {e}", path.display()))?)
}

/// Replaces `field` where a flag was given.
pub fn set<T>(field: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *field = value;
    }
}
