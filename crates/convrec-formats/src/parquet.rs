//! Parquet files. Needs the feature `parquet`.

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::ChunkReader;

use crate::authors::AuthorsRow;
use crate::cells::{self, caught};
use crate::conversations::Row;
use crate::error::{At, Error, Place};

/// Rows that are decoded at a time.
const BATCH: usize = 1024;

/// The rows of one parquet file, each with its place; `name` names the file in errors. Other
/// columns are not read.
///
/// # Errors
/// At the first bad row, and where the file is damaged or compressed in a way other than snappy and
/// zstd; nothing follows an error.
pub fn rows<R: ChunkReader + 'static>(
    reader: R,
    name: &str,
) -> impl Iterator<Item = Result<(Place, AuthorsRow), Error>> + use<R> {
    let mut file = File {
        name: name.into(),
        reader: None,
        rows: 0,
    };
    let failure = match caught(|| open(reader)) {
        Ok(reader) => {
            file.reader = Some(reader);
            None
        }
        Err(e) => Some(Err(file.damaged(e))),
    };
    cells::until_error(
        failure
            .into_iter()
            .chain(std::iter::from_fn(move || file.next_batch()).flatten()),
    )
}

struct File {
    name: String,
    /// `None` where there is none.
    reader: Option<ParquetRecordBatchReader>,
    rows: usize,
}

impl File {
    /// The rows of the next batch, or why there are none; `None` at the end.
    fn next_batch(&mut self) -> Option<Box<dyn Iterator<Item = Row>>> {
        let reader = self.reader.as_mut()?;
        match caught(|| reader.next().transpose()).transpose()? {
            Ok(batch) => {
                let first = self.rows;
                self.rows += batch.num_rows();
                Some(Box::new(cells::rows(batch, first, &self.name)))
            }
            Err(e) => Some(Box::new(std::iter::once(Err(self.damaged(e))))),
        }
    }

    fn damaged(&self, problem: String) -> Error {
        Error::bad(
            Place::new(&self.name, At::Row(self.rows)),
            format!("this is no whole parquet file: {problem}"),
        )
    }
}

fn open<R: ChunkReader + 'static>(file: R) -> Result<ParquetRecordBatchReader, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let roots = builder
        .parquet_schema()
        .root_schema()
        .get_fields()
        .iter()
        .enumerate();
    let wanted: Vec<usize> = roots
        .filter(|(_, field)| cells::COLUMNS.contains(&field.name()))
        .map(|(root, _)| root)
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    builder.with_projection(mask).with_batch_size(BATCH).build()
}
