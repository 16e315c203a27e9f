//! JSON lines in and out; every error names the file, the line and the field.

use std::io::{BufRead, Read};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{self, write_atomic};
use crate::{BadRow, BadRowPolicy, BadRows};

/// The largest line, in bytes, that is read: 64 MiB.
pub const LARGEST_LINE: u64 = 64 << 20;

/// The conditions of a line beyond its types.
pub trait Check {
    /// # Errors
    /// The field that is wrong, and what was found and expected.
    fn check(&self) -> Result<(), (&'static str, String)>;
}

/// Why a file of JSON lines could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file as a whole cannot be read.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file as a whole is not JSON lines, or holds none.
    #[error("{file}: {problem}")]
    Format {
        /// The file, as the caller named it.
        file: String,
        /// What was found, what is expected and what to do.
        problem: String,
    },
    /// One line of it is bad.
    #[error("{file}, line {line}{}: {problem}; mend the line or remove it", field_text(.field))]
    Line {
        /// The file, as the caller named it.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The path of the field, as in `dialog[2].content`. It is empty where the line as a whole
        /// is wrong.
        field: String,
        /// What was found and expected.
        problem: String,
    },
    /// Several lines of it are bad.
    #[error("{bad}\nmend or remove these lines, or have bad rows skipped")]
    Lines {
        /// The number of bad lines, and the first of them.
        bad: BadRows,
    },
}

