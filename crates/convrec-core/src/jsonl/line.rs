//! One line: its text, its JSON, its conditions, and what is said where one of them is not met.

use serde::de::DeserializeOwned;

use super::Check;
use crate::files;

/// A problem of a line, or of the file.
pub(super) enum Problem {
    Row { field: String, problem: String },
    Format(String),
}

/// The row of a line, `None` where the line is blank. `is_first` is true for line 1, `is_first_row`
/// until a line that is not blank was read.
pub(super) fn read_line<T: DeserializeOwned + Check>(
    bytes: &[u8],
    is_first: bool,
    is_first_row: bool,
) -> Result<Option<T>, Problem> {
    let bad = |field: &str, problem: String| Problem::Row {
        field: field.into(),
        problem,
    };
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let problem = files::not_utf8(bytes, e.valid_up_to());
        match is_first && problem.starts_with("found") {
            true => Problem::Format(problem),
            false => bad("", problem),
        }
    })?;
    let text = if is_first {
        text.trim_start_matches('\u{feff}')
    } else {
        text
    };
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let row: T = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        if let Some(problem) = other_layout(text).filter(|_| is_first_row) {
            return Problem::Format(problem);
        }
        let field = e.path().to_string();
        // The path ends in `?` where a cut line ends.
        let field = field
            .strip_suffix('?')
            .unwrap_or(&field)
            .trim_end_matches('.');
        bad(field, explain(text, e.inner()))
    })?;
    json.end().map_err(|_| {
        let problem = "something follows the object; expected one object a line";
        bad("", problem.into())
    })?;
    row.check()
        .map_err(|(field, problem)| bad(field, problem))?;
    Ok(Some(row))
}

/// Names the JSON layout of a file whose first line begins so, where it is not JSON lines.
fn other_layout(line: &str) -> Option<String> {
    let line = line.trim();
    if line.starts_with('[') {
        return Some(
            "found a JSON array; expected one object a line: convert the file, as by \
             `jq -c '.[]' FILE`"
                .into(),
        );
    }
    (line == "{").then(|| {
        "found an object over several lines; expected one object a line: convert the file, as by \
         `jq -c . FILE`"
            .into()
    })
}

/// serde_json's message with the column and with what to do. The caller names the line.
fn explain(text: &str, error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message
        .rfind(" at line ")
        .map_or(&*message, |at| &message[..at]);
    let column = error.column();
    if message.contains("hex escape") {
        return format!(
            "found an escape of half a surrogate pair before column {column}, which is no \
             character; expected both halves, or the character itself"
        );
    }
    match not_json(text, column) {
        Some(word) if error.is_syntax() => format!(
            "found `{word}`, which JSON does not have, at column {column}; expected a number, or \
             null where it is unknown"
        ),
        _ if error.is_syntax() || error.is_eof() => format!("{message} at column {column}"),
        _ => message.to_string(),
    }
}

/// The word around a column, from 1, where it is a number or a constant of another language.
fn not_json(text: &str, column: usize) -> Option<&str> {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let at = column.saturating_sub(1).min(text.len());
    let bytes = text.as_bytes();
    let start = at
        - bytes[..at]
            .iter()
            .rev()
            .take_while(|byte| part(byte))
            .count();
    let end = at + bytes[at..].iter().take_while(|byte| part(byte)).count();
    let word = text.get(start..end)?;
    let bare = word.trim_start_matches(['+', '-']).to_ascii_lowercase();
    ["nan", "inf", "infinity", "none", "undefined", "na"]
        .contains(&&*bare)
        .then_some(word)
}
