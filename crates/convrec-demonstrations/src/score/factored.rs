use std::ops::Range;

use convrec_core::ItemId;
use ndarray::{Array2, ArrayView2, Axis, s};

use super::{ScoreRows, block_rows};

/// Scores that are never held as a whole. They are products of one query per conversation with the
/// catalog, and a few additions.
///
/// Remap is linear in the catalog's embeddings: s_remap = E q + exact matches, with q = sum of p_u
/// e_u + lambda e_conv ([`remap`](crate::remap)); Reflect adds gamma r to some of them. D numbers
/// and a short list per conversation are therefore enough. Blocks of rows are made by a matrix
/// product whenever they are read.
///
/// ```
/// use convrec_core::ItemId;
/// use convrec_demonstrations::{FactoredScores, ScoreRows};
/// use ndarray::array;
///
/// let catalog = array![[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]; // [C, D]
/// let queries = array![[2.0, 0.0], [0.0, 1.0]]; // [conversations, D]
/// let additions = [vec![(ItemId(1), 0.5)], vec![]];
/// let scores = FactoredScores::new(catalog.view(), queries.view(), &additions);
/// let mut rows = [0.0; 6];
/// scores.read(0..2, &mut rows);
/// assert_eq!(rows, [2.0, 0.5, 1.2, 0.0, 1.0, 0.8]);
/// ```
#[derive(Debug, Clone)]
pub struct FactoredScores<'a> {
    catalog: ArrayView2<'a, f32>,
    queries: ArrayView2<'a, f32>,
    additions: &'a [Vec<(ItemId, f32)>],
    /// The conversations that are rows, in this order; all where there is none.
    selected: Option<Vec<usize>>,
}

impl<'a> FactoredScores<'a> {
    /// A row for each query.
    ///
    /// # Shapes
    /// `catalog` `[C, D]`, `queries` `[conversations, D]`; a list of additions for each query,
    /// added in its order.
    ///
    /// # Panics
    /// When the shapes do not agree or an addition is not in the catalog.
    pub fn new(
        catalog: ArrayView2<'a, f32>,
        queries: ArrayView2<'a, f32>,
        additions: &'a [Vec<(ItemId, f32)>],
    ) -> Self {
        assert_eq!(
            catalog.ncols(),
            queries.ncols(),
            "queries have another width than the catalog's embeddings"
        );
        assert_eq!(
            queries.nrows(),
            additions.len(),
            "a list of additions for each query"
        );
        let in_catalog = |(item, _): &(ItemId, f32)| item.index() < catalog.nrows();
        assert!(
            additions.iter().flatten().all(in_catalog),
            "an addition to an item outside the catalog"
        );
        Self {
            catalog,
            queries,
            additions,
            selected: None,
        }
    }

    /// The same scores for some conversations only, in the order of `conversations`.
    ///
    /// # Panics
    /// When there is no such conversation.
    pub fn select(&self, conversations: Vec<usize>) -> Self {
        assert!(
            self.selected.is_none() && conversations.iter().all(|&row| row < self.queries.nrows())
        );
        Self {
            selected: Some(conversations),
            ..self.clone()
        }
    }
}

impl ScoreRows for FactoredScores<'_> {
    type Score = f32;

    fn n_rows(&self) -> usize {
        self.selected
            .as_ref()
            .map_or(self.queries.nrows(), Vec::len)
    }

    fn n_items(&self) -> usize {
        self.catalog.nrows()
    }

    fn read(&self, rows: Range<usize>, out: &mut [f32]) {
        let n_items = self.n_items();
        assert_eq!(
            out.len(),
            rows.len() * n_items,
            "room for {} rows of scores",
            rows.len()
        );
        let conversations: Vec<usize> = match &self.selected {
            Some(selected) => selected[rows].to_vec(),
            None => rows.collect(),
        };
        let at_once = block_rows(n_items);
        let mut padded = Vec::new();
        for (part, out) in conversations
            .chunks(at_once)
            .zip(out.chunks_mut(at_once * n_items.max(1)))
        {
            // A row's bits depend on the number of rows that gemm multiplies. The number is always
            // the same, so that they depend on nothing but the row.
            let mut queries = Array2::zeros((at_once, self.queries.ncols())); // [at_once, D]
            queries
                .slice_mut(s![..part.len(), ..])
                .assign(&self.queries.select(Axis(0), part));
            if part.len() == at_once {
                product(self.catalog, queries.view(), out);
            } else {
                padded.resize(at_once * n_items, 0.0);
                product(self.catalog, queries.view(), &mut padded);
                out.copy_from_slice(&padded[..out.len()]);
            }
        }
        for (row, conversation) in out.chunks_exact_mut(n_items.max(1)).zip(conversations) {
            self.additions[conversation]
                .iter()
                .for_each(|(item, more)| row[item.index()] += more);
        }
    }
}

/// `queries catalog'` into `out` `[queries, C]`, row by row, on this thread.
fn product(catalog: ArrayView2<'_, f32>, queries: ArrayView2<'_, f32>, out: &mut [f32]) {
    let ((n_items, width), n_queries) = (catalog.dim(), queries.nrows());
    assert!(queries.ncols() == width && out.len() == n_items * n_queries);
    // gemm is fastest when a column of its output is contiguous, so the rows of `out` are the
    // columns of catalog queries'. SAFETY: `out` is a unique borrow of [n_queries, C] numbers, and
    // the views hold all elements of their shapes.
    unsafe {
        gemm::gemm(
            n_items,
            n_queries,
            width,
            out.as_mut_ptr(),
            n_items as isize,
            1,
            false,
            catalog.as_ptr(),
            catalog.strides()[1],
            catalog.strides()[0],
            queries.as_ptr(),
            queries.strides()[0],
            queries.strides()[1],
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::RngExt;

    use super::*;
    use crate::stable;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        /// A row has the same bits whichever other rows are read with it.
        #[test]
        fn a_row_is_the_same_in_any_company(c in 1_usize..90, d in 1_usize..40, n in 2_usize..300, at in 0_usize..300) {
            let mut rng = stable::rng((c * 1000 + d) as u64, "factored");
            let catalog = Array2::from_shape_simple_fn((c, d), || rng.random_range(-1.0_f32..1.0));
            let queries = Array2::from_shape_simple_fn((n, d), || rng.random_range(-1.0_f32..1.0));
            let additions = vec![vec![]; n];
            let scores = FactoredScores::new(catalog.view(), queries.view(), &additions);
            let (mut all, mut alone) = (vec![0.0; n * c], vec![0.0; c]);
            scores.read(0..n, &mut all);
            let at = at % n;
            scores.read(at..at + 1, &mut alone);
            prop_assert_eq!(&all[at * c..][..c], &alone[..]);
            let slow = catalog.dot(&queries.row(at));
            prop_assert!(alone.iter().zip(&slow).all(|(a, b)| (a - b).abs() < 1e-5 * d as f32));
        }
    }
}
