use std::ops::Range;

use convrec_core::ItemId;
use ndarray::{ArrayView2, Axis};

use super::ScoreRows;

/// Scores that are never held as a whole: a product of one query per conversation with the catalog, and a few additions.
///
/// Remap is linear in the catalog's embeddings: s_remap = E q + exact matches, with q = sum of p_u e_u + lambda e_conv
/// ([`remap`](crate::remap)); Reflect adds gamma r to some of them. So D numbers and a short list per
/// conversation say all, and blocks of rows are made by a matrix product whenever they are read.
///
/// ```
/// use convrec_cloning::{FactoredScores, ScoreRows};
/// use convrec_core::ItemId;
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
    /// `catalog` `[C, D]`, `queries` `[conversations, D]`; a list of additions for each query, added in its order.
    ///
    /// # Panics
    /// When the shapes do not agree or an addition is not in the catalog.
    pub fn new(
        catalog: ArrayView2<'a, f32>,
        queries: ArrayView2<'a, f32>,
        additions: &'a [Vec<(ItemId, f32)>],
    ) -> Self {
        assert_eq!(catalog.ncols(), queries.ncols(), "queries have another width than the catalog's embeddings");
        assert_eq!(queries.nrows(), additions.len(), "a list of additions for each query");
        let in_catalog = |(item, _): &(ItemId, f32)| item.index() < catalog.nrows();
        assert!(additions.iter().flatten().all(in_catalog), "an addition to an item outside the catalog");
        Self { catalog, queries, additions, selected: None }
    }

    /// The same for some conversations only, in the order of `conversations`.
    ///
    /// # Panics
    /// When there is no such conversation.
    pub fn select(&self, conversations: Vec<usize>) -> Self {
        assert!(self.selected.is_none() && conversations.iter().all(|&row| row < self.queries.nrows()));
        Self { selected: Some(conversations), ..self.clone() }
    }
}

impl ScoreRows for FactoredScores<'_> {
    type Score = f32;

    fn n_rows(&self) -> usize {
        self.selected.as_ref().map_or(self.queries.nrows(), Vec::len)
    }

    fn n_items(&self) -> usize {
        self.catalog.nrows()
    }

    fn read(&self, rows: Range<usize>, out: &mut [f32]) {
        let n_items = self.n_items();
        assert_eq!(out.len(), rows.len() * n_items, "room for {} rows of scores", rows.len());
        let conversations: Vec<usize> = match &self.selected {
            Some(selected) => selected[rows].to_vec(),
            None => rows.collect(),
        };
        let queries = self.queries.select(Axis(0), &conversations); // [rows, D]
        product(self.catalog, queries.view(), out);
        for (row, conversation) in out.chunks_exact_mut(n_items.max(1)).zip(conversations) {
            self.additions[conversation].iter().for_each(|(item, more)| row[item.index()] += more);
        }
    }
}

/// `queries catalog'` into `out` `[queries, C]`, row by row, on this thread.
fn product(catalog: ArrayView2<'_, f32>, queries: ArrayView2<'_, f32>, out: &mut [f32]) {
    let ((n_items, width), n_queries) = (catalog.dim(), queries.nrows());
    assert!(queries.ncols() == width && out.len() == n_items * n_queries);
    // gemm is at its best when a column of its output is contiguous: the rows of `out` are the columns of catalog queries'.
    // SAFETY: `out` is a unique borrow of [n_queries, C] numbers, and views vouch for all elements of their shapes.
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
