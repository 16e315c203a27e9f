//! The methods of Python's types, paid for in steps.

use minijinja::value::{Kwargs, Value, ValueKind, from_args};
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
        "split" | "rsplit" => return split(state, text, method, args),
        "partition" | "rpartition" => {
            let (between,): (&str,) = from_args(args)?;
            if between.is_empty() {
                return Err(wrong(format!("{method}: expected a separator, found \"\"")));
            }
            let (parts, whole) = match method {
                "partition" => (text.split_once(between), [text, "", ""]),
                _ => (text.rsplit_once(between), ["", "", text]),
            };
            let parts = parts.map_or(whole, |(before, after)| [before, between, after]);
            return Ok(Value::from_iter(parts));
        }
        "removeprefix" => {
            let (start,): (&str,) = from_args(args)?;
            return Ok(text.strip_prefix(start).unwrap_or(text).into());
        }
        "removesuffix" => {
            let (end,): (&str,) = from_args(args)?;
            return Ok(text.strip_suffix(end).unwrap_or(text).into());
        }
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

/// `str.split` and `str.rsplit` of Python, with `sep` and `maxsplit` by place or by name.
fn split(state: &mut State, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (between, most, named): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let between = match between {
        Some(between) => Some(between),
        None => named.get("sep")?,
    };
    let most = most.map_or_else(|| named.get("maxsplit"), |most| Ok(Some(most)))?;
    named.assert_all_used()?;
    let most = most.and_then(|most| usize::try_from(most).ok());
    if method == "split" {
        let most = most.map_or(-1, |most| most as i64);
        return unknown_method_callback(
            state,
            &text.into(),
            method,
            &[between.into(), most.into()],
        );
    }
    if between == Some("") {
        return Err(wrong("rsplit: expected a separator, found \"\"".into()));
    }
    let mut parts = Vec::new();
    let mut rest = Some(match between {
        Some(_) => text,
        None => text.trim_end(),
    });
    while let Some(left) = rest.filter(|_| most.is_none_or(|most| parts.len() < most)) {
        let found = match between {
            Some(between) => left.rsplit_once(between),
            None => left
                .rsplit_once(char::is_whitespace)
                .map(|(before, after)| (before.trim_end(), after)),
        };
        let Some((before, after)) = found else { break };
        parts.push(after);
        rest = Some(before);
    }
    // White space in front of the first word makes no empty part.
    parts.extend(rest.filter(|rest| between.is_some() || !rest.is_empty()));
    parts.reverse();
    state.consume_fuel(parts.len() as u64)?;
    Ok(Value::from_iter(parts))
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
        return Err(wrong(problem));
    }
    Ok(())
}

fn wrong(problem: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}
