//! Which tokens belong together.

const NONE: i32 = -1;

/// The segment of each token of a batch, `[B, T]` row by row.
///
/// A segment is what shares one importance ratio and one advantage: a rank of a list, an overlong
/// list's surplus, a whole completion. Tokens of one segment need not be adjacent; segments of
/// different rows are different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    ids: Vec<i32>,
    n_ranks: usize,
    overflow: bool,
}

impl Segments {
    /// Ranks `0..n_ranks`; a token with any other id has no segment.
    ///
    /// # Panics
    /// If `n_ranks` is 0.
    pub fn ranks(ids: &[i64], n_ranks: usize) -> Self {
        Self::new(ids, n_ranks, false)
    }

    /// Ranks `0..n_ranks`, and all tokens past them, ids `n_ranks` and above, as one more segment
    /// of the row: they share one ratio (as in the authors' code, quirk L2) and take a penalty
    /// from [`LengthShaping`](crate::LengthShaping).
    ///
    /// # Panics
    /// If `n_ranks` is 0.
    pub fn ranks_and_overflow(ids: &[i64], n_ranks: usize) -> Self {
        Self::new(ids, n_ranks, true)
    }

    /// Every completion is one segment: with it, [`spread`](crate::spread) gives all of a
    /// completion's tokens one advantage. `n_tokens` is B times T.
    pub fn sequences(n_tokens: usize) -> Self {
        Segments {
            ids: vec![0; n_tokens],
            n_ranks: 1,
            overflow: false,
        }
    }

    fn new(ids: &[i64], n_ranks: usize, overflow: bool) -> Self {
        assert!(n_ranks > 0, "a list has at least one rank");
        let id = |&id: &i64| match usize::try_from(id) {
            Ok(rank) if rank < n_ranks => rank as i32,
            Ok(_) if overflow => n_ranks as i32,
            _ => NONE,
        };
        Segments {
            ids: ids.iter().map(id).collect(),
            n_ranks,
            overflow,
        }
    }

    /// The segment of a token, counted through all rows; the overflow's is
    /// [`n_ranks`](Self::n_ranks).
    ///
    /// # Panics
    /// If there is no such token.
    pub fn get(&self, token: usize) -> Option<usize> {
        usize::try_from(self.ids[token]).ok()
    }

    /// N, the ranks of a full list.
    pub fn n_ranks(&self) -> usize {
        self.n_ranks
    }

    /// S, the ranks and the overflow.
    pub fn count(&self) -> usize {
        self.n_ranks + usize::from(self.overflow)
    }

    /// The number of tokens, B times T.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}
