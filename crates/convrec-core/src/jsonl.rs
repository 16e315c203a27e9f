//! JSON lines in and out; every error names the file, the line and the field.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{self, write_atomic};

/// What a line must satisfy beyond its types.
pub trait Check {
    /// # Errors
    /// The field that is wrong, and what was found and expected.
    fn check(&self) -> Result<(), (&'static str, String)>;
}

/// Why a file of JSON lines could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file as a whole.
    #[error(transparent)]
    File(#[from] files::Error),
    /// One line of it.
    #[error("{file}, line {line}{}: {problem}; mend the line or remove it", field_text(.field))]
    Line {
        /// The file, as the caller named it.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The path of the field, as in `dialog[2].content`; empty where the line as a whole is
        /// wrong.
        field: String,
        /// What was found and expected.
        problem: String,
    },
}

fn field_text(field: &str) -> String {
    if field.is_empty() {
        String::new()
    } else {
        format!(", field `{field}`")
    }
}

/// Reads all lines of the file at `path`. See [`read`].
///
/// # Errors
/// When the file cannot be read, and at the first bad line.
pub fn read_file<T: DeserializeOwned + Check>(path: impl AsRef<Path>) -> Result<Vec<T>, Error> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|e| files::Error::new("read", path, e))?;
    read(BufReader::new(file), &path.display().to_string())
}

/// Reads all lines of `reader`; `name` names the file in errors. Blank lines are skipped; a UTF-8
/// byte order mark too.
///
/// # Errors
/// At the first line that is not UTF-8, not JSON, not a `T`, or fails its [`Check`]; and when there
/// is no line at all.
pub fn read<T: DeserializeOwned + Check>(
    reader: impl BufRead,
    name: &str,
) -> Result<Vec<T>, Error> {
    rows(reader, name)
        .map(|row| row.map(|(_, row)| row))
        .collect()
}

/// Reads one line after the other: each row with its line, from 1. See [`read`], whose errors are
/// these; what follows an error is not worth reading.
pub fn rows<T: DeserializeOwned + Check, R: BufRead>(
    reader: R,
    name: &str,
) -> impl Iterator<Item = Result<(usize, T), Error>> + use<T, R> {
    let name = name.to_string();
    let mut lines = reader.split(b'\n').enumerate();
    let (mut last, mut any) = (0, false);
    std::iter::from_fn(move || {
        for (index, bytes) in lines.by_ref() {
            last = index + 1;
            let row = bytes
                .map_err(|e| (String::new(), e.to_string()))
                .and_then(|bytes| read_line(&bytes, index == 0));
            let row = row.map_err(|(field, problem)| Error::Line {
                file: name.clone(),
                line: last,
                field,
                problem,
            });
            if let Some(row) = row.transpose() {
                any = true;
                return Some(row.map(|row| (last, row)));
            }
        }
        if any {
            return None;
        }
        any = true;
        let problem = "the file holds no line with data; expected at least one".to_string();
        Some(Err(Error::Line {
            file: name.clone(),
            line: last.max(1),
            field: String::new(),
            problem,
        }))
    })
}

/// The row of a line, `None` where it is blank; or the field that is wrong, and how.
fn read_line<T: DeserializeOwned + Check>(
    bytes: &[u8],
    is_first: bool,
) -> Result<Option<T>, (String, String)> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        (
            String::new(),
            format!(
                "byte {} is not UTF-8; expected UTF-8 text",
                e.valid_up_to() + 1
            ),
        )
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
        let field = e.path().to_string();
        // What serde calls the place where a cut line ends.
        let field = field
            .strip_suffix('?')
            .unwrap_or(&field)
            .trim_end_matches('.');
        (field.to_string(), without_position(e.inner()))
    })?;
    json.end()
        .map_err(|e| (String::new(), without_position(&e)))?;
    row.check()
        .map_err(|(field, problem)| (field.into(), problem))?;
    Ok(Some(row))
}

/// serde_json's message without its own "at line 1 column 30": the line is ours to name.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) if error.is_syntax() || error.is_eof() => {
            format!("{} at column {}", &text[..at], error.column())
        }
        Some(at) => text[..at].to_string(),
        None => text,
    }
}

