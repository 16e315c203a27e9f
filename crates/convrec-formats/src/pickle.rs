//! Pickled catalogs, read as data.
//!
//! A pickle is a program for a small stack machine, and some of its opcodes call what they name.
//! The machine here makes lists, tuples, dictionaries, texts, numbers and numpy's scalars. It stops
//! at anything else and names it. Nothing is executed.
//!
//! Time and memory are linear in the file. Nesting is bounded, and lengths are compared with the
//! rest of the file. Values that the memo repeats are shared, not copied.

mod machine;
mod numpy;
mod opcodes;

use machine::Value;
use serde_json::{Map, Number};

use crate::error::{At, Error, Place};
use crate::input::Input;
use crate::limits::Budget;
use crate::row::{RawRow, RowError, Rows, fatal};

const ADVICE: &str = "save plain values: `pickle.dump([(str(t), int(y)) for t, y in items], file)`";

/// The rows of a pickled list: pairs `(title, year)`, or dictionaries as
/// `DataFrame.to_dict("records")` has them. Protocols 0 to 5.
pub(crate) fn rows(input: Input) -> Rows {
    let name = input.name.clone();
    let bytes = match input.whole() {
        Ok(bytes) => bytes,
        Err(error) => return fatal(error),
    };
    let at_byte = |at, problem: String| Error::damaged(Place::new(&name, At::Byte(at)), problem);
    let value = match machine::read(&bytes) {
        Ok(value) => value,
        Err((at, problem)) => return fatal(at_byte(at, problem)),
    };
    let entries = match value {
        Value::List(entries, ..) => entries,
        Value::Tuple(entries, _) => entries.to_vec(),
        Value::Dict(..) => {
            let problem = "the pickle is a dictionary; expected a list of `(title, year)`; save \
                           `list(d.items())`";
            return fatal(at_byte(0, problem.into()));
        }
        other => {
            let kind = other.kind();
            let problem =
                format!("the pickle is {kind}; expected a list of `(title, year)`; {ADVICE}");
            return fatal(at_byte(0, problem));
        }
    };
    let mut budget = Budget::pickle(bytes.len() as u64);
    Box::new(entries.into_iter().enumerate().map(move |(row, entry)| {
        let place = Place::new(&name, At::Row(row));
        match json(&entry, &mut budget) {
            Ok(value) => Ok(RawRow { place, value }),
            Err(Unreadable::Bad(problem)) => Err(RowError::Bad(place, problem)),
            Err(Unreadable::Budget(problem)) => Err(Error::damaged(place, problem).into()),
        }
    }))
}

enum Unreadable {
    Bad(String),
    Budget(String),
}

fn json(value: &Value, budget: &mut Budget) -> Result<serde_json::Value, Unreadable> {
    let length = match value {
        Value::Text(text) => text.len() as u64,
        _ => 0,
    };
    budget.take(8 + length).map_err(Unreadable::Budget)?;
    Ok(match value {
        Value::None => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) if number.is_nan() => serde_json::Value::Null,
        Value::Float(number) => match Number::from_f64(*number) {
            Some(number) => number.into(),
            None => number.to_string().into(),
        },
        Value::Text(text) => text.to_string().into(),
        Value::Tuple(entries, _) => array(entries, budget)?,
        Value::List(entries, ..) => array(entries, budget)?,
        Value::Held(value) => return json(value, budget),
        Value::Dict(entries, ..) => {
            let mut fields = Map::new();
            for (key, value) in entries {
                let Value::Text(name) = key else {
                    let problem = format!("a key is {}; expected text", key.kind());
                    return Err(Unreadable::Bad(problem));
                };
                budget
                    .take(8 + name.len() as u64)
                    .map_err(Unreadable::Budget)?;
                fields.insert(name.to_string(), json(value, budget)?);
            }
            serde_json::Value::Object(fields)
        }
        other => {
            let problem = format!("found {}; expected `(title, year)`; {ADVICE}", other.kind());
            return Err(Unreadable::Bad(problem));
        }
    })
}

fn array(entries: &[Value], budget: &mut Budget) -> Result<serde_json::Value, Unreadable> {
    entries.iter().map(|entry| json(entry, budget)).collect()
}
