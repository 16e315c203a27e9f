//! Errors about a model's files.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::ConfigError;

/// A model's files could not be read or written. Weights that are not in a file go by the name
/// `(bytes)`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A field of a JSON file is wrong, or asks for something that the policy cannot do.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The field, and its fault.
        source: ConfigError,
    },
    /// A file is missing, or its content is not of the expected kind.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file or folder.
        path: PathBuf,
        /// What was found and expected.
        problem: String,
    },
    /// A tensor has another shape than the policy's or a type that is not read, holds NaN or
    /// infinite numbers, or is not where the index says.
    #[error("{}: tensor `{tensor}`: {problem}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What was found and expected.
        problem: String,
    },
    /// The files lack tensors that the policy has.
    #[error("{}: {} missing: {}; the weights are of another model, or the config \
             is", path.display(), names.len(), first(names))]
    Missing {
        /// The file of weights, or the index of many.
        path: PathBuf,
        /// The tensors.
        names: Vec<String>,
    },
    /// The files have tensors that the policy lacks.
    #[error("{}: {} unknown: {}; the weights are of another model, or the config \
             is", path.display(), names.len(), first(names))]
    Unknown {
        /// The file of weights, or the index of many.
        path: PathBuf,
        /// The tensors.
        names: Vec<String>,
    },
}

impl WeightsError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    pub(crate) fn config(path: &Path) -> impl FnOnce(ConfigError) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Config { path, source }
    }

    pub(crate) fn format(path: &Path, problem: impl Into<String>) -> Self {
        Self::Format {
            path: path.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn tensor(path: &Path, tensor: &str, problem: impl Into<String>) -> Self {
        Self::Tensor {
            path: path.into(),
            tensor: tensor.into(),
            problem: problem.into(),
        }
    }
}

/// The first few names, as there can be hundreds.
fn first(names: &[String]) -> String {
    let more = if names.len() > 5 { ", ..." } else { "" };
    names[..names.len().min(5)].join(", ") + more
}
