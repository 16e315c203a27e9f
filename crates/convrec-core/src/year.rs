//! Years as files write them: integers, integers with `.0`, their digits as text, or nothing.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::text::shown;

/// Reads a year from text. Blank text is an unknown year, `None`.
///
/// `1995.0` and `1995.00` are read too: tables write integers so in columns with gaps. So are
/// full-width digits.
///
/// # Errors
/// A message with what was found and expected, when the text is neither blank nor an integer.
pub fn parse(text: &str) -> Result<Option<i32>, String> {
    let year = text.trim();
    if year.is_empty() {
        return Ok(None);
    }
    let digits: String = year.chars().map(ascii_digit).collect();
    let integer = match digits.split_once('.') {
        Some((integer, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => integer,
        _ => &digits,
    };
    integer.parse().map(Some).map_err(|_| {
        format!(
            "`{}` is no year; expected an integer, or nothing",
            shown(text)
        )
    })
}

/// Full-width digits, as Japanese keyboards write them, as ASCII.
fn ascii_digit(c: char) -> char {
    match c {
        '０'..='９' => char::from(b'0' + (u32::from(c) - u32::from('０')) as u8),
        other => other,
    }
}

/// Deserialises a year from an integer, its digits as text, or null. For `deserialize_with`.
///
/// # Errors
/// An error of the deserialiser when the value is none of these.
pub fn strict<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i32>, D::Error> {
    lenient(deserializer)?.map_err(D::Error::custom)
}

/// Deserialises a year as [`strict`] does, but returns a bad number or text as a value. The caller
/// decides what becomes of it.
///
/// # Errors
/// An error of the deserialiser when the value has a type that no year can have: a boolean, a list
/// or an object.
pub fn lenient<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Result<Option<i32>, String>, D::Error> {
    Year::deserialize(deserializer).map(|year| year.0)
}

struct Year(Result<Option<i32>, String>);

impl<'de> Deserialize<'de> for Year {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YearVisitor)
    }
}

struct YearVisitor;

impl Visitor<'_> for YearVisitor {
    type Value = Year;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a year: an integer, its digits as text, or null")
    }

    fn visit_str<E>(self, text: &str) -> Result<Year, E> {
        Ok(Year(parse(text)))
    }

    fn visit_unit<E>(self) -> Result<Year, E> {
        Ok(Year(Ok(None)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Year, E> {
        Ok(Year(parse(&number.to_string())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Year, E> {
        Ok(Year(parse(&number.to_string())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Year, E> {
        Ok(Year(parse(&format!("{number:?}"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_are_integers_however_they_are_written() {
        for (json, year) in [
            ("1995", Some(1995)),
            ("\"1995\"", Some(1995)),
            ("\" 1995 \"", Some(1995)),
            ("1995.0", Some(1995)),
            ("\"1995.0\"", Some(1995)),
            ("\"1995.00\"", Some(1995)),
            ("\"１９９５\"", Some(1995)),
            ("-720", Some(-720)),
            ("\"-720\"", Some(-720)),
            ("201", Some(201)),
            ("\"\"", None),
            ("null", None),
        ] {
            assert_eq!(
                strict(&mut serde_json::Deserializer::from_str(json)).unwrap(),
                year,
                "{json}"
            );
        }
        for json in [
            "\"1995?\"",
            "\"None\"",
            "\"nan\"",
            "1995.5",
            "1e300",
            "3000000000",
            "\"19 95\"",
            "\".0\"",
            "\"1995-06\"",
        ] {
            let read = lenient(&mut serde_json::Deserializer::from_str(json)).unwrap();
            assert!(read.unwrap_err().contains("is no year"), "{json}");
        }
        for json in ["true", "[1995]", "{}"] {
            assert!(
                lenient(&mut serde_json::Deserializer::from_str(json)).is_err(),
                "{json}"
            );
        }
    }
}
