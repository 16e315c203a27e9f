//! Errors of the readers, and places in files.

use std::fmt;
use std::path::Path;

use convrec_core::{BadRowPolicy, BadRows, files, shown};

/// Data could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be opened or read.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file is damaged, or its content does not fit its name. Nothing of it is used.
    #[error("{place}: {problem}")]
    Damaged {
        /// The place of the damage.
        place: Place,
        /// What was found, what was expected and what to do.
        problem: String,
    },
    /// Rows cannot be used. With [`BadRowPolicy::Skip`] this means that no row is left.
    #[error("{path}: {bad}\n{advice}", advice = advice(*.policy))]
    BadRows {
        /// The file or folder.
        path: String,
        /// The number of bad rows, and the first of them.
        bad: BadRows,
        /// The caller's policy for bad rows.
        policy: BadRowPolicy,
    },
    /// No data is found at the path, or its layout is not supported.
    #[error("{path}: {problem}")]
    Layout {
        /// The file or folder.
        path: String,
        /// What was found, what was expected and what to do.
        problem: String,
    },
    /// The file's format needs a cargo feature that this build lacks.
    #[error(
        "{path}: this build does not read {format} files; build with `--features formats` (the \
         example programs and the crate convrec), or with the feature `{feature}` of \
         convrec-formats"
    )]
    Feature {
        /// The file.
        path: String,
        /// The format, in words.
        format: &'static str,
        /// The feature of this crate that has the reader.
        feature: &'static str,
    },
}

fn advice(policy: BadRowPolicy) -> &'static str {
    match policy {
        BadRowPolicy::Refuse => {
            "mend these rows, remove them, or skip them (`--skip-bad`, `ReadOptions::skip_bad`)"
        }
        BadRowPolicy::Skip => "no usable row is left; mend the rows",
    }
}

impl Error {
    pub(crate) fn damaged(place: Place, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self::Damaged { place, problem }
    }

    pub(crate) fn layout(path: &Path, problem: impl Into<String>) -> Self {
        Self::Layout {
            path: path.display().to_string(),
            problem: problem.into(),
        }
    }
}

/// A place in a file. `Display` writes it as ``films.csv, line 7, field `year` ``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as the caller named it. For a data set in several files, the file that is meant.
    pub file: String,
    /// The line, row or byte.
    pub at: At,
    /// The column or the path of the field, as in `prompt[0].content`. It is empty where the whole
    /// row is meant.
    pub field: String,
}

/// A position in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum At {
    /// The whole file.
    File,
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

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::File => f.write_str("the file"),
            At::Line(line) => write!(f, "line {line}"),
            At::Row(row) => write!(f, "row {row}"),
            At::Byte(byte) => write!(f, "byte {byte}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, at, field } = self;
        f.write_str(file)?;
        if *at != At::File {
            write!(f, ", {at}")?;
        }
        if !field.is_empty() {
            write!(f, ", field `{field}`")?;
        }
        Ok(())
    }
}

/// Names as messages show them: the first few, each in back quotes.
pub(crate) fn shown_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 12;
    let mut names = names.into_iter();
    let first: Vec<String> = names
        .by_ref()
        .take(SHOWN)
        .map(|name| format!("`{}`", shown(name)))
        .collect();
    match (first.is_empty(), names.count()) {
        (true, _) => "none".into(),
        (false, 0) => first.join(", "),
        (false, more) => format!("{} and {more} more", first.join(", ")),
    }
}
