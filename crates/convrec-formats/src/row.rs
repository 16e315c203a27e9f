//! One row of any format: a JSON value and its place. Every reader makes these rows, and every
//! kind of record is made from them.

use serde_json::Value;

use crate::error::{Error, Place};

/// A row before it is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct RawRow {
    /// Where the row stands.
    pub place: Place,
    /// The fields of the row, usually an object. Columns that no record needs may be left out.
    pub value: Value,
}

/// The error in place of a row.
#[derive(Debug)]
pub(crate) enum RowError {
    /// This row is bad. The next one may be good.
    Bad(Place, String),
    /// The file is damaged. No row follows.
    Fatal(Error),
}

impl From<Error> for RowError {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// A row, or the error in its place.
pub(crate) type Row = Result<RawRow, RowError>;

/// The rows of a file. They end behind the first [`RowError::Fatal`].
pub(crate) type Rows = Box<dyn Iterator<Item = Row>>;

/// The rows up to the first fatal error, that one included.
pub(crate) fn until_fatal(mut rows: impl Iterator<Item = Row>) -> impl Iterator<Item = Row> {
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let row = rows.next()?;
        failed = matches!(row, Err(RowError::Fatal(_)));
        Some(row)
    })
}

/// The rows of a file that has none but one fatal error.
pub(crate) fn fatal(error: impl Into<Error>) -> Rows {
    Box::new(std::iter::once(Err(RowError::Fatal(error.into()))))
}

/// Gives the fields names in lower case, as tables have a `Title` as often as a `title`.
pub(crate) fn with_lower_names(mut row: RawRow) -> RawRow {
    let Value::Object(fields) = &mut row.value else {
        return row;
    };
    let is_upper = |name: &String| name.chars().any(char::is_uppercase);
    let upper: Vec<String> = fields
        .keys()
        .filter(|name| is_upper(name))
        .cloned()
        .collect();
    for name in upper {
        let lower = name.to_lowercase();
        if !fields.contains_key(&lower)
            && let Some(value) = fields.remove(&name)
        {
            fields.insert(lower, value);
        }
    }
    row
}

/// A fault of a field of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The path of the field, empty where the whole row is meant.
    pub(crate) field: String,
    /// What was found and expected.
    pub(crate) problem: String,
}

impl Problem {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}
