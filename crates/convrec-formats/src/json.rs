//! JSON: a row a line, or one array of rows.

use std::fmt;
use std::io::{BufRead, Cursor, Read};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{At, Error, Place};
use crate::input::{Input, unreadable, utf8};
use crate::limits::{MAX_LINE, MAX_WHOLE_FILE};
use crate::literal;
use crate::row::{RawRow, Row, RowError, Rows, fatal};

const EXPECTED: &str = "expected one JSON object a line, or one array of objects; in pandas: \
                        `df.to_json(path, orient=\"records\", lines=True)`";

/// The rows of a JSON file: objects, pairs, or texts. A line may hold several objects.
pub(crate) fn rows(input: Input) -> Rows {
    let name = input.name.clone();
    let mut reader = match input.text() {
        Ok(reader) => reader,
        Err(error) => return fatal(error),
    };
    match starts_with_array(&mut reader) {
        Err(error) => fatal(Error::damaged(
            Place::new(&name, At::File),
            unreadable(&error),
        )),
        Ok(Start {
            is_array: true,
            line,
        }) => array(reader, line, name),
        Ok(Start { line, .. }) => lines(reader, line, name),
    }
}

struct Start {
    is_array: bool,
    /// The first line that is not blank, from 1.
    line: usize,
}

/// Skips white space and looks at the next byte.
fn starts_with_array(reader: &mut dyn BufRead) -> std::io::Result<Start> {
    let mut line = 1;
    loop {
        let bytes = reader.fill_buf()?;
        let first = bytes.iter().position(|byte| !byte.is_ascii_whitespace());
        let skipped = first.unwrap_or(bytes.len());
        line += bytes[..skipped]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        let is_array = first.is_some_and(|first| bytes[first] == b'[');
        let at_end = bytes.is_empty();
        reader.consume(skipped);
        if first.is_some() || at_end {
            return Ok(Start { is_array, line });
        }
    }
}

fn lines(mut reader: Box<dyn BufRead>, first: usize, name: String) -> Rows {
    let mut line = first - 1;
    let next = move || -> Option<Vec<Row>> {
        let mut bytes = Vec::new();
        line += 1;
        let place = Place::new(&name, At::Line(line));
        let limit = MAX_LINE as u64 + 1;
        match reader.by_ref().take(limit).read_until(b'\n', &mut bytes) {
            Err(e) => {
                let error = Error::damaged(place, unreadable(&e));
                return Some(vec![Err(error.into())]);
            }
            Ok(0) => return None,
            Ok(_) if bytes.len() > MAX_LINE => {
                let problem = format!("the line is longer than {} MB; {EXPECTED}", MAX_LINE >> 20);
                return Some(vec![Err(Error::damaged(place, problem).into())]);
            }
            Ok(_) => {}
        }
        Some(match objects(&bytes) {
            Ok(values) => values
                .into_iter()
                .map(|value| {
                    Ok(RawRow {
                        place: place.clone(),
                        value,
                    })
                })
                .collect(),
            // The first line of an object that is written over many lines.
            Err(problem) if line == first && problem.starts_with("EOF") => {
                vec![Err(
                    Error::damaged(place, format!("{problem}; {EXPECTED}")).into()
                )]
            }
            Err(problem) => vec![Err(RowError::Bad(place, problem))],
        })
    };
    Box::new(std::iter::from_fn(next).flatten())
}

/// The elements of an array. A bad element spoils no other.
fn array(reader: Box<dyn BufRead>, mut line: usize, name: String) -> Rows {
    let mut bytes = Vec::new();
    let damaged = |at, problem: &str| Error::damaged(Place::new(&name, at), problem);
    if let Err(e) = reader.take(MAX_WHOLE_FILE + 1).read_to_end(&mut bytes) {
        return fatal(damaged(At::File, &unreadable(&e)));
    }
    if bytes.len() as u64 > MAX_WHOLE_FILE {
        let problem = format!(
            "the array is longer than {} MB; {EXPECTED}",
            MAX_WHOLE_FILE >> 20
        );
        return fatal(damaged(At::File, &problem));
    }
    if is_pair(
        bytes
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default(),
    ) {
        return lines(Box::new(Cursor::new(bytes)), line, name);
    }
    // An array on one line has no lines to name, so its elements are counted.
    let is_one_line = !bytes.trim_ascii().contains(&b'\n');
    let (mut at, mut row) = (1, 0);
    let mut done = false;
    Box::new(std::iter::from_fn(move || {
        if done {
            return None;
        }
        let damaged = |line, problem: String| {
            Some(Err(Error::damaged(
                Place::new(&name, At::Line(line)),
                problem,
            )
            .into()))
        };
        let Some(end) = element_end(&bytes[at..]) else {
            done = true;
            let problem = format!("the array does not end, the file may be cut; {EXPECTED}");
            return damaged(line, problem);
        };
        let element = &bytes[at..at + end];
        let is_last = bytes[at + end] == b']';
        let count = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
        let blank = element.len() - element.trim_ascii_start().len();
        let first = line + count(&element[..blank]);
        let place = match is_one_line {
            true => At::Row(row),
            false => At::Line(first),
        };
        let place = Place::new(&name, place);
        line += count(element);
        at += end + 1;
        row += 1;
        if is_last {
            done = true;
            if !bytes[at..].trim_ascii().is_empty() {
                return damaged(
                    line,
                    format!("text follows the end of the array; {EXPECTED}"),
                );
            }
            if element.trim_ascii().is_empty() {
                return None;
            }
        }
        Some(match value(element) {
            Ok(value) => Ok(RawRow { place, value }),
            Err(problem) => Err(RowError::Bad(place, problem)),
        })
    }))
}

/// Whether a line is one item, `["Heat", 1995]`, and not an array of rows.
fn is_pair(line: &[u8]) -> bool {
    match serde_json::from_slice::<(String, Value)>(line) {
        Ok((_, Value::String(text))) => text.is_empty() || text.parse::<i32>().is_ok(),
        Ok((_, year)) => year.is_number() || year.is_null(),
        Err(_) => false,
    }
}

/// The end of the element that `bytes` begin with: the comma or bracket behind it.
fn element_end(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b',' | b']' if depth == 0 => return Some(at),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// The objects of one line, none where it is blank.
fn objects(bytes: &[u8]) -> Result<Vec<Value>, String> {
    let text = utf8(bytes)?.trim_end();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<UniqueNames>();
    let read: Result<Vec<UniqueNames>, _> = values.by_ref().collect();
    match read {
        Ok(read) => Ok(read.into_iter().map(|value| value.0).collect()),
        Err(error) => literal::parse(text)
            .map(|value| vec![value])
            .ok_or_else(|| message(&error)),
    }
}

fn value(bytes: &[u8]) -> Result<Value, String> {
    let text = utf8(bytes)?;
    match serde_json::from_str::<UniqueNames>(text) {
        Ok(value) => Ok(value.0),
        Err(error) => literal::parse(text).ok_or_else(|| message(&error)),
    }
}

/// serde_json's message with the column, and without its line, which is never the file's.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => format!("{} at column {}", &text[..at], error.column()),
        None => text,
    }
}

/// A value; the names in its outermost object must differ. serde_json takes the last of two.
struct UniqueNames(Value);

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = UniqueNames;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueNames, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format!("the field `{name}` comes twice")));
            }
            let value = map.next_value()?;
            fields.insert(name, value);
        }
        Ok(UniqueNames(Value::Object(fields)))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<UniqueNames, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(UniqueNames(Value::Array(values)))
    }
}
