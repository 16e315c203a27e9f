//! JSON lines in and out; every error names the file, the line and the field.

use std::io::{BufRead, Read};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{self, write_atomic};
use crate::{BadRow, BadRowPolicy, BadRows};

mod line;

use line::{Problem, read_line};

/// The largest line, in bytes, that is read: 64 MiB.
pub const LARGEST_LINE: u64 = 64 << 20;

/// The conditions of a line beyond its types.
pub trait Check {
    /// # Errors
    /// The field that is wrong, and what was found and expected.
    fn check(&self) -> Result<(), (&'static str, String)>;
}

/// Why a file of JSON lines could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file as a whole cannot be read.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file as a whole is not JSON lines, or holds none.
    #[error("{file}: {problem}")]
    Format {
        /// The file, as the caller named it.
        file: String,
        /// What was found, what is expected and what to do.
        problem: String,
    },
    /// One line of it is bad.
    #[error("{file}, line {line}{}: {problem}; mend the line or remove it", field_text(.field))]
    Line {
        /// The file, as the caller named it.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The path of the field, as in `dialog[2].content`. It is empty where the line as a whole
        /// is wrong.
        field: String,
        /// What was found and expected.
        problem: String,
    },
    /// Several lines of it are bad.
    #[error("{bad}\nmend or remove these lines, or have bad rows skipped")]
    Lines {
        /// The number of bad lines, and the first of them.
        bad: BadRows,
    },
}

impl Error {
    /// The bad line as a bad row; `None` where the file as a whole is wrong.
    fn bad_row(&self, row: usize) -> Option<BadRow> {
        let Self::Line {
            file,
            line,
            field,
            problem,
        } = self
        else {
            return None;
        };
        Some(BadRow {
            row,
            place: format!("{file}, line {line}{}", field_text(field)),
            problem: problem.clone(),
        })
    }
}

fn field_text(field: &str) -> String {
    if field.is_empty() {
        String::new()
    } else {
        format!(", field `{field}`")
    }
}

/// Reads all lines of the file at `path`. See [`read`].
///
/// # Errors
/// [`Error::File`] when the file is not regular or cannot be read; else as [`read`].
pub fn read_file<T: DeserializeOwned + Check>(path: impl AsRef<Path>) -> Result<Vec<T>, Error> {
    Ok(read_file_rows(path, BadRowPolicy::Refuse)?.0)
}

/// Reads the lines of the file at `path` under a policy for bad lines. See [`read_rows`].
///
/// # Errors
/// [`Error::File`] when the file is not regular or cannot be read; else as [`read_rows`].
pub fn read_file_rows<T: DeserializeOwned + Check>(
    path: impl AsRef<Path>,
    policy: BadRowPolicy,
) -> Result<(Vec<T>, BadRows), Error> {
    let path = path.as_ref();
    read_rows(files::open_data(path)?, &path.display().to_string(), policy)
}

/// Reads all lines of `reader`; `name` names the file in errors. Blank lines and a UTF-8 byte order
/// mark are skipped.
///
/// # Errors
/// - [`Error::Line`] when one line is not UTF-8, not JSON, not a `T`, or fails its [`Check`]
/// - [`Error::Lines`] when several lines are bad
/// - [`Error::Format`] when there is no line, or the file is no JSON lines at all
pub fn read<T: DeserializeOwned + Check>(
    reader: impl BufRead,
    name: &str,
) -> Result<Vec<T>, Error> {
    Ok(read_rows(reader, name, BadRowPolicy::Refuse)?.0)
}

