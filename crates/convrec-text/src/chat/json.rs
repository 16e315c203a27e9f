//! The filter `tojson` as `transformers` defines it: `json.dumps` of Python.

use std::fmt::Write;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::methods::BYTES_A_STEP;

/// The largest depth of values.
const MAX_DEPTH: usize = 100;
/// The largest size of one piece of JSON, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// `value | tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
pub(super) fn tojson(state: &State, value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent = match options.get::<Option<Value>>("indent")? {
        None => None,
        Some(value) if value.is_none() => None,
        Some(value) => Some(match value.as_str() {
            Some(text) => text.to_string(),
            None => " ".repeat(i64::try_from(value)?.clamp(0, 64) as usize),
        }),
    };
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let separators = match separators.as_deref() {
        None => [if indent.is_some() { "," } else { ", " }, ": "].map(String::from),
        Some([item, key]) => [item.clone(), key.clone()],
        Some(_) => return Err(invalid("separators: expected two strings")),
    };
    let mut writer = Writer {
        out: String::new(),
        ensure_ascii: options.get::<Option<bool>>("ensure_ascii")? == Some(true),
        sort_keys: options.get::<Option<bool>>("sort_keys")? == Some(true),
        indent,
        separators,
    };
    options.assert_all_used()?;
    writer.value(value, 0)?;
    // The filter counts steps in proportion to its output, as the engine cannot see them.
    state.consume_fuel(writer.out.len() as u64 / BYTES_A_STEP + 1)?;
    Ok(writer.out)
}

fn invalid(problem: impl Into<String>) -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        format!("tojson: {}", problem.into()),
    )
}

struct Writer {
    out: String,
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    /// The text between items, and between a key and its value.
    separators: [String; 2],
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH || self.out.len() > MAX_BYTES {
            return Err(invalid(format!(
                "expected at most {MAX_DEPTH} levels and {MAX_BYTES} bytes"
            )));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self
                .out
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)?),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.sequence(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            other => {
                let problem = format!("a value of type {other} is no JSON");
                return Err(invalid(problem));
            }
        }
        Ok(())
    }

    fn sequence(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut is_empty = true;
        for item in value.try_iter()? {
            self.begin(is_empty, depth);
            is_empty = false;
            self.value(&item, depth + 1)?;
        }
        self.end(is_empty, depth, ']');
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut entries = vec![];
        for key in value.try_iter()? {
            let item = value.get_item(&key)?;
            entries.push((name(&key)?, item));
        }
        if self.sort_keys {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
        }
        self.out.push('{');
        for (index, (name, item)) in entries.iter().enumerate() {
            self.begin(index == 0, depth);
            self.string(name);
            self.out.push_str(&self.separators[1]);
            self.value(item, depth + 1)?;
        }
        self.end(entries.is_empty(), depth, '}');
        Ok(())
    }

    /// Writes the text in front of an item.
    fn begin(&mut self, is_first: bool, depth: usize) {
        if !is_first {
            self.out.push_str(&self.separators[0]);
        }
        self.line(depth + 1);
    }

    fn end(&mut self, is_empty: bool, depth: usize, close: char) {
        if !is_empty {
            self.line(depth);
        }
        self.out.push(close);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a string cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// The key of a JSON object for a key of Python.
fn name(key: &Value) -> Result<String, Error> {
    Ok(match key.kind() {
        ValueKind::String => key.as_str().unwrap_or_default().into(),
        ValueKind::None => "null".into(),
        ValueKind::Bool => (if key.is_true() { "true" } else { "false" }).into(),
        ValueKind::Number => number(key)?,
        other => return Err(invalid(format!("a key of type {other} is no JSON"))),
    })
}

/// A number as `repr` of Python writes it.
fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() {
        return Ok(value.to_string());
    }
    let number = f64::try_from(value.clone())?;
    if number.is_nan() {
        return Ok("NaN".into());
    }
    if number.is_infinite() {
        return Ok((if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        })
        .into());
    }
    if number == 0.0 || (1e-4..1e16).contains(&number.abs()) {
        return Ok(format!("{number:?}"));
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    Ok(format!("{digits}e{sign}{exponent:0>2}"))
}
