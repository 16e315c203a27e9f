//! Tables as text: CSV of any separator that the header shows.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use crate::error::{At, Error, Place};
use crate::fields::check_columns;
use crate::input::{Input, not_utf8, unreadable, utf8};
use crate::limits::MAX_LINE;
use crate::row::{RawRow, Row, RowError, Rows, fatal};

/// Separators of columns, the usual one first.
const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

/// The rows of a table with a header. All cells are texts. Names of columns are taken in lower
/// case.
///
/// The separator is the one that gives the header the most columns: a comma, a semicolon (Excel in
/// countries with a decimal comma) or a tab.
pub(crate) fn rows(input: Input) -> Rows {
    let name = input.name.clone();
    match open(input, &name) {
        Ok(table) => Box::new(table),
        Err(error) => fatal(error),
    }
}

struct Table {
    reader: Reader<Watched>,
    seen: Rc<Seen>,
    header: StringRecord,
    /// Lines before the header.
    skipped: usize,
    name: String,
    /// Lines of rows without a cell, until a row follows. At the end they are none: Excel writes
    /// them.
    blank: VecDeque<u64>,
    /// The row behind the blank ones.
    behind: Option<Row>,
    done: bool,
}

fn open(input: Input, name: &str) -> Result<Table, Error> {
    let mut text = input.text()?;
    let at = |line| Place::new(name, At::Line(line));
    let mut skipped = 0;
    let mut first = Vec::new();
    let mut separator = None;
    loop {
        first.clear();
        let limit = MAX_LINE as u64 + 1;
        let read = text.by_ref().take(limit).read_until(b'\n', &mut first);
        read.map_err(|e| Error::damaged(at(skipped + 1), unreadable(&e)))?;
        if first.len() > MAX_LINE {
            let problem = format!("the header is longer than {} MB", MAX_LINE >> 20);
            return Err(Error::damaged(at(skipped + 1), problem));
        }
        // Excel's own line in front of the header names the separator.
        match first.trim_ascii() {
            [b's', b'e', b'p', b'=', mark] => separator = Some(*mark),
            [b's', b'e', b'p', b'='] => separator = Some(b'\t'),
            [] if !first.is_empty() => {}
            _ => break,
        }
        skipped += 1;
    }
    utf8(&first).map_err(|problem| Error::damaged(at(skipped + 1), problem))?;
    let separator = separator.unwrap_or_else(|| likeliest_separator(&first));
    let seen = Rc::new(Seen::default());
    let text = Watched {
        reader: Box::new(io::Cursor::new(first).chain(text)),
        seen: seen.clone(),
    };
    let mut reader = ReaderBuilder::new().delimiter(separator).from_reader(text);
    let header = reader
        .headers()
        .map_err(|e| Error::damaged(at(skipped + 1), e.to_string()))?;
    let header: StringRecord = header
        .iter()
        .map(|name| unquoted(name).trim().to_lowercase())
        .collect();
    let repeated = |(at, name): &(usize, &str)| header.iter().take(*at).any(|other| other == *name);
    if let Some((_, name)) = header
        .iter()
        .enumerate()
        .filter(|(_, name)| !name.is_empty())
        .find(repeated)
    {
        let problem = format!("two columns are called `{name}`; expected different names");
        return Err(Error::damaged(at(skipped + 1), problem));
    }
    let separators = "with a comma, a semicolon or a tab between two";
    check_columns(header.iter())
        .map_err(|problem| Error::damaged(at(skipped + 1), format!("{problem}, {separators}")))?;
    Ok(Table {
        reader,
        seen,
        header,
        skipped,
        name: name.into(),
        blank: VecDeque::new(),
        behind: None,
        done: false,
    })
}

/// The findings about a text.
#[derive(Default)]
struct Seen {
    double_quotes: Cell<usize>,
    end: Cell<bool>,
}

struct Watched {
    reader: Box<dyn BufRead>,
    seen: Rc<Seen>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        let quotes = buffer[..read].iter().filter(|byte| **byte == b'"').count();
        let before = self.seen.double_quotes.get();
        self.seen.double_quotes.set(before + quotes);
        self.seen.end.set(read == 0 && !buffer.is_empty());
        Ok(read)
    }
}

