//! Years as files write them.

use serde_json::Value;

use crate::fields::{found, is_missing};

const EXPECTED: &str = "expected an integer, its digits as text, or nothing";

/// The year that a value names, `None` where it says that the year is unknown.
///
/// Tables write integers in columns with gaps as `1995.0`, and the gaps as `nan`, `None` or in one
/// of the other ways of [`is_missing`].
///
/// # Errors
/// What was found and expected, where the value is no year.
pub(crate) fn year(value: &Value) -> Result<Option<i32>, String> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.trim().to_string(),
        Value::Number(number) => number.to_string(),
        other => return Err(format!("found {}; {EXPECTED}", found(other))),
    };
    if is_missing(&text) {
        return Ok(None);
    }
    convrec_core::year::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_are_integers_however_they_are_written() {
        let read = |json: &str| year(&serde_json::from_str(json).unwrap());
        for (json, expected) in [
            ("1995", Some(1995)),
            ("\"1995\"", Some(1995)),
            ("\" 1995 \"", Some(1995)),
            ("1995.0", Some(1995)),
            ("\"1995.0\"", Some(1995)),
            ("-720", Some(-720)),
            ("\"-720\"", Some(-720)),
            ("201", Some(201)),
            ("\"\"", None),
            ("null", None),
            ("\"nan\"", None),
            ("\"NaN\"", None),
            ("\"None\"", None),
            ("\"<NA>\"", None),
            ("\"\\\\N\"", None),
        ] {
            assert_eq!(read(json), Ok(expected), "{json}");
        }
        for json in [
            "\"1995?\"",
            "1995.5",
            "1e300",
            "3000000000",
            "\"19 95\"",
            "\".0\"",
            "\"1995.\"",
            "\"1995-06\"",
            "true",
            "[1995]",
            "{}",
            "\"inf\"",
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains("; expected an integer, "), "{json}: {error}");
        }
    }
}
