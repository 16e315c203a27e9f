//! Parquet files.

mod pages;
mod thrift;

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::file::reader::ChunkReader;

use crate::cells::{Batches, caught, check_columns};
use crate::fields::is_read;
use crate::input::{Data, Input};
use crate::row::Rows;

/// Rows that are decoded at a time. There are few, as a dictionary lets each of them be long.
const BATCH: usize = 256;

/// The rows of one parquet file. Columns that no record needs are not decoded.
pub(crate) fn rows(input: Input) -> Rows {
    let Input { name, length, data } = input;
    let mut reader = match data {
        Data::File(file) => open(file),
        Data::Bytes(bytes) => open(Bytes::from(bytes)),
    };
    Box::new(Batches::new(&name, length, move || match &mut reader {
        Ok(reader) => caught(|| reader.next().transpose()).map_err(no_parquet),
        Err(problem) => Err(std::mem::take(problem)),
    }))
}

fn no_parquet(problem: String) -> String {
    format!("this is no whole parquet file: {problem}")
}

fn open<R: ChunkReader + 'static>(file: R) -> Result<ParquetRecordBatchReader, String> {
    let options = ArrowReaderOptions::new();
    let metadata = caught(|| ArrowReaderMetadata::load(&file, options)).map_err(no_parquet)?;
    check_columns(metadata.schema())?;
    let fields = metadata.parquet_schema().root_schema().get_fields();
    let wanted = |root: &usize| is_read(fields[*root].name());
    let wanted: Vec<usize> = (0..fields.len()).filter(wanted).collect();
    let mask = ProjectionMask::roots(metadata.parquet_schema(), wanted);
    caught(|| pages::check(&file, metadata.metadata(), &mask))?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    caught(|| builder.with_projection(mask).with_batch_size(BATCH).build()).map_err(no_parquet)
}