fn likeliest_separator(header: &[u8]) -> u8 {
    let columns = |separator: u8| {
        let mut reader = ReaderBuilder::new()
            .delimiter(separator)
            .has_headers(false)
            .from_reader(header);
        let mut record = csv::ByteRecord::new();
        match reader.read_byte_record(&mut record) {
            Ok(true) => record.len(),
            _ => 0,
        }
    };
    // Of equals the first counts; `max_by_key` takes the last.
    let best = SEPARATORS
        .into_iter()
        .rev()
        .max_by_key(|separator| columns(*separator));
    best.unwrap_or(b',')
}

impl Iterator for Table {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        loop {
            if self.behind.is_some() {
                let blank = self.blank.pop_front().map(|line| self.blank_row(line));
                return blank.or_else(|| self.behind.take());
            }
            if self.done {
                return None;
            }
            let mut record = StringRecord::new();
            let read = self.reader.read_record(&mut record);
            if let Ok(false) = read {
                self.done = true;
                return None;
            }
            let is_blank = match read {
                Ok(_) => record.iter().all(|cell| matches!(cell, "" | END_OF_FILE)),
                Err(_) => record.iter().eq([END_OF_FILE]),
            };
            if is_blank {
                self.blank
                    .push_back(record.position().map_or(0, |position| position.line()));
                continue;
            }
            self.behind = Some(match read {
                Ok(_) => self.row(&record),
                Err(error) => Err(self.bad(&error)),
            });
        }
    }
}

/// DOS programs end a text by Ctrl-Z.
const END_OF_FILE: &str = "\u{1a}";

/// A cell with quotes behind white space, which are part of the text to CSV: `"Heat" , "1995"`.
fn unquoted(cell: &str) -> Cow<'_, str> {
    let inner = cell
        .starts_with(' ')
        .then(|| cell.trim().strip_prefix('"')?.strip_suffix('"'));
    match inner.flatten() {
        Some(inner) => inner.replace("\"\"", "\"").into(),
        None => cell.into(),
    }
}

impl Table {
    fn place(&self, line: u64) -> Place {
        Place::new(&self.name, At::Line(line as usize + self.skipped))
    }

    fn blank_row(&self, line: u64) -> Row {
        let names = self.header.iter().filter(|name| !name.is_empty());
        let fields: Map<String, Value> = names.map(|name| (name.into(), Value::Null)).collect();
        Ok(RawRow {
            place: self.place(line),
            value: Value::Object(fields),
        })
    }

    fn row(&mut self, record: &StringRecord) -> Row {
        let place = self.place(record.position().map_or(0, |position| position.line()));
        // A quote that is never closed makes the rest of the file one cell of the last row.
        let at_end = self.seen.end.get() && self.seen.double_quotes.get() % 2 == 1;
        let many_lines = |cell: &str| cell.contains('\n');
        if let Some(at) = at_end.then(|| record.iter().position(many_lines)).flatten() {
            self.done = true;
            let name = self.header.get(at).unwrap_or("");
            let problem = "a double quote in front of this text is never closed, and the rest of \
                           the file is taken for one cell; close it";
            return Err(Error::damaged(place.field(name), problem).into());
        }
        let named = self
            .header
            .iter()
            .zip(record)
            .filter(|(name, _)| !name.is_empty());
        let fields: Map<String, Value> = named
            .map(|(name, cell)| {
                let value = if cell.is_empty() {
                    Value::Null
                } else {
                    unquoted(cell).into()
                };
                (name.to_string(), value)
            })
            .collect();
        let value = Value::Object(fields);
        Ok(RawRow { place, value })
    }

    fn bad(&mut self, error: &csv::Error) -> RowError {
        let line = error.position().map_or(1, |position| position.line());
        let mut place = self.place(line);
        let problem = match error.kind() {
            ErrorKind::Utf8 { err, .. } => {
                place.field = self.header.get(err.field()).unwrap_or("").into();
                not_utf8(err.valid_up_to())
            }
            ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => format!(
                "{len} columns; expected {expected_len}, as in the header. A text with a separator \
                 or a line end in it needs double quotes around it, and each quote a closing one"
            ),
            _ => {
                self.done = true;
                return Error::damaged(place, error.to_string()).into();
            }
        };
        RowError::Bad(place, problem)
    }
}
