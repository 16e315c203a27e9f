//! The methods of Python's types, paid for in steps.

use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Bytes that are read or written for a step, as the engine itself counts.
pub(super) const BYTES_A_STEP: u64 = 64;
/// Formatted values are padded to at most this many characters.
const MAX_WIDTH: i64 = 10_000;

/// Calls a method of a value. Each takes a step for each item, and for each [`BYTES_A_STEP`] that
/// it reads and writes, which the engine only knows of its own filters.
pub(super) fn method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        if value.kind() == ValueKind::Seq {
            state.consume_fuel(value.len().unwrap_or(0) as u64)?;
        }
        return unknown_method_callback(state, value, method, args);
    };
    state.consume_fuel(text.len() as u64 / BYTES_A_STEP)?;
    match method {
        "title" => {
            let () = from_args(args)?;
            return Ok(Value::from(title(text)));
        }
        "replace" => {
            let (old, new, count): (&str, &str, Option<i32>) = from_args(args)?;
            let all = text.matches(old).count() as u64;
            let count = count.and_then(|count| u64::try_from(count).ok());
            let count = count.map_or(all, |count| count.min(all));
            state.consume_fuel(count.saturating_mul(new.len() as u64) / BYTES_A_STEP)?;
        }
        "join" => {
            let (values,): (&Value,) = from_args(args)?;
            return join(state, text, values);
        }
        "format" => check_width(text, args)?,
        _ => {}
    }
    unknown_method_callback(state, value, method, args)
}

/// `str.title` of Python: a letter begins a word where none stands before it, so also behind an
/// apostrophe or a digit.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_inside = false;
    for c in text.chars() {
        match is_inside {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        is_inside = c.is_lowercase() || c.is_uppercase();
    }
    out
}

fn join(state: &State, between: &str, values: &Value) -> Result<Value, Error> {
    let mut out = String::new();
    for (index, value) in values.try_iter()?.enumerate() {
        if index > 0 {
            out.push_str(between);
        }
        let before = out.len();
        match value.as_str() {
            Some(text) => out.push_str(text),
            None => out.push_str(&value.to_string()),
        }
        state.consume_fuel((between.len() + out.len() - before) as u64 / BYTES_A_STEP + 1)?;
    }
    Ok(Value::from(out))
}

/// Refuses formats that ask for much padding, in the format itself or in an argument.
fn check_width(format: &str, args: &[Value]) -> Result<(), Error> {
    let numbers = format.split(|c: char| !c.is_ascii_digit());
    let is_wide =
        |number: &str| !number.is_empty() && !number.parse::<i64>().is_ok_and(|n| n <= MAX_WIDTH);
    // A width may come from an argument: `{:>{}}`.
    let nests = format
        .replace("{{", "")
        .split('}')
        .any(|field| field.matches('{').count() > 1);
    let is_large = |arg: &Value| i64::try_from(arg.clone()).is_ok_and(|n| n > MAX_WIDTH);
    if numbers.into_iter().any(is_wide) || (nests && args.iter().any(is_large)) {
        let problem = format!("format: expected numbers up to {MAX_WIDTH}");
        return Err(Error::new(ErrorKind::InvalidOperation, problem));
    }
    Ok(())
}
