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

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::super::matrix::{Write, multiply};
    use super::*;

    /// Token t's head h holds `t * heads + h` everywhere.
    fn numbers(tokens: usize, heads: usize, width: usize) -> Vec<f32> {
        (0..tokens * heads * width)
            .map(|n| (n / width) as f32)
            .collect()
    }

    #[test]
    fn a_head_is_a_part_of_every_token() {
        let (tokens, heads, width) = (7, 3, 5);
        let data = numbers(tokens, heads, width);
        let view = Heads {
            data: &data,
            heads,
            width,
        };
        for h in 0..heads {
            for range in [0..0, 0..7, 2..5, 6..7, 7..7] {
                let head = view.head(h, range.clone());
                assert_eq!(head.rows(), range.len());
                for (row, t) in range.enumerate() {
                    assert_eq!(head.row(row), view.row(t, h));
                    assert_eq!(view.row(t, h), vec![(t * heads + h) as f32; width]);
                }
            }
        }
    }

    /// Heads and ranges of tokens in tasks of their own, as attention writes them.
    #[test]
    fn tasks_write_heads_side_by_side() {
        let (tokens, heads, width) = (50, 6, 4);
        let expected = numbers(tokens, heads, width);
        let mut out = vec![f32::NAN; expected.len()];
        let parts = HeadsMut::new(&mut out, heads, width);
        let source = Heads {
            data: &expected,
            heads,
            width,
        };
        let one: Vec<f32> = (0..width * width)
            .map(|n| f32::from(n % (width + 1) == 0))
            .collect();
        (0..heads * 5).into_par_iter().for_each(|task| {
            let (h, tokens) = (task / 5, task % 5 * 10..task % 5 * 10 + 10);
            // SAFETY: every task has another head or other tokens.
            let head = unsafe { parts.head(h, tokens.clone()) };
            multiply(
                source.head(h, tokens),
                Matrix::dense(&one, width),
                head,
                Write::Replace,
            );
        });
        assert_eq!(out, expected);
    }

    #[test]
    fn heads_beyond_the_data_are_refused() {
        use std::panic::{AssertUnwindSafe, catch_unwind};
        let mut data = numbers(4, 2, 3);
        let parts = HeadsMut::new(&mut data, 2, 3);
        for (h, tokens) in [(2, 0..1), (0, 0..5), (1, 3..5), (0, 1..1)] {
            // SAFETY: there is never more than one view.
            let head = || _ = unsafe { parts.head(h, tokens.clone()) };
            assert!(
                catch_unwind(AssertUnwindSafe(head)).is_err(),
                "{h} {tokens:?}"
            );
        }
    }
}
