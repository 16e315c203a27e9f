//! Turns rows into records. Bad rows are refused with their number, or skipped and counted.

use std::path::Path;

use convrec_core::{BadRow, BadRowPolicy, BadRows};
use convrec_text::Years;

use crate::error::{Error, Place};
use crate::limits::MAX_ROWS;
use crate::row::{Problem, RawRow, Row, RowError};

/// The records that were read, and the rows that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Records<T> {
    /// The records, in the order of the data.
    pub rows: Vec<T>,
    /// The rows that were skipped. It is empty under [`BadRowPolicy::Refuse`].
    pub skipped: BadRows,
    /// The lines of completions that name no item. The other lines of these rows are used.
    pub unparsed_lines: BadRows,
}

/// Options of reading data.
///
/// ```
/// use convrec_formats::ReadOptions;
///
/// let options = ReadOptions::default().split("train").skip_bad(true);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// The split of a data set that has several.
    pub split: Option<String>,
    /// What happens to rows that cannot be used.
    pub bad_rows: BadRowPolicy,
    /// Whether a line of an answer names an item without a year.
    pub years: Years,
}

impl ReadOptions {
    /// Reads this split of a data set that has several.
    #[must_use]
    pub fn split(mut self, split: impl Into<String>) -> Self {
        self.split = Some(split.into());
        self
    }

    /// Reads a line of an answer that has no year as an item without one. Give it where the catalog
    /// has such items.
    #[must_use]
    pub fn optional_years(mut self, optional: bool) -> Self {
        self.years = match optional {
            true => Years::Optional,
            false => Years::Required,
        };
        self
    }

    /// Skips rows that cannot be used, or refuses them.
    #[must_use]
    pub fn skip_bad(mut self, skip: bool) -> Self {
        self.bad_rows = if skip {
            BadRowPolicy::Skip
        } else {
            BadRowPolicy::Refuse
        };
        self
    }
}

/// A row that an `interpret` function of [`collect`] looks at.
pub(crate) struct Current<'a> {
    /// The number of the row among all rows of the data, from 0.
    pub(crate) number: usize,
    pub(crate) row: RawRow,
    pub(crate) unparsed_lines: &'a mut BadRows,
}

/// The records that `interpret` makes of the rows; `path` names the data in errors.
///
/// # Errors
/// [`Error::BadRows`] as `policy` decides, and when all rows are bad. [`Error::Layout`] when there
/// are no rows or too many. The first fatal error of the rows.
pub(crate) fn collect<T>(
    rows: impl Iterator<Item = Row>,
    path: &Path,
    policy: BadRowPolicy,
    mut interpret: impl FnMut(Current) -> Result<T, Problem>,
) -> Result<Records<T>, Error> {
    let mut read = Records {
        rows: Vec::new(),
        skipped: BadRows::default(),
        unparsed_lines: BadRows::default(),
    };
    let bad = &mut read.skipped;
    for (number, row) in rows.enumerate() {
        if number == MAX_ROWS {
            let problem = format!("there are more than {MAX_ROWS} rows; read it in parts");
            return Err(Error::layout(path, problem));
        }
        bad.rows_read = number + 1;
        let (place, problem) = match row {
            Err(RowError::Fatal(error)) => return Err(error),
            Err(RowError::Bad(place, problem)) => (place, problem),
            Ok(row) => {
                let place = row.place.clone();
                let unparsed_lines = &mut read.unparsed_lines;
                match interpret(Current {
                    number,
                    row,
                    unparsed_lines,
                }) {
                    Ok(record) => {
                        // Once a row is refused, nothing is returned any more.
                        if bad.is_empty() || policy == BadRowPolicy::Skip {
                            read.rows.push(record);
                        }
                        continue;
                    }
                    Err(Problem { field, problem }) if field.is_empty() => (place, problem),
                    Err(Problem { field, problem }) => (place.field(field), problem),
                }
            }
        };
        bad.push(bad_row(number, &place, problem));
        if read.rows.is_empty() && bad.count == MAX_BAD {
            break;
        }
    }
    if bad.rows_read == 0 {
        return Err(Error::layout(
            path,
            "there are no rows; expected at least one",
        ));
    }
    if !bad.is_empty() && (policy == BadRowPolicy::Refuse || read.rows.is_empty()) {
        return Err(Error::BadRows {
            path: path.display().to_string(),
            bad: std::mem::take(bad),
            policy,
        });
    }
    Ok(read)
}

/// After this many bad rows without a good one, no more are counted: a damaged file can claim any
/// number.
const MAX_BAD: usize = 100_000;

pub(crate) fn bad_row(row: usize, place: &Place, problem: String) -> BadRow {
    BadRow {
        row,
        place: place.to_string(),
        problem,
    }
}
