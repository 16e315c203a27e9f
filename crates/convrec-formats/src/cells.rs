//! Cells of Arrow arrays as JSON values, so that rows of all formats are checked in one place.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, Date32Type, Date64Type, Float16Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Schema, TimeUnit};
use serde_json::{Map, Number, Value};

use crate::error::{At, Error, Place};
use crate::fields::{self, is_date, is_read, unreadable};
use crate::limits::Budget;
use crate::row::{RawRow, Row};

/// The result of `decode`, with a panic as an error. Arrow's decoders check most of a file, and
/// panic at the rest. A panic is an error of the file as well. (Rust's panic hook still prints it.)
pub(crate) fn caught<T, E: std::fmt::Display>(
    decode: impl FnOnce() -> Result<T, E>,
) -> Result<T, String> {
    // No decoded value is used after an error.
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

/// The error about the columns of a file that holds neither items nor conversations.
pub(crate) fn check_columns(schema: &Schema) -> Result<(), String> {
    fields::check_columns(schema.fields().iter().map(|field| field.name().as_str()))
}

/// The rows of a file that comes in batches. One batch is in memory at a time.
pub(crate) struct Batches<F> {
    /// The next batch. It is asked until it has none or fails.
    next: F,
    name: String,
    budget: Budget,
    batch: Option<RecordBatch>,
    /// The next row of the batch.
    row: usize,
    /// Rows of the batches before.
    before: usize,
    done: bool,
}

impl<F: FnMut() -> Result<Option<RecordBatch>, String>> Batches<F> {
    /// `length` is that of the file, in bytes. An error of `next` describes the fault of the file.
    pub(crate) fn new(name: &str, length: u64, next: F) -> Self {
        Self {
            next,
            name: name.into(),
            budget: Budget::new(length),
            batch: None,
            row: 0,
            before: 0,
            done: false,
        }
    }

    fn damaged(&mut self, problem: String) -> Option<Row> {
        self.done = true;
        let place = Place::new(&self.name, At::Row(self.before + self.row));
        Some(Err(Error::damaged(place, problem).into()))
    }
}

impl<F: FnMut() -> Result<Option<RecordBatch>, String>> Iterator for Batches<F> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        while !self.done {
            if let Some(batch) = &self.batch {
                if self.row < batch.num_rows() {
                    let place = Place::new(&self.name, At::Row(self.before + self.row));
                    let read = row(batch, self.row, &mut self.budget);
                    self.row += 1;
                    return match read {
                        Ok(value) => Some(Ok(RawRow { place, value })),
                        Err(problem) => self.damaged(problem),
                    };
                }
                self.before += batch.num_rows();
                self.row = 0;
            }
            self.batch = None;
            match (self.next)() {
                Ok(Some(batch)) => self.batch = Some(batch),
                Ok(None) => self.done = true,
                Err(problem) => return self.damaged(problem),
            }
        }
        None
    }
}

/// The cells of a row that a record may need, or an error when nothing is left of the budget.
fn row(batch: &RecordBatch, row: usize, budget: &mut Budget) -> Result<Value, String> {
    let mut fields = Map::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if is_read(field.name()) {
            let day = day(column, row).filter(|_| is_date(field.name()));
            let cell = day.map_or_else(|| value(column, row, budget), Ok)?;
            fields.insert(field.name().clone(), cell);
        }
    }
    Ok(Value::Object(fields))
}

/// The day of a cell with a date or a time, as `1995-12-15`. Elsewhere such cells are not read.
fn day(array: &dyn Array, row: usize) -> Option<Value> {
    if array.is_null(row) {
        return None;
    }
    macro_rules! of {
        ($kind:ty) => {
            array.as_primitive::<$kind>().value_as_date(row)
        };
    }
    let day = match array.data_type() {
        DataType::Date32 => of!(Date32Type),
        DataType::Date64 => of!(Date64Type),
        DataType::Timestamp(TimeUnit::Second, _) => of!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => of!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => of!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => of!(TimestampNanosecondType),
        _ => None,
    };
    day.map(|day| day.to_string().into())
}

