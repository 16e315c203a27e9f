use std::sync::Arc;

use convrec_core::{ItemId, files};
use memmap2::Mmap;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

use crate::top_k::{keep_best, top_k};

mod file;

/// Queries scored together in one matrix product.
const QUERIES: usize = 64;

/// Items scored together. With [`QUERIES`] it bounds the memory of a search to 2 MB of scores a
/// thread, whatever the catalog.
const ITEMS: usize = 8192;

/// The largest distance of a row's length from 1. Rounding in f32 is far below it, and an
/// unnormalised row far above.
const UNIT_TOLERANCE: f32 = 1e-3;

/// The reason why rows are no embeddings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddingsError {
    /// No rows, or rows without numbers.
    #[error(
        "embeddings of shape [{rows}, {width}]; expected at least one row of at least one number"
    )]
    Empty {
        /// The number of rows.
        rows: usize,
        /// The length of each.
        width: usize,
    },
    /// A row that is not of unit length.
    #[error(
        "row {row} (from 0) of the embeddings has length {length}; expected 1: divide each row by \
         its length"
    )]
    NotUnit {
        /// The row, from 0: the [`ItemId`].
        row: usize,
        /// Its Euclidean length; NaN where it holds a NaN.
        length: f32,
    },
    /// The rows to be written do not have the stated shape.
    #[error("{problem}; expected embeddings of shape [{rows}, {width}] as was said")]
    Shape {
        /// The stated number of rows.
        rows: usize,
        /// The length of each.
        width: usize,
        /// The rows that came.
        problem: String,
    },
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file exists, but holds no embeddings.
    #[error("{file}: {problem}; expected a file of `Embeddings::write`")]
    Damaged {
        /// The file.
        file: String,
        /// The fault.
        problem: String,
    },
}

/// One unit vector for each item, and exact search among them by cosine similarity.
///
/// Of equally similar items the lower id is the better one. The rows lie in memory, or in a file
/// that is mapped: catalogs of 10^6 items need no memory of their own, and processes share it.
///
/// ```
/// use convrec_catalog::Embeddings;
/// use convrec_core::ItemId;
/// use ndarray::{arr1, arr2};
///
/// let rows = arr2(&[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]);
/// let items = Embeddings::new(rows.clone())?;
/// assert_eq!(
///     items.top_k(arr1(&[0.0, 1.0]).view(), 2),
///     [(ItemId(2), 1.0), (ItemId(1), 0.8)]
/// );
///
/// // The same from a file, which is written block by block as they are computed.
/// # let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("embeddings.safetensors");
/// Embeddings::write(
///     &path,
///     [3, 2],
///     rows.outer_iter()
///         .map(|row| row.to_owned().insert_axis(ndarray::Axis(0))),
/// )?;
/// assert_eq!(Embeddings::open(&path)?.rows(), rows);
/// # Ok::<(), convrec_catalog::EmbeddingsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Embeddings {
    rows: Rows,
}

/// `[C, D]`.
#[derive(Debug, Clone)]
enum Rows {
    Owned(Array2<f32>),
    Mapped {
        bytes: Arc<Mmap>,
        start: usize,
        shape: [usize; 2],
    },
}

impl Embeddings {
    /// Takes one row for each item.
    ///
    /// # Shapes
    /// - rows: `[C, D]`, unit rows
    ///
    /// # Errors
    /// [`EmbeddingsError`] when C or D is 0, or a row is not of unit length.
    pub fn new(rows: Array2<f32>) -> Result<Self, EmbeddingsError> {
        check_shape(rows.nrows(), rows.ncols())?;
        let rows = rows.as_standard_layout().into_owned();
        check_unit(rows.view(), 0)?;
        Ok(Self {
            rows: Rows::Owned(rows),
        })
    }

