//! The fields of a row: their names, and values of the kinds that records are made of.

use serde_json::{Map, Value};

use crate::error::shown_names;
use crate::literal;
use crate::row::Problem;
use convrec_core::shown;

pub(crate) const TITLE: &[&str] = &["title", "name", "movie_title"];
pub(crate) const YEAR: &[&str] = &["year", "release_year"];
/// A day, of which the year counts where there is no other.
pub(crate) const DATE: &[&str] = &["release_date"];
pub(crate) const GENRES: &[&str] = &["genres", "genre"];
pub(crate) const METADATA: &[&str] = &["metadata", "description", "overview", "plot"];
pub(crate) const DIALOG: &[&str] = &["dialog", "prompt"];
/// Whole conversations: the last turn may be the assistant's answer.
pub(crate) const MESSAGES: &[&str] = &["messages", "conversations", "conversation"];
pub(crate) const ID: &[&str] = &["id", "conversation_id", "dialog_id"];
pub(crate) const ROLE: &[&str] = &["role", "from", "speaker"];
pub(crate) const CONTENT: &[&str] = &["content", "value", "text", "utterance"];
/// The number of a turn, in tables with one turn a row.
pub(crate) const TURN: &[&str] = &[
    "turn",
    "turn_id",
    "turn_index",
    "turn_idx",
    "turn_number",
    "turn_num",
    "utterance_id",
    "utterance_index",
    "utterance_idx",
    "position",
    "order",
];
pub(crate) const GROUND_TRUTH: &[&str] = &[
    "ground_truth",
    "groundtruth",
    "groundtruth_with_release_year",
];
pub(crate) const SEEN: &[&str] = &["seen"];
/// Titles without years.
pub(crate) const SEEN_TITLES: &[&str] = &["seen_titles"];
pub(crate) const LIST: &[&str] = &["list"];
pub(crate) const COMPLETION: &[&str] = &["completion"];

/// Whether a column of this name is read. Others are not decoded.
#[cfg(any(feature = "arrow", feature = "parquet"))]
pub(crate) fn is_read(name: &str) -> bool {
    let name = name.to_lowercase();
    [
        TITLE,
        YEAR,
        DATE,
        GENRES,
        METADATA,
        DIALOG,
        MESSAGES,
        ID,
        ROLE,
        CONTENT,
        TURN,
        GROUND_TRUTH,
        SEEN,
        SEEN_TITLES,
        LIST,
        COMPLETION,
    ]
    .iter()
    .any(|names| names.contains(&name.as_str()))
}

/// Whether a column of this name holds days.
#[cfg(any(feature = "arrow", feature = "parquet"))]
pub(crate) fn is_date(name: &str) -> bool {
    DATE.contains(&name.to_lowercase().as_str())
}

/// Whether a conversation has a field of this name that all its rows must agree on.
pub(crate) fn is_of_conversation(name: &str) -> bool {
    let names = [ID, GROUND_TRUTH, SEEN, SEEN_TITLES, LIST, COMPLETION];
    names.iter().any(|names| names.contains(&name))
}

/// The error about the columns of a table that holds neither items nor conversations.
pub(crate) fn check_columns<'a>(
    columns: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), String> {
    let known = [TITLE, DIALOG, MESSAGES, ROLE];
    let is_known = |column: &str| {
        let column = column.to_lowercase();
        known.iter().any(|names| names.contains(&column.as_str()))
    };
    if columns.clone().any(is_known) {
        return Ok(());
    }
    Err(format!(
        "found the columns {}; expected `title` for a catalog, and `dialog`, `messages` or \
         `prompt` for conversations. Rename the columns",
        shown_names(columns)
    ))
}

/// The first of these fields that is there and not null, with its name.
pub(crate) fn first<'a>(
    fields: &'a Map<String, Value>,
    names: &'static [&'static str],
) -> Option<(&'static str, &'a Value)> {
    let value = |name: &&'static str| Some((*name, fields.get(*name)?));
    names
        .iter()
        .filter_map(value)
        .find(|(_, value)| !value.is_null())
}

