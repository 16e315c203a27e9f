//! Why a model cannot be read, or a text not be embedded.

use std::path::Path;

use convrec_core::files;
use serde::de::DeserializeOwned;

/// The reason why a model's folder could not be read, or a text not be embedded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A file is missing, or its content is not of the expected kind.
    #[error("{file}: {problem}")]
    Format {
        /// The file or folder.
        file: String,
        /// What was found and expected.
        problem: String,
    },
    /// A field of a JSON file is wrong, or asks for something that is not computed here.
    #[error("{file}, field `{field}`: {problem}")]
    Field {
        /// The file.
        file: String,
        /// The field.
        field: String,
        /// What was found and expected.
        problem: String,
    },
    /// A tensor is missing, has another shape, or has a type that is not read.
    #[error("{file}: tensor `{tensor}`: {problem}")]
    Tensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// What was found and expected.
        problem: String,
    },
    /// The model has no embedding for a text.
    #[error("text {index} (from 0), beginning {beginning:?}: {problem}")]
    Text {
        /// Its place among the texts.
        index: usize,
        /// Its first characters.
        beginning: String,
        /// What happened.
        problem: String,
    },
}

impl EmbedError {
    pub(crate) fn format(file: &Path, problem: impl Into<String>) -> Self {
        Self::Format {
            file: file.display().to_string(),
            problem: problem.into(),
        }
    }

    pub(crate) fn field(file: &Path, field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field {
            file: file.display().to_string(),
            field: field.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn tensor(file: &Path, tensor: &str, problem: impl Into<String>) -> Self {
        Self::Tensor {
            file: file.display().to_string(),
            tensor: tensor.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn text(index: usize, text: &str, problem: impl Into<String>) -> Self {
        Self::Text {
            index,
            beginning: text.chars().take(40).collect(),
            problem: problem.into(),
        }
    }
}

/// The content of a JSON file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, EmbedError> {
    let text = files::read_text(path)?;
    let mut json = serde_json::Deserializer::from_str(text.trim_start_matches('\u{feff}'));
    serde_path_to_error::deserialize(&mut json).map_err(|e| match e.path().to_string().as_str() {
        "." => EmbedError::format(path, e.inner().to_string()),
        field => EmbedError::field(path, field, e.inner().to_string()),
    })
}

/// The same, or nothing where there is no such file.
pub(crate) fn maybe_read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, EmbedError> {
    path.exists().then(|| read_json(path)).transpose()
}
