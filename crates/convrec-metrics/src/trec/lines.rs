//! The common parts of the two formats: a whole file in memory, and lines of fields between white
//! space.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

use super::Error;

/// The largest file, in bytes, that is read: 4 GiB. Places in it are kept in 32 bits.
pub const LARGEST: u64 = u32::MAX as u64;

/// Opens the regular file at `path` and hands it to `read` with its name.
pub(super) fn read_file<T>(
    path: &Path,
    read: impl FnOnce(io::BufReader<File>, &str) -> Result<T, Error>,
) -> Result<T, Error> {
    let file = path.display().to_string();
    let open = || {
        // A pipe would wait for its other end as soon as it is opened.
        if !path.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file; expected one"));
        }
        File::open(path)
    };
    match open() {
        Ok(open) => read(io::BufReader::new(open), &file),
        Err(source) => Err(Error::Open { file, source }),
    }
}

/// All of `reader` as text, without a byte order mark, which would become part of the first name.
pub(super) fn text(reader: impl BufRead, file: &str) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let problem = |bytes: &[u8], source| Error::Read {
        file: file.into(),
        line: 1 + bytes.iter().filter(|&&byte| byte == b'\n').count(),
        source,
    };
    if let Err(source) = reader.take(LARGEST + 1).read_to_end(&mut bytes) {
        return Err(problem(&bytes, source));
    }
    if bytes.len() as u64 > LARGEST {
        let source = io::Error::other(format!("it has more than {LARGEST} bytes"));
        return Err(problem(&[], source));
    }
    let mut text = String::from_utf8(bytes).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let source = io::Error::other("it is not UTF-8; expected UTF-8 text");
        problem(&e.as_bytes()[..valid], source)
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// The place of a line, for errors about it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    file: &'a str,
    text: &'a str,
    at: usize,
}

impl<'a> Place<'a> {
    /// The place of the byte `at` of `text`.
    pub(super) fn new(file: &'a str, text: &'a str, at: usize) -> Self {
        Self { file, text, at }
    }

    /// The number of the line, from 1. It is counted only where there is an error.
    fn line(self) -> usize {
        let before = &self.text.as_bytes()[..self.at];
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }

    pub(super) fn bad_field(
        self,
        field: &'static str,
        found: &str,
        expected: &'static str,
    ) -> Error {
        Error::Field {
            file: self.file.into(),
            line: self.line(),
            field,
            found: found.into(),
            expected,
        }
    }

    pub(super) fn repeated(self, query: &str, document: &str) -> Error {
        Error::RepeatedLine {
            file: self.file.into(),
            line: self.line(),
            query: query.into(),
            document: document.into(),
        }
    }
}

/// Gives the `N` fields of every line to `take`, with the place of the line. Blank lines are
/// skipped. Fields stand between ASCII white space, as in `trec_eval`.
pub(super) fn each_line<'t, const N: usize>(
    text: &'t str,
    file: &str,
    expected: &'static str,
    mut take: impl FnMut([&'t str; N], Place) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut empty, mut start) = (true, 0);
    for line in text.split_inclusive('\n') {
        let place = Place::new(file, text, start);
        start += line.len();
        let mut fields = [""; N];
        let mut found = 0;
        for field in line.split_ascii_whitespace() {
            if let Some(slot) = fields.get_mut(found) {
                *slot = field;
            }
            found += 1;
        }
        if found == N {
            take(fields, place)?;
            empty = false;
        } else if found > 0 {
            return Err(Error::Fields {
                file: file.into(),
                line: place.line(),
                found,
                expected,
            });
        }
    }
    if empty {
        return Err(Error::Empty {
            file: file.into(),
            expected,
        });
    }
    Ok(())
}
