use std::fmt;

use convrec_core::{files, jsonl};

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of JSON lines, or one of its lines.
    #[error(transparent)]
    Jsonl(#[from] jsonl::Error),
    /// A file as a whole.
    #[error(transparent)]
    File(#[from] files::Error),
    /// One place of a file.
    #[error("{place}: {problem}")]
    Bad {
        /// Where.
        place: Place,
        /// What was found and expected.
        problem: String,
    },
    /// What is at a path is none of the layouts that are read.
    #[error("{path}: {problem}")]
    Layout {
        /// The file or folder.
        path: String,
        /// What was found and expected.
        problem: String,
    },
    /// The reader of this format was left out of the build.
    #[error(
        "{path}: this build does not read it; build with the feature `{feature}` of convrec-formats"
    )]
    Feature {
        /// The file.
        path: String,
        /// The feature that has the reader.
        feature: &'static str,
    },
}

impl Error {
    pub(crate) fn bad(place: Place, problem: impl Into<String>) -> Self {
        Self::Bad {
            place,
            problem: problem.into(),
        }
    }

    pub(crate) fn layout(path: &std::path::Path, problem: impl Into<String>) -> Self {
        Self::Layout {
            path: path.display().to_string(),
            problem: problem.into(),
        }
    }
}

/// A place in a file; displayed as in ``films.csv, line 7, field `year` ``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as the caller named it; of a dataset in parts, the part.
    pub file: String,
    /// Where in the file.
    pub at: At,
    /// The column or the path of the field, as in `prompt[0].content`; empty where the whole row
    /// is meant.
    pub field: String,
}

/// Where in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// A line of text, from 1.
    Line(usize),
    /// A row of this file, from 0.
    Row(usize),
    /// The offset of a byte, from 0.
    Byte(usize),
}

impl Place {
    pub(crate) fn new(file: &str, at: At) -> Self {
        Self {
            file: file.into(),
            at,
            field: String::new(),
        }
    }

    pub(crate) fn field(&self, field: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            ..self.clone()
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, at, field } = self;
        match at {
            At::Line(line) => write!(f, "{file}, line {line}")?,
            At::Row(row) => write!(f, "{file}, row {row}")?,
            At::Byte(byte) => write!(f, "{file}, byte {byte}")?,
        }
        if field.is_empty() {
            Ok(())
        } else {
            write!(f, ", field `{field}`")
        }
    }
}

/// What was read, and what was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows<T> {
    /// What was read, in the order of the file.
    pub rows: Vec<T>,
    /// What was left out, likewise. Who reads leniently shows it.
    pub left_out: Vec<LeftOut>,
}

/// A row, or a part of a row, that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The row among all rows of the data, left-out ones included, from 0.
    pub row: usize,
    /// Where it stands.
    pub place: Place,
    /// Why it was left out.
    pub why: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}