/// Writes `rows`, one a line, replacing the file at `path` whole.
///
/// # Errors
/// When the file cannot be written; the former file is then still there.
pub fn write_file<T: Serialize>(path: impl AsRef<Path>, rows: &[T]) -> Result<(), files::Error> {
    write_atomic(path, |out| {
        for row in rows {
            serde_json::to_writer(&mut *out, row)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{CatalogItem, Demonstration, Example, Item, Turn};

    fn error<T: DeserializeOwned + Check + std::fmt::Debug>(text: &[u8]) -> String {
        read::<T>(text, "f.jsonl").unwrap_err().to_string()
    }

    #[test]
    fn line_1000_is_named_with_its_field() {
        let mut text = "{\"title\":\"Heat\",\"year\":1995}\n".repeat(999);
        text += "{\"title\":\"Alien\",\"year\":1979,\"genres\":[\"Horror\",3]}\n";
        assert_eq!(
            error::<CatalogItem>(text.as_bytes()),
            "f.jsonl, line 1000, field `genres[1]`: invalid type: integer `3`, expected a string; mend the line or remove it"
        );
    }

    #[test]
    fn every_kind_of_bad_line_says_what_is_wrong() {
        let example = |dialog: &str, seen: &str| {
            format!(
                "{{\"id\":\"a-1\",\"dialog\":{dialog},\"seen\":{seen},\"ground_truth\":[],\"list\":[]}}"
            )
        };
        let user = "[{\"role\":\"user\",\"content\":\"hi\"}]";
        for (text, part) in [
            (example("[]", "[]"), "field `dialog`: no turns"),
            (
                example("[{\"role\":\"assistant\",\"content\":\"hi\"}]", "[]"),
                "the last turn is the assistant's",
            ),
            (
                example("[{\"role\":\"bot\",\"content\":\"hi\"}]", "[]"),
                "field `dialog[0].role`: unknown variant `bot`",
            ),
            (
                example(user, "[[\"Heat\"]]"),
                "field `seen[0]`: invalid length 1",
            ),
            (
                example(user, "[[\"Heat\",\"1995\"]]"),
                "field `seen[0][1]`: invalid type: string",
            ),
            (example(user, "[]"), "field `list`: no items"),
            ("{\"id\":\"a\"}".into(), "missing field `dialog`"),
            (
                "{\"id\":".into(),
                "line 1, field `id`: EOF while parsing a value at column 6",
            ),
            (
                "{\"id\":\"a\"".into(),
                "line 1: EOF while parsing an object at column 9",
            ),
            ("   \n".into(), "holds no line with data"),
        ] {
            let message = error::<Demonstration>(text.as_bytes());
            assert!(message.contains(part), "{message} does not say {part}");
        }
        assert!(error::<CatalogItem>(b"{\"title\":\"\xff\"}").contains("byte 11 is not UTF-8"));
        assert!(error::<CatalogItem>(b"{\"title\":\" \"}").contains("field `title`: blank"));
        assert!(
            read_file::<Example>("no/such/file.jsonl")
                .unwrap_err()
                .to_string()
                .contains("cannot read no/such/file.jsonl")
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            titles in prop::collection::vec((".*[a-z].*", prop::option::of(any::<i32>())), 1..5),
            content in ".*",
        ) {
            let items: Vec<Item> = titles.into_iter().map(Item::from).collect();
            let example = Example {
                id: "d-1".into(), dialog: vec![Turn::user(content)], seen: items.clone(), ground_truth: vec![],
            };
            let rows = vec![Demonstration { example, list: items }];
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("new/folder/rows.jsonl");
            write_file(&path, &rows).unwrap();
            prop_assert_eq!(read_file::<Demonstration>(&path).unwrap(), rows);
        }
    }

    #[test]
    fn a_failed_write_leaves_the_former_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        write_atomic(&path, |out| out.write_all(b"old")).unwrap();
        let failed = write_atomic(&path, |out| {
            out.write_all(b"half")?;
            Err(std::io::Error::other("disk full"))
        });
        assert!(failed.unwrap_err().to_string().contains("disk full"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
