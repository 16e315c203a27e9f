//! `[B, heads, T, d]` in any memory order, as long as the d elements of a row are adjacent. What the kernels write is
//! in the order `[B, T, heads, d]`, which is the order that the projections around attention read and write.

use super::matrix::{Interleaved, Matrix, MatrixMut};

/// Element (b, h, t, i) is `data[b * strides[0] + h * strides[1] + t * strides[2] + i]`.
#[derive(Clone, Copy)]
pub(crate) struct Heads<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    pub(crate) length: usize,
    pub(crate) width: usize,
    pub(crate) strides: [usize; 3],
}

impl<'a> Heads<'a> {
    /// One head, `[T, d]`.
    pub(crate) fn head(&self, b: usize, h: usize) -> Matrix<'a> {
        Matrix::strided(&self.data[self.start(b, h)..], self.length, self.width, self.strides[2])
    }

    /// The beginning of one head, `[length, d]`.
    pub(crate) fn first_rows(&self, b: usize, h: usize, length: usize) -> Matrix<'a> {
        self.head(b, h).slice_rows(0..length)
    }

    /// One row, `[d]`.
    pub(crate) fn row(&self, b: usize, h: usize, t: usize) -> &'a [f32] {
        &self.data[self.start(b, h) + t * self.strides[2]..][..self.width]
    }

    fn start(&self, b: usize, h: usize) -> usize {
        assert!(b < self.batch && h < self.heads);
        b * self.strides[0] + h * self.strides[1]
    }
}

/// A buffer in the memory order `[B, T, heads, d]`, of which parallel tasks write different heads.
pub(crate) struct HeadsMut<'a> {
    data: Interleaved<'a>,
    heads: usize,
    length: usize,
    width: usize,
}

impl<'a> HeadsMut<'a> {
    pub(crate) fn new(data: &'a mut [f32], heads: usize, length: usize, width: usize) -> Self {
        Self { data: Interleaved::new(data), heads, length, width }
    }

    /// One head, `[T, d]`.
    ///
    /// # Safety
    /// No other view of this head lives at the same time.
    pub(crate) unsafe fn head(&self, b: usize, h: usize) -> MatrixMut<'a> {
        assert!(h < self.heads);
        let stride = self.heads * self.width;
        let start = b * self.length * stride + h * self.width;
        // SAFETY: different heads share no element; the caller vouches for this one.
        unsafe { self.data.matrix(start, self.length, self.width, stride) }
    }
}