/// Reads the lines of `reader` as [`read`] does. With [`BadRowPolicy::Skip`] bad lines are left out
/// and returned beside the rows.
///
/// ```
/// use convrec_core::{BadRowPolicy, CatalogItem, jsonl};
///
/// let text = "{\"title\": \"Heat\"}\n{\"title\": 7}\n{\"title\": \"\"}\n";
/// let error = jsonl::read::<CatalogItem>(text.as_bytes(), "films.jsonl").unwrap_err();
/// assert!(error.to_string().starts_with("2 of 3 rows are bad:\n  films.jsonl, line 2, field `title`"));
///
/// let policy = BadRowPolicy::Skip;
/// let (items, bad) = jsonl::read_rows::<CatalogItem>(text.as_bytes(), "films.jsonl", policy)?;
/// assert_eq!((items.len(), bad.count, bad.listed[1].row), (1, 2, 2));
/// # Ok::<(), convrec_core::jsonl::Error>(())
/// ```
///
/// # Errors
/// As [`read`]. With [`BadRowPolicy::Skip`] bad lines are an error only where no line is good.
pub fn read_rows<T: DeserializeOwned + Check>(
    reader: impl BufRead,
    name: &str,
    policy: BadRowPolicy,
) -> Result<(Vec<T>, BadRows), Error> {
    let (mut good, mut bad, mut first) = (Vec::new(), BadRows::default(), None);
    for row in rows(reader, name) {
        match row {
            Ok((_, row)) => good.push(row),
            Err(error) => match error.bad_row(bad.rows_read) {
                Some(row) => {
                    bad.push(row);
                    first.get_or_insert(error);
                }
                None => return Err(error),
            },
        }
        bad.rows_read += 1;
    }
    match first {
        Some(first) if policy == BadRowPolicy::Refuse || good.is_empty() => Err(match bad.count {
            1 => first,
            _ => Error::Lines { bad },
        }),
        _ => Ok((good, bad)),
    }
}

/// Reads one line after the other: each row with its line, from 1. See [`read`].
///
/// An [`Error::Line`] is about that line alone, and the next line can be read. Other errors are the
/// last thing that the iterator returns.
pub fn rows<T: DeserializeOwned + Check, R: BufRead>(
    mut reader: R,
    name: &str,
) -> impl Iterator<Item = Result<(usize, T), Error>> + use<T, R> {
    let name = name.to_string();
    let (mut line, mut any, mut ended) = (0, false, false);
    let mut bytes = Vec::new();
    std::iter::from_fn(move || {
        while !ended {
            bytes.clear();
            // A line that never ends must not fill the memory.
            let read = (&mut reader)
                .take(LARGEST_LINE + 1)
                .read_until(b'\n', &mut bytes);
            let whole = match read {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Ok(length) if length as u64 > LARGEST_LINE => Err(Problem::Format(format!(
                    "line {} has more than {LARGEST_LINE} bytes; expected one row a line",
                    line + 1
                ))),
                Ok(_) => Ok(()),
                Err(e) => Err(Problem::Format(format!(
                    "cannot read line {}: {e}",
                    line + 1
                ))),
            };
            line += 1;
            let row = whole.and_then(|()| {
                read_line(bytes.strip_suffix(b"\n").unwrap_or(&bytes), line == 1, !any)
            });
            let file = || name.clone();
            match row {
                Ok(None) => continue,
                Ok(Some(row)) => {
                    any = true;
                    return Some(Ok((line, row)));
                }
                Err(Problem::Row { field, problem }) => {
                    any = true;
                    let file = file();
                    return Some(Err(Error::Line {
                        file,
                        line,
                        field,
                        problem,
                    }));
                }
                Err(Problem::Format(problem)) => {
                    (any, ended) = (true, true);
                    return Some(Err(Error::Format {
                        file: file(),
                        problem,
                    }));
                }
            }
        }
        if any {
            return None;
        }
        any = true;
        let problem = "it holds no line with data; expected at least one".to_string();
        let file = name.clone();
        Some(Err(Error::Format { file, problem }))
    })
}

/// Writes `rows`, one a line, and replaces the file at `path` as a whole.
///
/// # Errors
/// [`files::Error`] when the file cannot be written. The former file is then still there.
pub fn write_file<T: Serialize>(path: impl AsRef<Path>, rows: &[T]) -> Result<(), files::Error> {
    write_atomic(path, |out| {
        for row in rows {
            serde_json::to_writer(&mut *out, row)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests;
