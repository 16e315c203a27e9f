//! The segments of a batch: the tokens that belong together.

const NONE: i32 = -1;

/// The segment of each token of a batch, `[B, T]` row by row.
///
/// The tokens of a segment share one importance ratio and one advantage. A segment is a rank of a
/// list, the surplus of an overlong list, or a whole completion. Its tokens need not be adjacent.
/// Segments of different rows are different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    ids: Vec<i32>,
    n_ranks: usize,
    overflow: bool,
}

impl Segments {
    /// Ranks `0..n_ranks`; a token with any other id has no segment. `ids` is `[B, T]`.
    ///
    /// # Panics
    /// Panics if `n_ranks` is 0 or above `i32::MAX`.
    #[must_use]
    pub fn ranks(ids: &[i64], n_ranks: usize) -> Self {
        Self::new(ids, n_ranks, false)
    }

    /// Ranks `0..n_ranks`, and all tokens past them as one more segment of the row. `ids` is
    /// `[B, T]`.
    ///
    /// The tokens of that segment have ids of `n_ranks` and above. They share one ratio (as in the
    /// authors' code, quirk L2) and take a penalty from [`LengthShaping`](crate::LengthShaping).
    ///
    /// # Panics
    /// Panics if `n_ranks` is 0 or above `i32::MAX`.
    #[must_use]
    pub fn ranks_and_overflow(ids: &[i64], n_ranks: usize) -> Self {
        Self::new(ids, n_ranks, true)
    }

    /// One segment for every completion. `n_tokens` is B times T.
    ///
    /// With it, [`spread`](crate::spread) gives all tokens of a completion one advantage.
    #[must_use]
    pub fn sequences(n_tokens: usize) -> Self {
        Segments {
            ids: vec![0; n_tokens],
            n_ranks: 1,
            overflow: false,
        }
    }

    fn new(ids: &[i64], n_ranks: usize, overflow: bool) -> Self {
        let possible = n_ranks > 0 && i32::try_from(n_ranks).is_ok();
        assert!(
            possible,
            "a list has at least one rank, and at most i32::MAX"
        );
        let mut segments = Segments {
            ids: Vec::with_capacity(ids.len()),
            n_ranks,
            overflow,
        };
        segments.refill(ids);
        segments
    }

    /// Takes the ids of another batch, in the same memory where it is large enough.
    pub fn refill(&mut self, ids: &[i64]) {
        let Segments {
            n_ranks, overflow, ..
        } = *self;
        self.ids.clear();
        self.ids
            .extend(ids.iter().map(|&id| match usize::try_from(id) {
                Ok(rank) if rank < n_ranks => rank as i32,
                Ok(_) if overflow => n_ranks as i32,
                _ => NONE,
            }));
    }

    /// The segment of a token, counted through all rows. The overflow has the segment
    /// [`n_ranks`](Self::n_ranks).
    ///
    /// # Panics
    /// Panics if there is no such token.
    #[must_use]
    pub fn get(&self, token: usize) -> Option<usize> {
        usize::try_from(self.ids[token]).ok()
    }

    /// Leaves those of the tokens from `first` on that have a segment.
    #[inline(always)]
    pub(crate) fn keep(&self, first: usize, keep: &mut [bool]) {
        let ids = &self.ids[first..];
        for (keep, id) in keep.iter_mut().zip(ids) {
            *keep &= *id >= 0;
        }
    }

    /// N, the number of ranks of a full list.
    #[must_use]
    pub fn n_ranks(&self) -> usize {
        self.n_ranks
    }

    /// S, the number of ranks plus 1 for the overflow where there is one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.n_ranks + usize::from(self.overflow)
    }

    /// The number of tokens, B times T.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}
