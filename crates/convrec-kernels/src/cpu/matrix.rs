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
        // The sum is checked, as one that wraps around would pass for a small one.
        let end = (rows.checked_sub(1)).and_then(|rows| {
            rows.checked_mul(stride)?
                .checked_add(start)?
                .checked_add(columns)
        });
        assert!(
            columns <= stride && end.is_some_and(|end| end <= self.length),
            "{rows} x {columns} from {start} on at a stride of {stride}, of {} elements",
            self.length
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(n: usize) -> Vec<f32> {
        (0..n).map(|n| (n * 37 % 23) as f32 - 11.0).collect()
    }

    /// Element (i, j) of a view.
    fn at(view: &Matrix<'_>, i: usize, j: usize) -> f32 {
        view.data[i * view.row_stride + j * view.column_stride]
    }

    /// The product by the definition, in whole numbers that f32 holds exactly.
    fn slow(a: &Matrix<'_>, b: &Matrix<'_>) -> Vec<f32> {
        let element = |i, j| (0..a.columns).map(|k| at(a, i, k) * at(b, k, j)).sum();
        let row = |i| (0..b.columns).map(move |j| element(i, j));
        (0..a.rows).flat_map(row).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 200,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Views have gaps and may be transposed. The numbers between the rows of the output stay.
        #[test]
        fn products_are_sums_of_products(
            (m, k, n) in (0usize..40, 0usize..40, 1usize..40),
            gaps in [0usize..5, 0usize..5, 0usize..5],
            [transpose_a, transpose_b, add] in any::<[bool; 3]>(),
        ) {
            let view = |rows: usize, columns: usize, gap: usize| {
                let stride = columns + gap;
                (numbers(rows * stride), stride)
            };
            let shape = |rows, columns, turned| {
                if turned {
                    (columns, rows)
                } else {
                    (rows, columns)
                }
            };
            let (a_rows, a_columns) = shape(m, k, transpose_a);
            let (b_rows, b_columns) = shape(k, n, transpose_b);
            let (a, a_stride) = view(a_rows, a_columns, gaps[0]);
            let (b, b_stride) = view(b_rows, b_columns, gaps[1]);
            let turn =
                |view: Matrix<'static>, turned| if turned { view.transposed() } else { view };
            let (a, b) = (a.leak(), b.leak());
            let a = turn(Matrix::strided(a, a_rows, a_columns, a_stride), transpose_a);
            let b = turn(Matrix::strided(b, b_rows, b_columns, b_stride), transpose_b);
            let stride = n + gaps[2];
            let before = numbers(m * stride);
            let mut out = before.clone();
            let write = if add { Write::Add } else { Write::Replace };
            multiply(a, b, MatrixMut::strided(&mut out, n, stride), write);
            let products = slow(&a, &b);
            for (place, (found, before)) in out.iter().zip(&before).enumerate() {
                let (i, j) = (place / stride, place % stride);
                let expected = match products.get(i * n + j).filter(|_| j < n) {
                    Some(product) if add => before + product,
                    Some(product) => *product,
                    None => *before,
                };
                prop_assert_eq!(*found, expected, "element {}, {}", i, j);
            }
        }

        #[test]
        fn parallel_products_are_the_same(m in 1usize..300, k in 1usize..90, n in 1usize..90) {
            let (a, b) = (numbers(m * k), numbers(k * n));
            let (a, b) = (Matrix::dense(&a, k), Matrix::dense(&b, n));
            prop_assert_eq!(product(a, b), slow(&a, &b));
        }

        #[test]
        fn a_transpose_swaps_rows_and_columns(rows in 1usize..200, columns in 1usize..200) {
            let data: Vec<f32> = (0..rows * columns).map(|n| n as f32).collect();
            let turned = transpose(&data, columns);
            for i in 0..rows {
                for j in 0..columns {
                    prop_assert_eq!(turned[j * rows + i], data[i * columns + j]);
                }
            }
        }
    }

    #[test]
    fn parts_are_written_where_they_lie() {
        let ones = [1.0; 12];
        let mut data = vec![0.0; 5 * 4];
        let mut out = MatrixMut::strided(&mut data, 3, 4);
        assert_eq!(out.rows, 5);
        let part = out.slice_rows(1..3);
        let ones = Matrix::dense(&ones, 1).slice_rows(0..2);
        multiply(
            ones,
            Matrix::strided(&[7.0; 3], 1, 3, 3),
            part,
            Write::Replace,
        );
        let row = [7.0, 7.0, 7.0, 0.0];
        assert_eq!(data[4..12], [row, row].concat());
        assert!(data[..4].iter().chain(&data[12..]).all(|x| *x == 0.0));
        // The last row of a view needs no gap behind it.
        assert_eq!(MatrixMut::strided(&mut [0.0; 7], 3, 4).rows, 2);
        assert_eq!(MatrixMut::strided(&mut [], 3, 4).rows, 0);
    }

    #[test]
    fn views_beyond_their_data_are_refused() {
        use std::panic::{AssertUnwindSafe, catch_unwind};
        let data = numbers(12);
        let refused = |f: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
        refused(&|| _ = Matrix::strided(&data, 4, 3, 4));
        refused(&|| _ = Matrix::dense(&data, 3).slice_rows(2..5));
        refused(&|| _ = MatrixMut::strided(&mut [0.0; 4], 5, 4));
        refused(&|| _ = MatrixMut::strided(&mut [0.0; 4], 0, 4));
        refused(&|| _ = MatrixMut::dense(&mut [0.0; 4], 2).slice_rows(1..3));
        refused(&|| _ = MatrixMut::dense(&mut [0.0; 4], 2).slice_rows(1..1));
        let a = Matrix::dense(&data, 3);
        refused(&|| multiply(a, a, MatrixMut::dense(&mut [0.0; 12], 3), Write::Add));
        refused(&|| {
            multiply(
                a,
                a.transposed(),
                MatrixMut::dense(&mut [0.0; 12], 3),
                Write::Add,
            )
        });
        let mut buffer = vec![0.0; 12];
        let parts = Interleaved::new(&mut buffer);
        for (start, rows, columns, stride) in [
            (0, 0, 1, 1),
            (0, 4, 3, 4),
            (10, 1, 3, 3),
            (0, 1, 4, 3),
            (usize::MAX, 2, 1, 1),
            (0, usize::MAX, 1, usize::MAX),
            (1, 3, 1, usize::MAX / 2 + 1),
        ] {
            // SAFETY: there is never more than one view.
            refused(&|| _ = unsafe { parts.matrix(start, rows, columns, stride) });
        }
        // SAFETY: there is only this view.
        let whole = unsafe { parts.matrix(2, 2, 3, 7) };
        assert_eq!((whole.rows, whole.columns), (2, 3));
    }

    /// Every task writes its own columns of all rows.
    #[test]
    fn parallel_tasks_write_interleaved_parts() {
        let (rows, tasks, width) = (33, 40, 3);
        let stride = tasks * width;
        let mut buffer = vec![-1.0; rows * stride];
        let parts = Interleaved::new(&mut buffer);
        (0..tasks).into_par_iter().for_each(|task| {
            // SAFETY: tasks have different columns.
            let out = unsafe { parts.matrix(task * width, rows, width, stride) };
            let column = numbers(rows);
            let row = vec![task as f32; width];
            multiply(
                Matrix::dense(&column, 1),
                Matrix::dense(&row, width),
                out,
                Write::Replace,
            );
        });
        for (place, found) in buffer.iter().enumerate() {
            let expected = numbers(rows)[place / stride] * (place % stride / width) as f32;
            assert_eq!(*found, expected, "element {place}");
        }
    }
}
