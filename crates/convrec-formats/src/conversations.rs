//! Conversations and demonstrations, whatever they come in.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use convrec_core::{Demonstration, Example, Item, Turn, files, jsonl};

use crate::authors::AuthorsRow;
use crate::error::{At, Error, Place, Rows};
use crate::source::{Format, Source};

/// A row in the authors' schema, and where it stands.
pub(crate) type Row = Result<(Place, AuthorsRow), Error>;

/// Reads the conversations at `path`.
///
/// | at `path` | is read as | `split` |
/// |---|---|---|
/// | `x.jsonl` | the common schema, where the first row has a `dialog`; the authors' schema, where it has a `prompt` | `None` |
/// | `x.parquet`, `x.arrow` | the authors' schema | `None` |
/// | a folder with `dataset_dict.json` | that split of what `datasets` saved | required if it has several |
/// | a folder with `state.json` | one such split | `None` |
/// | another folder | its `<split>.jsonl`, `<split>.parquet` or `<split>-00000-of-00002.parquet`, ..., all of them | required |
/// | `folder/train`, where there is nothing | the split `train` of such a folder | `None` |
///
/// Rows in the authors' schema have no id. They are given `<folder>-<split>-<context>-<row>`: the
/// row and the context count from 0, and the context is the first row with the same prompt. So rows
/// of one prompt are samples of one dialog ([`Example::dialog_id`]), which is what intervals
/// resample. The split of a file is its name without the ending.
///
/// # Errors
/// When there is nothing of this kind at `path`, or its format is not in this build; and at the
/// first bad row: the error names the file, the row and the field.
pub fn read_conversations(
    path: impl AsRef<Path>,
    split: Option<&str>,
) -> Result<Vec<Example>, Error> {
    let source = Source::find(path.as_ref(), split)?;
    if has_common_schema(&source)? {
        return Ok(jsonl::read_file(&source.files[0])?);
    }
    let rows = source
        .rows()
        .map(|row| row.map(|(_, row)| row.into_example(String::new())));
    with_ids(rows.collect::<Result<_, _>>()?, &source)
}

/// Reads the demonstrations at `path`: as [`read_conversations`], with the list of the common
/// schema, or the completion of the authors' schema as the one parse of lists reads it
/// ([`ListFormat`](convrec_text::ListFormat)). Lines of a completion that are no items are left out
/// and reported.
///
/// # Errors
/// As [`read_conversations`]; and at a row without a list.
pub fn read_demonstrations(
    path: impl AsRef<Path>,
    split: Option<&str>,
) -> Result<Rows<Demonstration>, Error> {
    let source = Source::find(path.as_ref(), split)?;
    if has_common_schema(&source)? {
        return Ok(Rows {
            rows: jsonl::read_file(&source.files[0])?,
            left_out: Vec::new(),
        });
    }
    let (mut examples, mut lists, mut left_out) = (Vec::new(), Vec::<Vec<Item>>::new(), Vec::new());
    for (index, row) in source.rows().enumerate() {
        let (place, row) = row?;
        let (list, lines) = row.list(index, &place)?;
        lists.push(list);
        left_out.extend(lines);
        examples.push(row.into_example(String::new()));
    }
    let examples = with_ids(examples, &source)?.into_iter().zip(lists);
    Ok(Rows {
        rows: examples
            .map(|(example, list)| Demonstration { example, list })
            .collect(),
        left_out,
    })
}

fn with_ids(mut examples: Vec<Example>, source: &Source) -> Result<Vec<Example>, Error> {
    if examples.is_empty() {
        return Err(Error::layout(
            &source.path,
            "there are no rows; expected at least one",
        ));
    }
    let mut first_rows: HashMap<&[Turn], usize> = HashMap::new();
    let ids = examples.iter().enumerate().map(|(row, example)| {
        let context = first_rows.entry(&example.dialog).or_insert(row);
        format!("{}-{context}-{row}", source.name)
    });
    let ids: Vec<String> = ids.collect();
    for (example, id) in examples.iter_mut().zip(ids) {
        example.id = id;
    }
    Ok(examples)
}

/// Whether the first row has the fields of [`Example`]; only JSON lines can.
fn has_common_schema(source: &Source) -> Result<bool, Error> {
    if source.format != Format::Jsonl {
        return Ok(false);
    }
    let path = &source.files[0];
    let mut reader =
        BufReader::new(File::open(path).map_err(|e| files::Error::new("read", path, e))?);
    let (mut line, mut number) = (Vec::new(), 0);
    while line.trim_ascii().is_empty() {
        line.clear();
        number += 1;
        if reader
            .read_until(b'\n', &mut line)
            .map_err(|e| files::Error::new("read", path, e))?
            == 0
        {
            break;
        }
    }
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line);
    // A line that is no object is the reader's to complain about.
    let Ok(row) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line) else {
        return Ok(false);
    };
    if !row.contains_key("dialog") && !row.contains_key("prompt") {
        let fields: Vec<&str> = row.keys().map(String::as_str).collect();
        let problem = format!(
            "expected a conversation, with `dialog` or `prompt`; found the fields {fields:?}"
        );
        return Err(Error::bad(
            Place::new(&path.display().to_string(), At::Line(number)),
            problem,
        ));
    }
    Ok(row.contains_key("dialog"))
}
