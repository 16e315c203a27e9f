//! What the two formats share: numbered lines of fields between white space.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::Error;

/// Opens the file at `path` and hands it to `read` with its name.
pub(super) fn read_file<T>(
    path: &Path,
    read: impl FnOnce(BufReader<File>, &str) -> Result<T, Error>,
) -> Result<T, Error> {
    let name = path.display().to_string();
    match File::open(path) {
        Ok(file) => read(BufReader::new(file), &name),
        Err(source) => Err(Error::Open { file: name, source }),
    }
}

/// Where a line stands, for errors about it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    file: &'a str,
    line: usize,
}

impl Place<'_> {
    pub(super) fn bad_field(
        self,
        field: &'static str,
        found: &str,
        expected: &'static str,
    ) -> Error {
        Error::Field {
            file: self.file.into(),
            line: self.line,
            field,
            found: found.into(),
            expected,
        }
    }

    pub(super) fn repeated(self, query: &str, document: &str) -> Error {
        Error::RepeatedLine {
            file: self.file.into(),
            line: self.line,
            query: query.into(),
            document: document.into(),
        }
    }
}

/// Gives the `N` fields of every line to `take`. Blank lines are skipped, and a byte order mark
/// too, which would otherwise become part of the first query's name.
pub(super) fn each_line<const N: usize>(
    reader: impl BufRead,
    file: &str,
    expected: &'static str,
    mut take: impl FnMut([&str; N], Place) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut empty = true;
    for (index, text) in reader.lines().enumerate() {
        let line = index + 1;
        let text = text.map_err(|source| Error::Read {
            file: file.into(),
            line,
            source,
        })?;
        let text = if index == 0 {
            text.trim_start_matches('\u{feff}')
        } else {
            &text
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.is_empty() {
            continue;
        }
        let wrong_number = |fields: Vec<&str>| Error::Fields {
            file: file.into(),
            line,
            found: fields.len(),
            expected,
        };
        take(
            fields.try_into().map_err(wrong_number)?,
            Place { file, line },
        )?;
        empty = false;
    }
    if empty {
        Err(Error::Empty {
            file: file.into(),
            expected,
        })
    } else {
        Ok(())
    }
}
