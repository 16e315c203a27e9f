use std::path::{Path, PathBuf};

use convrec_config::ConfigError;
use convrec_core::files;
use convrec_text::TrieError;

use crate::data::DataReport;
use crate::model::ModelError;
use crate::run::TrainError;
use crate::task::TaskError;

/// A run cannot be set up, or did not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The model cannot be read, written or used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Data does not fit the catalog or the model.
    #[error("{path}: {source}")]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: Box<TaskError>,
    },
    /// Lists cannot be constrained to the catalog.
    #[error("{path}: {source}")]
    Catalog {
        /// The catalog's file.
        path: PathBuf,
        /// Why.
        source: Box<TrieError>,
    },
    /// Nothing of the data can be used.
    #[error(
        "{path}: nothing can be used: {report}; see docs/training.md, \"Data that cannot be used\""
    )]
    Unusable {
        /// The file or folder.
        path: PathBuf,
        /// What became of the data.
        report: Box<DataReport>,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The servers cannot sample.
    #[cfg(feature = "http")]
    #[error(transparent)]
    Sampler(#[from] crate::http_sampler::HttpSamplerError),
    /// The training failed, or was stopped and can be resumed ([`TrainError::Stopped`]).
    #[error(transparent)]
    Train(#[from] TrainError),
}

pub(super) fn of_catalog(path: &Path, error: ModelError) -> RunError {
    match error {
        ModelError::Trie(source) => RunError::Catalog {
            path: path.into(),
            source: Box::new(source),
        },
        error => error.into(),
    }
}

pub(super) fn in_file(path: &Path, source: TaskError) -> RunError {
    RunError::Data {
        path: path.into(),
        source: Box::new(source),
    }
}

pub(super) fn unusable(path: &Path, report: DataReport) -> RunError {
    RunError::Unusable {
        path: path.into(),
        report: Box::new(report),
    }
}
