//! Queries, keys or values of M tokens, `[M, heads, d]`: the memory order that projections write
//! and read.

use std::ops::Range;

use super::matrix::{Interleaved, Matrix, MatrixMut};

#[derive(Clone, Copy)]
pub(crate) struct Heads<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) heads: usize,
    /// d
    pub(crate) width: usize,
}

impl<'a> Heads<'a> {
    /// Elements of a token.
    fn stride(&self) -> usize {
        self.heads * self.width
    }

    /// One head of some tokens, `[tokens, d]`.
    pub(crate) fn head(&self, h: usize, tokens: Range<usize>) -> Matrix<'a> {
        assert!(h < self.heads && tokens.start <= tokens.end);
        let start = (tokens.start * self.stride() + h * self.width).min(self.data.len());
        Matrix::strided(&self.data[start..], tokens.len(), self.width, self.stride())
    }

    /// One head of one token, `[d]`.
    pub(crate) fn row(&self, t: usize, h: usize) -> &'a [f32] {
        assert!(h < self.heads);
        &self.data[t * self.stride() + h * self.width..][..self.width]
    }
}

/// A buffer in the order of [`Heads`], of which parallel tasks write different parts.
pub(crate) struct HeadsMut<'a> {
    data: Interleaved<'a>,
    heads: usize,
    width: usize,
}

impl<'a> HeadsMut<'a> {
    pub(crate) fn new(data: &'a mut [f32], heads: usize, width: usize) -> Self {
        Self {
            data: Interleaved::new(data),
            heads,
            width,
        }
    }

    /// One head of some tokens, `[tokens, d]`, at least one.
    ///
    /// # Safety
    /// No other view of this head of these tokens lives at the same time.
    pub(crate) unsafe fn head(&self, h: usize, tokens: Range<usize>) -> MatrixMut<'a> {
        assert!(h < self.heads);
        let stride = self.heads * self.width;
        // SAFETY: different heads and different tokens share no element; the caller vouches for
        // these.
        unsafe {
            self.data.matrix(
                tokens.start * stride + h * self.width,
                tokens.len(),
                self.width,
                stride,
            )
        }
    }
}
