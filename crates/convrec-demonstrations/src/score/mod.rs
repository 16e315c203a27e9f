mod factored;

use std::ops::Range;

use ndarray::{ArrayBase, Data, Ix2, s};
use rayon::prelude::*;

pub use factored::FactoredScores;

/// Scores over the catalog for many conversations, a row each, which are read in blocks of rows.
/// They are held in memory, or made on demand ([`FactoredScores`]).
///
/// The same block gives the same bits whenever it is read.
pub trait ScoreRows: Sync {
    /// The type of a score: f32 or f64.
    type Score: Copy + Default + Into<f64> + Send + Sync;
    /// The number of conversations.
    fn n_rows(&self) -> usize;
    /// The number C of catalog items.
    fn n_items(&self) -> usize;
    /// Writes some rows into `out`. Shape `[rows, C]`, row by row.
    ///
    /// # Panics
    /// When there are no such rows or `out` has another length.
    fn read(&self, rows: Range<usize>, out: &mut [Self::Score]);
}

/// A matrix `[conversations, C]` of f32 or f64.
impl<A: Copy + Default + Into<f64> + Send + Sync, S: Data<Elem = A> + Sync> ScoreRows
    for ArrayBase<S, Ix2>
{
    type Score = A;

    fn n_rows(&self) -> usize {
        self.nrows()
    }

    fn n_items(&self) -> usize {
        self.ncols()
    }

    fn read(&self, rows: Range<usize>, out: &mut [A]) {
        assert_eq!(
            out.len(),
            rows.len() * self.ncols(),
            "room for {} rows of scores",
            rows.len()
        );
        out.iter_mut()
            .zip(self.slice(s![rows, ..]))
            .for_each(|(to, &from)| *to = from);
    }
}

/// Rows that are read at a time. They are enough to make a product with the catalog worth its
/// packing, and few enough to stay small. The number depends on the size of the catalog alone, so
/// that results depend on nothing else.
pub(crate) fn block_rows(n_items: usize) -> usize {
    const SCORES: usize = 1 << 20;
    (SCORES / n_items.max(1)).clamp(32, 256)
}

/// The results of `look` for each row, in order, computed on all threads.
pub(crate) fn map_rows<R: ScoreRows, T: Send>(
    rows: &R,
    look: impl Fn(usize, &[R::Score]) -> T + Sync,
) -> Vec<T> {
    let (n_rows, n_items) = (rows.n_rows(), rows.n_items());
    let at_once = block_rows(n_items);
    let block = |scores: &mut Vec<R::Score>, first: usize| -> Vec<T> {
        let rows_here = first..(first + at_once).min(n_rows);
        scores.resize(rows_here.len() * n_items, R::Score::default());
        rows.read(rows_here.clone(), scores);
        rows_here
            .zip(scores.chunks_exact(n_items))
            .map(|(row, scores)| look(row, scores))
            .collect()
    };
    let firsts: Vec<usize> = (0..n_rows).step_by(at_once).collect();
    firsts
        .into_par_iter()
        .map_init(Vec::new, block)
        .flatten_iter()
        .collect()
}