    /// All rows, `[C, D]`.
    pub fn rows(&self) -> ArrayView2<'_, f32> {
        match &self.rows {
            Rows::Owned(rows) => rows.view(),
            Rows::Mapped {
                bytes,
                start,
                shape,
            } => file::rows(bytes, *start, *shape),
        }
    }

    /// The `k` items most similar to `query` with their cosines, best first; all items, where there
    /// are fewer.
    ///
    /// # Shapes
    /// - query: `[D]`; a unit vector, for the scores to be cosines
    ///
    /// # Panics
    /// When the query is not as long as the rows.
    pub fn top_k(&self, query: ArrayView1<'_, f32>, k: usize) -> Vec<(ItemId, f32)> {
        let search = |first: usize, items: ArrayView2<'_, f32>| {
            let scores: Vec<f32> = items.outer_iter().map(|row| row.dot(&query)).collect();
            vec![best_of(first, &scores, k)]
        };
        self.search(1, k, search).pop().expect("there is one query")
    }

    /// [`Embeddings::top_k`] of many queries, several times as fast as one by one. Scores may
    /// differ from those in the last bits, as sums are taken in another order.
    ///
    /// # Shapes
    /// - queries: `[Q, D]`
    ///
    /// # Panics
    /// When the queries are not as long as the rows.
    pub fn top_k_batch(&self, queries: ArrayView2<'_, f32>, k: usize) -> Vec<Vec<(ItemId, f32)>> {
        let of_batch = |batch: ArrayView2<'_, f32>| {
            let search = |first: usize, items: ArrayView2<'_, f32>| -> Vec<_> {
                let scores = batch.dot(&items.t()); // [QUERIES, ITEMS]
                let of_row = |row: ArrayView1<'_, f32>| {
                    best_of(
                        first,
                        row.as_slice().expect("a product is in standard layout"),
                        k,
                    )
                };
                scores.outer_iter().map(of_row).collect()
            };
            self.search(batch.nrows(), k, search)
        };
        let batches: Vec<Vec<_>> = queries
            .axis_chunks_iter(Axis(0), QUERIES)
            .into_par_iter()
            .map(of_batch)
            .collect();
        batches.into_iter().flatten().collect()
    }

    /// The best `k` of all blocks of items, for each of `n_queries`, from the best of each block.
    fn search(
        &self,
        n_queries: usize,
        k: usize,
        best_of_block: impl Fn(usize, ArrayView2<'_, f32>) -> Vec<Vec<(ItemId, f32)>> + Sync,
    ) -> Vec<Vec<(ItemId, f32)>> {
        let rows = self.rows();
        let blocks = rows
            .axis_chunks_iter(Axis(0), ITEMS)
            .into_par_iter()
            .enumerate();
        let merge = |mut one: Vec<Vec<_>>, other: Vec<Vec<_>>| {
            for (one, other) in one.iter_mut().zip(other) {
                one.extend(other);
                keep_best(one, k);
            }
            one
        };
        blocks
            .map(|(n, block)| best_of_block(n * ITEMS, block))
            .reduce(|| vec![Vec::new(); n_queries], merge)
    }
}

/// The best of a block of items, the first of which is `first`.
fn best_of(first: usize, scores: &[f32], k: usize) -> Vec<(ItemId, f32)> {
    let in_catalog = |(id, score): (ItemId, f32)| (ItemId(first as u32 + id.0), score);
    top_k(scores, k).into_iter().map(in_catalog).collect()
}

fn check_shape(rows: usize, width: usize) -> Result<(), EmbeddingsError> {
    if rows == 0 || width == 0 {
        Err(EmbeddingsError::Empty { rows, width })
    } else {
        Ok(())
    }
}

/// Checks the rows of a block, the first of which is `first`.
fn check_unit(rows: ArrayView2<'_, f32>, first: usize) -> Result<(), EmbeddingsError> {
    let length = |row: ArrayView1<'_, f32>| row.dot(&row).sqrt();
    // A length of NaN is within no tolerance.
    let is_unit = |length: f32| (length - 1.0).abs() <= UNIT_TOLERANCE;
    let bad = |(n, row): (usize, ArrayView1<'_, f32>)| {
        let length = length(row);
        (!is_unit(length)).then_some(EmbeddingsError::NotUnit {
            row: first + n,
            length,
        })
    };
    rows.axis_iter(Axis(0))
        .into_par_iter()
        .enumerate()
        .find_map_first(bad)
        .map_or(Ok(()), Err)
}
