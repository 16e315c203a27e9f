use std::path::PathBuf;

use convrec_core::{append, files};

/// A file of a run cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A growing file cannot be used.
    #[error(transparent)]
    Append(#[from] append::Error),
    /// A line of a file is wrong.
    #[error("{file}, line {line}: {problem}")]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The text that says what was found, what is expected, and what to do.
        problem: String,
    },
    /// There is nothing to read.
    #[error("{0} holds no log; expected the folder of a run, with its `log.jsonl`, or a log file")]
    NoLog(PathBuf),
    /// A record that no log can hold.
    #[error("a record without `step`; expected the number of its step, from 1: {0}")]
    NoStep(String),
}

impl Error {
    /// The system refused to `action` the file.
    pub(crate) fn refused(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        move |e| files::Error::new(action, path, e).into()
    }

    pub(crate) fn line(file: impl Into<PathBuf>, line: usize, problem: impl Into<String>) -> Self {
        Self::Line {
            file: file.into(),
            line,
            problem: problem.into(),
        }
    }
}