/// The only field of an object that stands for a cell that cannot be read.
#[cfg(any(feature = "arrow", feature = "parquet"))]
const UNREADABLE: &str = "\0unreadable";

/// The value in place of a cell that cannot be read, such as a time. It is an error only where the
/// cell is needed.
#[cfg(any(feature = "arrow", feature = "parquet"))]
pub(crate) fn unreadable(what: String) -> Value {
    Value::Object(Map::from_iter([(UNREADABLE.into(), what.into())]))
}

/// A value in words, as messages show it.
pub(crate) fn found(value: &Value) -> String {
    #[cfg(any(feature = "arrow", feature = "parquet"))]
    if let Some(Value::String(what)) = value.get(UNREADABLE) {
        return what.clone();
    }
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("`{}`", shown(text)),
        Value::Array(_) => "a list".into(),
        Value::Object(fields) => {
            format!(
                "an object with the fields {}",
                shown_names(fields.keys().map(String::as_str))
            )
        }
    }
}

/// Text, or an integer that stands for it, as in a title that is all digits.
pub(crate) fn text(value: &Value, field: &str) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        other => Err(Problem::new(
            field,
            format!("found {}; expected text", found(other)),
        )),
    }
}

/// Whether `text` is one of the ways in which tables write a missing value.
pub(crate) fn is_missing(text: &str) -> bool {
    const MISSING: [&str; 12] = [
        "",
        "nan",
        "-nan",
        "none",
        "null",
        "na",
        "n/a",
        "<na>",
        "nat",
        "#n/a",
        "\\n",
        "(no genres listed)",
    ];
    let text = text.trim();
    MISSING
        .iter()
        .any(|missing| missing.eq_ignore_ascii_case(text))
}

/// The elements of a list in any of its forms; `None` where the value is something else. The forms
/// are a list, a list that JSON, Python or numpy wrote as text, an object of lists of equal
/// lengths, and nothing. `datasets` stores lists of objects as objects of lists.
pub(crate) fn elements(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(values) => Some(values.clone()),
        Value::String(text) if text.trim().is_empty() => Some(Vec::new()),
        Value::String(text) if text.trim_start().starts_with(['[', '(', '{', 's', 'a']) => {
            match literal::parse_printed(text)? {
                Value::Array(values) => Some(values),
                _ => None,
            }
        }
        Value::Object(fields) => transposed(fields),
        _ => None,
    }
}

/// The reason why this text, which begins as a list, is none; nothing where it is other text.
/// `[REC]` and `[laughs]` begin no list: what a list holds begins with a quote.
pub(crate) fn broken_list(text: &str) -> Option<String> {
    let start = text.trim_start();
    let inner = start.strip_prefix(['[', '{']).unwrap_or("x");
    let inner = inner.trim_start_matches(|c: char| "[({".contains(c) || c.is_whitespace());
    let begins = inner.starts_with(['"', '\'']) || inner.starts_with("array(");
    begins.then(|| literal::why_unreadable(text))
}

fn transposed(fields: &Map<String, Value>) -> Option<Vec<Value>> {
    let lists: Vec<(&String, &Vec<Value>)> = fields
        .iter()
        .map(|(name, value)| Some((name, value.as_array()?)))
        .collect::<Option<_>>()?;
    let length = lists.first()?.1.len();
    if lists.iter().any(|(_, list)| list.len() != length) {
        return None;
    }
    let row = |at: usize| {
        let cells = lists
            .iter()
            .map(|(name, list)| ((*name).clone(), list[at].clone()));
        Value::Object(cells.collect())
    };
    Some((0..length).map(row).collect())
}

/// The parts of a cell that holds several values with a mark between two.
pub(crate) fn split(text: &str, marks: &[char]) -> Vec<String> {
    let mark = marks
        .iter()
        .find(|mark| text.contains(**mark))
        .unwrap_or(&'|');
    let parts = text
        .split(*mark)
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts.map(Into::into).collect()
}
