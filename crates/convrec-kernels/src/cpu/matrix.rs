//! Views of matrices in slices, and their products: the `gemm` crate on one thread, split over
//! rayon tasks here.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::CHUNK;

/// Element (i, j) is `data[i * row_stride + j * column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows without gaps.
    pub(crate) fn dense(data: &'a [f32], columns: usize) -> Self {
        Self::strided(data, data.len() / columns, columns, columns)
    }

    /// Rows that begin every `stride` elements.
    pub(crate) fn strided(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        let view = Self {
            data,
            rows,
            columns,
            row_stride: stride,
            column_stride: 1,
        };
        assert!(
            view.end() <= data.len(),
            "a {rows} x {columns} view does not fit into {} elements",
            data.len()
        );
        view
    }

    pub(crate) fn transposed(self) -> Self {
        let (rows, columns) = (self.columns, self.rows);
        Self {
            rows,
            columns,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    pub(crate) fn slice_rows(self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.rows,
            "rows {range:?} of {}",
            self.rows
        );
        let start = (range.start * self.row_stride).min(self.data.len());
        Self {
            data: &self.data[start..],
            rows: range.len(),
            ..self
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// A row of a matrix that is not transposed.
    pub(crate) fn row(&self, n: usize) -> &'a [f32] {
        assert_eq!(
            self.column_stride, 1,
            "rows of a transposed matrix are not slices"
        );
        &self.data[n * self.row_stride..][..self.columns]
    }

    /// One past the last element.
    fn end(&self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
    }
}

/// A matrix to write: rows of adjacent elements that begin every `stride` elements.
pub(crate) struct MatrixMut<'a> {
    data: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

impl<'a> MatrixMut<'a> {
    pub(crate) fn dense(data: &'a mut [f32], columns: usize) -> Self {
        Self::strided(data, columns, columns)
    }

    /// Rows that begin every `stride` elements, as many as `data` holds.
    pub(crate) fn strided(data: &'a mut [f32], columns: usize, stride: usize) -> Self {
        assert!(
            0 < columns && columns <= stride,
            "{columns} columns at a stride of {stride}"
        );
        let rows = (data.len() + stride - columns) / stride;
        Self {
            data: data.as_mut_ptr(),
            rows,
            columns,
            stride,
            lifetime: PhantomData,
        }
    }

    pub(crate) fn slice_rows(&mut self, range: Range<usize>) -> MatrixMut<'_> {
        assert!(
            range.start < range.end && range.end <= self.rows,
            "rows {range:?} of {}",
            self.rows
        );
        // SAFETY: there is a first row, and it lies within the matrix.
        let data = unsafe { self.data.add(range.start * self.stride) };
        MatrixMut {
            data,
            rows: range.len(),
            lifetime: PhantomData,
            ..*self
        }
    }
}

/// A buffer of which parallel tasks write interleaved parts.
pub(crate) struct Interleaved<'a> {
    data: *mut f32,
    length: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: this is a `&mut [f32]`; `matrix` passes on to its callers the duty not to touch one
// element twice.
unsafe impl Sync for Interleaved<'_> {}

impl<'a> Interleaved<'a> {
    pub(crate) fn new(data: &'a mut [f32]) -> Self {
        Self {
            data: data.as_mut_ptr(),
            length: data.len(),
            lifetime: PhantomData,
        }
    }

    /// A view that begins at `start`.
    ///
    /// # Safety
    /// No two views that live at the same time share an element.
    pub(crate) unsafe fn matrix(
        &self,
        start: usize,
        rows: usize,
        columns: usize,
        stride: usize,
    ) -> MatrixMut<'a> {
        assert!(
            rows > 0 && columns <= stride && start + (rows - 1) * stride + columns <= self.length
        );
        // SAFETY: `start` lies within the buffer by the assertion.
        MatrixMut {
            data: unsafe { self.data.add(start) },
            rows,
            columns,
            stride,
            lifetime: PhantomData,
        }
    }
}

/// Whether a product replaces what the output holds or is added to it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Write {
    Replace,
    Add,
}

/// `out = a b` or `out += a b`, on this thread.
pub(crate) fn multiply(a: Matrix<'_>, b: Matrix<'_>, out: MatrixMut<'_>, write: Write) {
    assert!(
        a.columns == b.rows && out.rows == a.rows && out.columns == b.columns,
        "shapes of a product do not agree"
    );
    assert!(a.end() <= a.data.len() && b.end() <= b.data.len());
    let keep = if write == Write::Add { 1.0 } else { 0.0 };
    // SAFETY: the assertions above and the constructors of `MatrixMut` bound every element that is
    // read or written; `out` is a unique borrow.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.data,
            1,
            out.stride as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            keep,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Multiply-adds below which starting other threads costs more than it saves.
pub(crate) const PARALLEL_WORK: usize = 1 << 18;

/// `a b` on all threads, row-major.
pub(crate) fn product(a: Matrix<'_>, b: Matrix<'_>) -> Vec<f32> {
    let mut out = vec![0.0; a.rows * b.columns];
    let rows = rows_per_task(a.rows);
    if a.rows <= rows || a.rows * a.columns * b.columns < PARALLEL_WORK {
        multiply(a, b, MatrixMut::dense(&mut out, b.columns), Write::Replace);
        return out;
    }
    out.par_chunks_mut(rows * b.columns)
        .enumerate()
        .for_each(|(n, out)| {
            let a = a.slice_rows(n * rows..(n * rows + rows).min(a.rows));
            multiply(a, b, MatrixMut::dense(out, b.columns), Write::Replace);
        });
    out
}

/// Tasks that are few enough to share packing and fit the cache, and enough to keep all threads
/// busy.
fn rows_per_task(rows: usize) -> usize {
    let tasks = 2 * rayon::current_num_threads();
    rows.div_ceil(tasks).clamp(64, 256).next_multiple_of(16)
}

/// The transpose of a row-major matrix with rows of `columns` elements, row-major, on all threads.
pub(crate) fn transpose(data: &[f32], columns: usize) -> Vec<f32> {
    /// Rows of the result per task; a square tile stays in the first cache level on both sides.
    const TILE: usize = 16;
    let rows = data.len() / columns;
    if rows == 1 || columns == 1 {
        return data.to_vec();
    }
    let mut out = vec![0.0; data.len()];
    let tile_row = |n: usize, out: &mut [f32]| {
        for i in (0..rows).step_by(TILE) {
            for (j, out) in out.chunks_exact_mut(rows).enumerate() {
                let out = &mut out[i..rows.min(i + TILE)];
                let column = data[i * columns + n * TILE + j..].iter().step_by(columns);
                out.iter_mut()
                    .zip(column)
                    .for_each(|(out, value)| *out = *value);
            }
        }
    };
    if data.len() <= CHUNK {
        out.chunks_mut(TILE * rows)
            .enumerate()
            .for_each(|(n, out)| tile_row(n, out));
    } else {
        out.par_chunks_mut(TILE * rows)
            .enumerate()
            .for_each(|(n, out)| tile_row(n, out));
    }
    out
}