impl Error {
    /// The bad line as a bad row; `None` where the file as a whole is wrong.
    fn bad_row(&self, row: usize) -> Option<BadRow> {
        let Self::Line {
            file,
            line,
            field,
            problem,
        } = self
        else {
            return None;
        };
        Some(BadRow {
            row,
            place: format!("{file}, line {line}{}", field_text(field)),
            problem: problem.clone(),
        })
    }
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
/// [`Error::File`] when the file is not regular or cannot be read; else as [`read`].
pub fn read_file<T: DeserializeOwned + Check>(path: impl AsRef<Path>) -> Result<Vec<T>, Error> {
    Ok(read_file_rows(path, BadRowPolicy::Refuse)?.0)
}

/// Reads the lines of the file at `path` under a policy for bad lines. See [`read_rows`].
///
/// # Errors
/// [`Error::File`] when the file is not regular or cannot be read; else as [`read_rows`].
pub fn read_file_rows<T: DeserializeOwned + Check>(
    path: impl AsRef<Path>,
    policy: BadRowPolicy,
) -> Result<(Vec<T>, BadRows), Error> {
    let path = path.as_ref();
    read_rows(files::open_data(path)?, &path.display().to_string(), policy)
}

/// Reads all lines of `reader`; `name` names the file in errors. Blank lines and a UTF-8 byte order
/// mark are skipped.
///
/// # Errors
/// - [`Error::Line`] when one line is not UTF-8, not JSON, not a `T`, or fails its [`Check`]
/// - [`Error::Lines`] when several lines are bad
/// - [`Error::Format`] when there is no line, or the file is no JSON lines at all
pub fn read<T: DeserializeOwned + Check>(
    reader: impl BufRead,
    name: &str,
) -> Result<Vec<T>, Error> {
    Ok(read_rows(reader, name, BadRowPolicy::Refuse)?.0)
}

/// Reads the lines of `reader` as [`read`] does. With [`BadRowPolicy::Skip`] bad lines are left out
/// and returned beside the rows.
///
/// ```
/// use convrec_core::{BadRowPolicy, CatalogItem, jsonl};
///
/// let text = "{\"title\": \"Heat\"}\n{\"title\": 7}\n{\"title\": \"\"}\n";
/// let error = jsonl::read::<CatalogItem>(text.as_bytes(), "films.jsonl").unwrap_err();
/// assert!(error.to_string().starts_with("2 of 3 rows are bad:\n  films.jsonl, line 2, field `title`"));
///
/// let policy = BadRowPolicy::Skip;
/// let (items, bad) = jsonl::read_rows::<CatalogItem>(text.as_bytes(), "films.jsonl", policy)?;
/// assert_eq!((items.len(), bad.count, bad.listed[1].row), (1, 2, 2));
/// # Ok::<(), convrec_core::jsonl::Error>(())
/// ```
///
/// # Errors
/// As [`read`]. With [`BadRowPolicy::Skip`] bad lines are an error only where no line is good.
pub fn read_rows<T: DeserializeOwned + Check>(
    reader: impl BufRead,
    name: &str,
    policy: BadRowPolicy,
) -> Result<(Vec<T>, BadRows), Error> {
    let (mut good, mut bad, mut first) = (Vec::new(), BadRows::default(), None);
    for row in rows(reader, name) {
        match row {
            Ok((_, row)) => good.push(row),
            Err(error) => match error.bad_row(bad.rows_read) {
                Some(row) => {
                    bad.push(row);
                    first.get_or_insert(error);
                }
                None => return Err(error),
            },
        }
        bad.rows_read += 1;
    }
    match first {
        Some(first) if policy == BadRowPolicy::Refuse || good.is_empty() => Err(match bad.count {
            1 => first,
            _ => Error::Lines { bad },
        }),
        _ => Ok((good, bad)),
    }
}

/// Reads one line after the other: each row with its line, from 1. See [`read`].
///
/// An [`Error::Line`] is about that line alone, and the next line can be read. Other errors are the
/// last thing that the iterator returns.
pub fn rows<T: DeserializeOwned + Check, R: BufRead>(
    mut reader: R,
    name: &str,
) -> impl Iterator<Item = Result<(usize, T), Error>> + use<T, R> {
    let name = name.to_string();
    let (mut line, mut any, mut ended) = (0, false, false);
    let mut bytes = Vec::new();
    std::iter::from_fn(move || {
        while !ended {
            bytes.clear();
            // A line that never ends must not fill the memory.
            let read = (&mut reader)
                .take(LARGEST_LINE + 1)
                .read_until(b'\n', &mut bytes);
            let whole = match read {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Ok(length) if length as u64 > LARGEST_LINE => Err(Problem::Format(format!(
                    "line {} has more than {LARGEST_LINE} bytes; expected one row a line",
                    line + 1
                ))),
                Ok(_) => Ok(()),
                Err(e) => Err(Problem::Format(format!(
                    "cannot read line {}: {e}",
                    line + 1
                ))),
            };
            line += 1;
            let row = whole.and_then(|()| {
                read_line(bytes.strip_suffix(b"\n").unwrap_or(&bytes), line == 1, !any)
            });
            let file = || name.clone();
            match row {
                Ok(None) => continue,
                Ok(Some(row)) => {
                    any = true;
                    return Some(Ok((line, row)));
                }
                Err(Problem::Row { field, problem }) => {
                    any = true;
                    let file = file();
                    return Some(Err(Error::Line {
                        file,
                        line,
                        field,
                        problem,
                    }));
                }
                Err(Problem::Format(problem)) => {
                    (any, ended) = (true, true);
                    return Some(Err(Error::Format {
                        file: file(),
                        problem,
                    }));
                }
            }
        }
        if any {
            return None;
        }
        any = true;
        let problem = "it holds no line with data; expected at least one".to_string();
        let file = name.clone();
        Some(Err(Error::Format { file, problem }))
    })
}

/// A problem of a line, or of the file.
enum Problem {
    Row { field: String, problem: String },
    Format(String),
}

/// The row of a line, `None` where the line is blank. `is_first` is true for line 1, `is_first_row`
/// until a line that is not blank was read.
fn read_line<T: DeserializeOwned + Check>(
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

/// Writes `rows`, one a line, and replaces the file at `path` as a whole.
///
/// # Errors
/// When the file cannot be written. The former file is then still there.
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
            "f.jsonl, line 1000, field `genres[1]`: invalid type: integer `3`, expected a string; \
             mend the line or remove it"
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
                example(user, "[[\"Heat\",\"soon\"]]"),
                "field `seen[0][1]`: `soon` is no year",
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

    #[test]
    fn what_is_not_json_lines_is_named_with_what_to_do() {
        for (text, part) in [
            (&b"[{\"title\":\"Up\"}]"[..], "f.jsonl: found a JSON array"),
            (b"\n[\n {\"title\":\"Up\"}\n]", "jq -c '.[]' FILE"),
            (b"{\n \"title\":\"Up\"\n}", "an object over several lines"),
            (
                b"{\"title\":\"Up\"}{\"title\":\"Heat\"}",
                "one object a line",
            ),
            (
                b"{\"title\":\"Up\",\"year\":NaN}",
                "field `year`: found `NaN`",
            ),
            (
                b"{\"title\":\"Up\",\"year\":-Infinity}",
                "found `-Infinity`",
            ),
            (b"{\"title\":\"Up\",\"year\":nan}", "found `nan`"),
            (
                b"{\"title\":\"Up \\ud83d\"}",
                "field `title`: found an escape of half a surrogate",
            ),
            (
                b"{\"title\":\"Up \\ud83d\\u0041\"}",
                "half a surrogate pair",
            ),
            (b"{\"title\":\"Up \\udc80\"}", "half a surrogate pair"),
            (b"\xff\xfe{\0", "found UTF-16 text"),
            (b"\x1f\x8b\x08", "compressed by gzip"),
            (
                b"{\"title\":1917}",
                "field `title`: invalid type: integer `1917`",
            ),
        ] {
            let message = error::<CatalogItem>(text);
            assert!(message.contains(part), "{message} does not say {part}");
        }
    }

    #[test]
    fn several_bad_lines_are_counted_and_can_be_skipped() {
        let text = b"{\"title\":\"Up\"}\n\n{\"title\":\"\"}\n{\"title\":\"Heat\"}\n{\n";
        assert_eq!(
            error::<CatalogItem>(text),
            "2 of 4 rows are bad:\n  f.jsonl, line 3, field `title`: blank; expected text\n  \
             f.jsonl, line 5: EOF while parsing an object at column 1\n\
             mend or remove these lines, or have bad rows skipped"
        );
        let skip = |text: &[u8]| read_rows::<CatalogItem>(text, "f", BadRowPolicy::Skip);
        let (items, bad) = skip(text).unwrap();
        assert_eq!((items.len(), bad.count, bad.rows_read), (2, 2, 4));
        assert_eq!(bad.listed[1].row, 3);
        // No row is left, so the reading fails.
        assert!(
            skip(b"{}\n{}\n")
                .unwrap_err()
                .to_string()
                .starts_with("2 of 2 rows are bad")
        );
        assert!(skip(b"{}\n").is_err() && skip(b"[1]").is_err());
    }

    #[test]
    fn items_and_ids_are_read_in_the_forms_that_people_have() {
        let read_one = |fields: &str| {
            let line = format!("{{\"dialog\":[{{\"role\":\"user\",\"content\":\"x\"}}],{fields}}}");
            read::<Example>(line.as_bytes(), "f").map(|mut rows| rows.remove(0))
        };
        let coco = vec![Item::new("Coco", 2017)];
        for form in [
            "[\"Coco\",2017]",
            "[\"Coco\",\"2017\"]",
            "[\"Coco\",2017.0]",
            "{\"title\":\"Coco\",\"year\":2017}",
            "{\"year\":\"2017\",\"title\":\"Coco\",\"imdb\":[1]}",
            "\"Coco (2017)\"",
        ] {
            for name in ["ground_truth", "groundtruth"] {
                let row = read_one(&format!("\"id\":\"d-1\",\"{name}\":[{form}]")).unwrap();
                assert_eq!(
                    (row.ground_truth, row.seen),
                    (coco.clone(), vec![]),
                    "{form}"
                );
            }
        }
        for form in [
            "\"Coco\"",
            "[\"Coco\",null]",
            "[\"Coco\",\"\"]",
            "{\"title\":\"Coco\"}",
        ] {
            let row = read_one(&format!("\"id\":7,\"seen\":[{form}]")).unwrap();
            assert_eq!(
                (row.id.as_str(), &row.seen[0]),
                ("7", &Item::new("Coco", None))
            );
        }
        for (form, part) in [
            ("{\"year\":2017}", "missing field `title`"),
            ("[]", "invalid length 0"),
            ("[\"Coco\",2017,1]", "invalid length 3"),
            ("\" \"", "blank"),
            ("7", "expected an item"),
            ("[\"Coco\",true]", "expected a year"),
        ] {
            let error = read_one(&format!("\"id\":\"d\",\"seen\":[{form}]")).unwrap_err();
            assert!(error.to_string().contains(part), "{form}: {error}");
            assert!(
                error.to_string().contains("field `seen[0]"),
                "{form}: {error}"
            );
        }
        let nulls = read::<CatalogItem>(
            &b"{\"title\":\"Up\",\"year\":\"2009\",\"genres\":null,\"metadata\":null}"[..],
            "f",
        );
        let item = &nulls.unwrap()[0];
        assert_eq!(
            (item.year, item.genres.len(), &*item.metadata),
            (Some(2009), 0, "")
        );
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let endless = std::io::BufReader::new(std::io::repeat(b'x'));
        let error = read::<CatalogItem>(endless, "f").unwrap_err().to_string();
        assert!(
            error.contains("line 1 has more than 67108864 bytes"),
            "{error}"
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
