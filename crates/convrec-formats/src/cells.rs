//! Rows of Arrow arrays. They go through JSON values, so that one definition of a row
//! ([`AuthorsRow`]) and one kind of error serve all formats.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use convrec_core::jsonl::Check;
use serde_json::{Map, Value};

use crate::authors::AuthorsRow;
use crate::conversations::Row;
use crate::error::{At, Error, Place};

/// The columns that are looked at.
pub(crate) const COLUMNS: [&str; 4] = [
    "prompt",
    "completion",
    "groundtruth_with_release_year",
    "seen_titles",
];

/// What `decode` returns, or its error. Arrow's decoders check most of what a file says, and panic
/// at the rest: a panic is an error of the file as well. (Rust's panic hook still prints it.)
pub(crate) fn caught<T, E: std::fmt::Display>(
    decode: impl FnOnce() -> Result<T, E>,
) -> Result<T, String> {
    // Nothing of what was decoded is used after an error.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or(panic.downcast_ref::<&str>().copied());
            Err(text.unwrap_or("its decoder gave up").into())
        }
    }
}

/// The rows of a batch whose first row is row `first` of the file. One after the other: a damaged
/// batch can claim any number of rows.
pub(crate) fn rows(
    batch: RecordBatch,
    first: usize,
    file: &str,
) -> impl Iterator<Item = Row> + use<> {
    let file = file.to_string();
    (0..batch.num_rows()).map(move |row| read(&batch, row, Place::new(&file, At::Row(first + row))))
}

/// The rows through the first error.
pub(crate) fn until_error(mut rows: impl Iterator<Item = Row>) -> impl Iterator<Item = Row> {
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let row = rows.next()?;
        failed = row.is_err();
        Some(row)
    })
}

fn read(batch: &RecordBatch, row: usize, place: Place) -> Row {
    let mut fields = Map::new();
    for name in COLUMNS {
        let Some(column) = batch.column_by_name(name) else {
            continue;
        };
        let value = value(column, row).map_err(|problem| Error::bad(place.field(name), problem))?;
        fields.insert(name.into(), value);
    }
    let row: AuthorsRow = serde_path_to_error::deserialize(Value::Object(fields)).map_err(|e| {
        let field = e.path().to_string();
        let place = if field == "." {
            place.clone()
        } else {
            place.field(field)
        };
        Error::bad(place, format!("{}; mend the row or remove it", e.inner()))
    })?;
    row.check()
        .map_err(|(field, problem)| Error::bad(place.field(field), problem))?;
    Ok((place, row))
}

/// One cell as JSON; the kinds of columns that a conversation can be made of.
fn value(array: &dyn Array, row: usize) -> Result<Value, String> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    let list = |items: &dyn Array| {
        (0..items.len())
            .map(|item| value(items, item))
            .collect::<Result<_, _>>()
    };
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::List(_) => Value::Array(list(&array.as_list::<i32>().value(row))?),
        DataType::LargeList(_) => Value::Array(list(&array.as_list::<i64>().value(row))?),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let cells =
                columns.map(|(field, column)| Ok((field.name().clone(), value(column, row)?)));
            Value::Object(cells.collect::<Result<_, String>>()?)
        }
        other => {
            return Err(format!(
                "a column of type {other}; expected text, integers, lists and structs"
            ));
        }
    })
}
