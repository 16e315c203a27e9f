//! Answers that are JSON lists, or a JSON object a line.

use std::ops::Range;

use serde_json::{Deserializer, Map, Value};

const TITLES: [&str; 5] = ["title", "name", "movie", "film", "item"];
const YEARS: [&str; 2] = ["year", "release_year"];

/// What an element names. A title without a year may hold one in its text.
pub(crate) struct Name {
    pub(crate) title: String,
    pub(crate) year: Option<i32>,
}

/// Whether a JSON list of texts or objects, or an object, begins with the line `content`, which
/// `text` goes on from.
pub(crate) fn begins(content: &str, text: &str) -> bool {
    let inner = match content.chars().next() {
        Some('[') => after(text, '[').filter(|inner| inner.starts_with(['"', '{'])),
        Some('{') => after(text, '{').filter(|inner| inner.starts_with('"')),
        _ => None,
    };
    inner.is_some()
}

fn after(text: &str, mark: char) -> Option<&str> {
    text.trim_start().strip_prefix(mark).map(str::trim_start)
}

/// The elements of the list with what they name, and whether nothing cut them off.
pub(crate) fn elements(text: &str) -> (Vec<(Range<usize>, Name)>, bool) {
    let mut found = vec![];
    let inner = after(text, '[');
    let opens: &[char] = if inner.is_some() { &['"', '{'] } else { &['{'] };
    let mut at = text.len() - inner.unwrap_or(text).len();
    loop {
        let is_between = |c: char| c.is_whitespace() || c == ',';
        at = text.len() - text[at..].trim_start_matches(is_between).len();
        if !text[at..].starts_with(opens) {
            return (found, true);
        }
        let mut values = Deserializer::from_str(&text[at..]).into_iter::<Value>();
        let Some(Ok(value)) = values.next() else {
            return (found, false);
        };
        let end = at + values.byte_offset();
        let names = names(&value).into_iter();
        found.extend(names.map(|name| (at..end, name)));
        at = end;
    }
}

/// What an element names: itself, or in an object around a list the elements of that.
fn names(value: &Value) -> Vec<Name> {
    let of_text = |title: &str| Name {
        // A line break would end the item.
        title: title.trim().replace(['\n', '\r'], " "),
        year: None,
    };
    match value {
        Value::String(text) => vec![of_text(text)],
        Value::Object(object) => match title(object) {
            Some(title) => vec![Name {
                // `Heat (1995)` says its year itself.
                year: year(object).filter(|year| !title.contains(&format!("({year})"))),
                ..of_text(title)
            }],
            None => {
                let list = object.values().find_map(Value::as_array);
                list.into_iter().flatten().flat_map(names).collect()
            }
        },
        _ => vec![],
    }
}

fn title(object: &Map<String, Value>) -> Option<&str> {
    let texts = TITLES.iter().filter_map(|key| object.get(*key)?.as_str());
    texts.map(str::trim).find(|text| !text.is_empty())
}

fn year(object: &Map<String, Value>) -> Option<i32> {
    let value = YEARS.iter().find_map(|key| object.get(*key))?;
    match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_i64()?.try_into().ok(),
    }
}
