//! Years as files write them.

use convrec_core::Item;
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

/// The title without this year at its end, as in `Heat (1995)` beside a year 1995.
pub(crate) fn without_year(title: String, year: Option<i32>) -> String {
    match Item::split_line(&title) {
        (alone, Some(own)) if year == Some(own) => alone.into(),
        _ => title,
    }
}

/// The year of a day, `None` where none is given. It is the part of four digits, as in
/// `1995-12-15`, `12/15/1995` or `15-Dec-1995`.
///
/// # Errors
/// What was found and expected.
pub(crate) fn of_date(value: &Value) -> Result<Option<i32>, String> {
    let text = match value {
        Value::String(text) if is_missing(text) => return Ok(None),
        Value::String(text) => text.trim(),
        Value::Null | Value::Number(_) => return year(value),
        _ => "",
    };
    let day = text.split(['T', ' ']).next().unwrap_or("");
    let is_year = |part: &&str| part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    let part = day.split(['-', '/', '.']).find(is_year);
    let year = part.and_then(|part| part.parse().ok());
    year.map(Some).ok_or_else(|| {
        let found = found(value);
        format!("found {found}; expected a day as `1995-12-15`, or a column `year`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_years() {
        for (day, expected) in [
            ("1995-12-15", Some(1995)),
            ("1995-12-15T00:00:00", Some(1995)),
            ("12/15/1995", Some(1995)),
            ("15-Dec-1995", Some(1995)),
            ("1995", Some(1995)),
            ("nan", None),
        ] {
            assert_eq!(of_date(&day.into()), Ok(expected), "{day}");
        }
        assert_eq!(of_date(&1995.into()), Ok(Some(1995)));
        let error = of_date(&"soon".into()).unwrap_err();
        assert!(error.contains("found `soon`; expected a day"), "{error}");
    }

    #[test]
    fn titles_lose_the_year_of_their_row() {
        for (title, year, expected) in [
            ("Psycho (1960)", Some(1960), "Psycho"),
            ("Psycho (1960)", Some(1998), "Psycho (1960)"),
            ("Psycho (1960)", None, "Psycho (1960)"),
            ("1984", Some(1984), "1984"),
            ("(1960)", Some(1960), "(1960)"),
        ] {
            assert_eq!(without_year(title.into(), year), expected);
        }
    }

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
