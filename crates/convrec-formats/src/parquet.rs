//! Parquet files. Needs the feature `parquet`.

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::ChunkReader;

use crate::authors::AuthorsRow;
use crate::cells::{self, caught};
use crate::error::{At, Error, Place};

/// Rows that are decoded at a time.
const BATCH: usize = 1024;

/// The rows of one parquet file, each with its place; `name` names the file in errors. Other columns are not read.
///
/// # Errors
/// At the first bad row, and where the file is damaged or compressed in a way other than snappy and zstd; nothing
/// follows an error.
pub fn rows<R: ChunkReader + 'static>(
    file: R,
    name: &str,
) -> impl Iterator<Item = Result<(Place, AuthorsRow), Error>> + use<R> {
    let name = name.to_string();
    let damaged = {
        let name = name.clone();
        move |rows, e: String| {
            Error::bad(Place::new(&name, At::Row(rows)), format!("this is no whole parquet file: {e}"))
        }
    };
    let (mut reader, failure) = match caught(|| open(file)) {
        Ok(reader) => (Some(reader), None),
        Err(e) => (None, Some(damaged(0, e))),
    };
    let mut rows = 0;
    let batches = std::iter::from_fn(move || {
        let batch = reader.as_mut().and_then(|reader| caught(|| reader.next().transpose()).transpose())?;
        Some(match batch {
            Ok(batch) => {
                let read = cells::rows(&batch, rows, &name);
                rows += read.len();
                read
            }
            Err(e) => {
                reader = None;
                vec![Err(damaged(rows, e))]
            }
        })
    });
    failure.map(Err).into_iter().chain(batches.flatten())
}

fn open<R: ChunkReader + 'static>(file: R) -> Result<ParquetRecordBatchReader, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let roots = builder.parquet_schema().root_schema().get_fields().iter().enumerate();
    let wanted: Vec<usize> =
        roots.filter(|(_, field)| cells::COLUMNS.contains(&field.name())).map(|(root, _)| root).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    builder.with_projection(mask).with_batch_size(BATCH).build()
}
