//! Checks the sizes that the pages of a parquet file claim, before anything is reserved.

use std::io::Read;

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::ChunkReader;

use super::thrift;
use crate::limits::{MAX_CHUNK_VALUES, MAX_PAGE, MAX_PAGE_VALUES};

/// The most that deflate can unfold a byte to.
const DEFLATE: u64 = 1032;

/// Looks at the pages of the columns in `mask`.
///
/// # Errors
/// The message about the first page that is too large.
pub(super) fn check<R: ChunkReader>(
    file: &R,
    metadata: &ParquetMetaData,
    mask: &ProjectionMask,
) -> Result<(), String> {
    for group in metadata.row_groups() {
        for (leaf, column) in group.columns().iter().enumerate() {
            if mask.leaf_included(leaf) {
                check_column(file, column).map_err(|problem| {
                    let column = convrec_core::shown(&column.column_path().string());
                    format!("the column `{column}`: {problem}; save the file anew")
                })?;
            }
        }
    }
    Ok(())
}

fn check_column<R: ChunkReader>(file: &R, column: &ColumnChunkMetaData) -> Result<(), String> {
    let (mut at, length) = column.byte_range();
    let end = at.saturating_add(length);
    let mut values = 0;
    while at < end {
        let reader = file.get_read(at).map_err(|e| e.to_string())?;
        let (header, header_length) = thrift::read(reader)?;
        let [unfolded, length] = [2, 3].map(|number| header.integer(number).unwrap_or(-1));
        let length = u64::try_from(length).map_err(|_| "a page has no length")?;
        check_size(u64::try_from(unfolded).map_err(|_| "a page has no length")?)?;
        // The kinds of pages: data, dictionary, and data in the second version.
        let kinds = [5, 7, 8].map(|kind| header.inner(kind));
        let in_page = kinds
            .iter()
            .flatten()
            .find_map(|kind| kind.integer(1))
            .unwrap_or(0);
        values += in_page;
        if in_page > MAX_PAGE_VALUES || values > MAX_CHUNK_VALUES {
            return Err(format!(
                "a page claims {in_page} values; expected at most {MAX_PAGE_VALUES} in a page and \
                 {MAX_CHUNK_VALUES} in a row group"
            ));
        }
        at += header_length;
        if at.saturating_add(length) > end {
            return Err("a page ends behind its column".into());
        }
        // Levels in front of the data of the second version are not compressed.
        let levels = kinds[2].map_or(0, |kind| {
            [5, 6]
                .map(|number| kind.integer(number).unwrap_or(0).max(0) as u64)
                .iter()
                .sum()
        });
        let is_compressed = kinds[2].is_none_or(|kind| kind.bool(7).unwrap_or(true));
        if is_compressed && levels < length {
            check_unfolded(file, column.compression(), at + levels, length - levels)?;
        }
        at += length;
    }
    Ok(())
}

fn check_size(size: u64) -> Result<(), String> {
    if size > MAX_PAGE {
        return Err(format!(
            "a page unfolds to {size} bytes or more; expected at most {} MB",
            MAX_PAGE >> 20
        ));
    }
    Ok(())
}

/// The decoders of these codecs do not hold to the size that the page claims.
fn check_unfolded<R: ChunkReader>(
    file: &R,
    codec: Compression,
    start: u64,
    length: u64,
) -> Result<(), String> {
    match codec {
        Compression::GZIP(_) if length.saturating_mul(DEFLATE) > MAX_PAGE => {
            let bytes = body(file, start, length)?;
            check_size(unfolded(flate2::read::MultiGzDecoder::new(&bytes[..])))
        }
        Compression::BROTLI(_) => {
            let bytes = body(file, start, length)?;
            check_size(unfolded(brotli::Decompressor::new(&bytes[..], 4096)))
        }
        // A byte unfolds to 255 at most.
        Compression::LZ4 => check_size(length.saturating_mul(255)),
        _ => Ok(()),
    }
}

fn body<R: ChunkReader>(file: &R, start: u64, length: u64) -> Result<Bytes, String> {
    check_size(length)?;
    file.get_bytes(start, length as usize)
        .map_err(|e| e.to_string())
}

/// The number of bytes, up to the first byte that is too much. Damage is reported by the decoder.
fn unfolded(reader: impl Read) -> u64 {
    let mut read = 0;
    let mut buffer = vec![0; 1 << 16];
    let mut reader = reader.take(MAX_PAGE + 1);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) | Err(_) => return read,
            Ok(more) => read += more as u64,
        }
    }
}