fn value(array: &dyn Array, row: usize, budget: &mut Budget) -> Result<Value, String> {
    budget.take(8)?;
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    macro_rules! integer {
        ($kind:ty) => {
            array.as_primitive::<$kind>().value(row).into()
        };
    }
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Utf8 => text(array.as_string::<i32>().value(row), budget)?,
        DataType::LargeUtf8 => text(array.as_string::<i64>().value(row), budget)?,
        DataType::Utf8View => text(array.as_string_view().value(row), budget)?,
        DataType::Binary => bytes(array.as_binary::<i32>().value(row), budget)?,
        DataType::LargeBinary => bytes(array.as_binary::<i64>().value(row), budget)?,
        DataType::BinaryView => bytes(array.as_binary_view().value(row), budget)?,
        DataType::Int8 => integer!(Int8Type),
        DataType::Int16 => integer!(Int16Type),
        DataType::Int32 => integer!(Int32Type),
        DataType::Int64 => integer!(Int64Type),
        DataType::UInt8 => integer!(UInt8Type),
        DataType::UInt16 => integer!(UInt16Type),
        DataType::UInt32 => integer!(UInt32Type),
        DataType::UInt64 => integer!(UInt64Type),
        DataType::Float16 => float(array.as_primitive::<Float16Type>().value(row).to_f64()),
        DataType::Float32 => float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::List(_) => list(&array.as_list::<i32>().value(row), budget)?,
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row), budget)?,
        DataType::ListView(_) => list(&array.as_list_view::<i32>().value(row), budget)?,
        DataType::LargeListView(_) => list(&array.as_list_view::<i64>().value(row), budget)?,
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row), budget)?,
        DataType::Dictionary(key, _) => {
            let key = match **key {
                DataType::Int8 => dictionary_key::<Int8Type>(array, row),
                DataType::Int16 => dictionary_key::<Int16Type>(array, row),
                DataType::Int32 => dictionary_key::<Int32Type>(array, row),
                DataType::Int64 => dictionary_key::<Int64Type>(array, row),
                DataType::UInt8 => dictionary_key::<UInt8Type>(array, row),
                DataType::UInt16 => dictionary_key::<UInt16Type>(array, row),
                DataType::UInt32 => dictionary_key::<UInt32Type>(array, row),
                _ => dictionary_key::<UInt64Type>(array, row),
            };
            let values = array.as_any_dictionary().values();
            match key.filter(|key| *key < values.len()) {
                Some(key) => value(values, key, budget)?,
                None => Value::Null,
            }
        }
        DataType::Struct(fields) => {
            let mut cells = Map::new();
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                cells.insert(field.name().clone(), value(column, row, budget)?);
            }
            Value::Object(cells)
        }
        other => unreadable(format!("a column of type {other}")),
    })
}

fn dictionary_key<K: ArrowDictionaryKeyType>(array: &dyn Array, row: usize) -> Option<usize> {
    array.as_dictionary::<K>().key(row)
}

fn list(items: &dyn Array, budget: &mut Budget) -> Result<Value, String> {
    let items = (0..items.len()).map(|item| value(items, item, budget));
    items.collect()
}

fn text(text: &str, budget: &mut Budget) -> Result<Value, String> {
    budget.take(text.len() as u64)?;
    Ok(text.into())
}

/// Older writers of parquet do not say that their bytes are text.
fn bytes(bytes: &[u8], budget: &mut Budget) -> Result<Value, String> {
    match std::str::from_utf8(bytes) {
        Ok(valid) => text(valid, budget),
        Err(_) => Ok(unreadable("bytes that are not UTF-8".into())),
    }
}

fn float(number: f64) -> Value {
    match Number::from_f64(number) {
        Some(number) => number.into(),
        None if number.is_nan() => Value::Null,
        None => number.to_string().into(),
    }
}
