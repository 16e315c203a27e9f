use convrec_core::ItemId;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

use crate::top_k;

/// Queries scored together in one matrix product; bounds its memory to this many rows of scores a thread.
const BATCH: usize = 64;

/// How far the length of a row may be from 1: rounding in f32 is far below, an unnormalised row far above.
const UNIT_TOLERANCE: f32 = 1e-3;

/// Why rows are no embeddings.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EmbeddingsError {
    /// No rows, or rows without numbers.
    #[error("embeddings of shape [{rows}, {width}]; expected at least one row of at least one number")]
    Empty {
        /// The number of rows.
        rows: usize,
        /// The length of each.
        width: usize,
    },
    /// A row that is not of unit length.
    #[error("row {row} (from 0) of the embeddings has length {length}; expected 1: divide each row by its length")]
    NotUnit {
        /// The row, from 0: the [`ItemId`].
        row: usize,
        /// Its Euclidean length; NaN where it holds a NaN.
        length: f32,
    },
}

/// One unit vector for each item, and exact search among them by cosine similarity.
///
/// Of equally similar items the lower id is the better one.
///
/// ```
/// use convrec_catalog::Embeddings;
/// use convrec_core::ItemId;
/// use ndarray::{arr1, arr2};
///
/// let items = Embeddings::new(arr2(&[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]))?;
/// assert_eq!(items.top_k(arr1(&[0.0, 1.0]).view(), 2), [(ItemId(2), 1.0), (ItemId(1), 0.8)]);
/// # Ok::<(), convrec_catalog::EmbeddingsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Embeddings {
    rows: Array2<f32>, // [C, D]
}

impl Embeddings {
    /// Takes one row for each item.
    ///
    /// # Shapes
    /// - rows: `[C, D]`, unit rows
    ///
    /// # Errors
    /// When C or D is 0, or a row is not of unit length.
    pub fn new(rows: Array2<f32>) -> Result<Self, EmbeddingsError> {
        let (n, width) = rows.dim();
        if n == 0 || width == 0 {
            return Err(EmbeddingsError::Empty { rows: n, width });
        }
        let lengths = rows.outer_iter().map(|row| row.dot(&row).sqrt());
        // A length of NaN is within no tolerance.
        let is_unit = |length: f32| (length - 1.0).abs() <= UNIT_TOLERANCE;
        match lengths.enumerate().find(|&(_, length)| !is_unit(length)) {
            Some((row, length)) => Err(EmbeddingsError::NotUnit { row, length }),
            None => Ok(Self { rows }),
        }
    }

    /// All rows, `[C, D]`.
    pub fn rows(&self) -> ArrayView2<'_, f32> {
        self.rows.view()
    }

    /// The `k` items most similar to `query` with their cosines, best first; all items, where there are fewer.
    ///
    /// # Shapes
    /// - query: `[D]`; a unit vector, for the scores to be cosines
    ///
    /// # Panics
    /// When the query is not as long as the rows.
    pub fn top_k(&self, query: ArrayView1<'_, f32>, k: usize) -> Vec<(ItemId, f32)> {
        let mut scores = vec![0.0; self.rows.nrows()];
        self.rows.axis_iter(Axis(0)).into_par_iter().zip(&mut scores).for_each(|(row, score)| *score = row.dot(&query));
        top_k(&scores, k)
    }

    /// [`Embeddings::top_k`] of many queries, about three times as fast as one by one. Scores may differ from those in the
    /// last bits, as sums are taken in another order.
    ///
    /// # Shapes
    /// - queries: `[Q, D]`
    ///
    /// # Panics
    /// When the queries are not as long as the rows.
    pub fn top_k_batch(&self, queries: ArrayView2<'_, f32>, k: usize) -> Vec<Vec<(ItemId, f32)>> {
        let search = |batch: ArrayView2<'_, f32>| -> Vec<_> {
            let scores = batch.dot(&self.rows.t()); // [BATCH, C]
            scores.outer_iter().map(|row| top_k(row.as_slice().expect("a product is in standard layout"), k)).collect()
        };
        let batches: Vec<Vec<_>> = queries.axis_chunks_iter(Axis(0), BATCH).into_par_iter().map(search).collect();
        batches.into_iter().flatten().collect()
    }
}
