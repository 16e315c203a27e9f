//! `y = x W^T` with weights in bf16 or int8. Blocks of rows are unpacked into the cache nearest to
//! the core and used there, so that memory is read in the smaller type.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::linear::{NARROW, SKINNY, columns, dots, linear, narrow_block};
use super::matrix::{Matrix, PARALLEL_WORK, transpose};
use super::simd::{simd_fn, widest_lanes};
use crate::packed::{Data, PackedMatrix};

thread_local! {
    /// Unpacked weights.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(vec![]) };
}

/// Calls `f` with the rows of a matrix as f32.
fn with_rows<T>(weight: &PackedMatrix, rows: Range<usize>, f: impl FnOnce(&[f32]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        let size = rows.len() * weight.inner;
        if scratch.len() < size {
            scratch.resize(size, 0.0);
        }
        unpack(weight, rows, &mut scratch[..size]);
        f(&scratch[..size])
    })
}

/// Rows of a matrix as f32, into `out`.
pub(crate) fn unpack(weight: &PackedMatrix, rows: Range<usize>, out: &mut [f32]) {
    let inner = weight.inner;
    let elements = rows.start * inner..rows.end * inner;
    match &weight.data {
        Data::Bf16(values) => unpack_bf16(&values[elements], out),
        Data::Int8 { values, scales } => {
            unpack_int8(&values[elements], &scales[rows], inner, out);
        }
    }
}

simd_fn! {
    fn unpack_bf16(simd: S, values: &[u16], out: &mut [f32]) {
        let _ = simd;
        for (out, value) in out.iter_mut().zip(values) {
            *out = f32::from_bits((*value as u32) << 16);
        }
    }
}

simd_fn! {
    fn unpack_int8(simd: S, values: &[i8], scales: &[f32], inner: usize, out: &mut [f32]) {
        let _ = simd;
        for ((out, values), scale) in out.chunks_exact_mut(inner).zip(values.chunks_exact(inner)).zip(scales) {
            for (out, value) in out.iter_mut().zip(values) {
                *out = *value as f32 * *scale;
            }
        }
    }
}

/// x `[M, inner]`, weight `[N, inner]` to `[M, N]`.
pub(crate) fn packed_linear(x: &[f32], weight: &PackedMatrix) -> Vec<f32> {
    let inner = weight.inner;
    let (rows, out) = (x.len() / inner, weight.rows);
    if rows > SKINNY {
        let mut all = vec![0.0; out * inner];
        let blocks = all.par_chunks_mut(WIDE * inner).enumerate();
        blocks.for_each(|(n, block)| {
            let first = n * WIDE;
            unpack(weight, first..first + block.len() / inner, block);
        });
        return linear(x, &all, inner);
    }
    let is_narrow = NARROW.contains(&rows) && widest_lanes() == 16;
    let (x, width, block) = match is_narrow {
        true => {
            let (x_t, width) = columns(x, inner);
            (x_t, width, WIDE)
        }
        false => (x.to_vec(), rows, SMALL),
    };
    let mut y_t = vec![0.0; out * width]; // [out, width]
    let task = |(n, y_t): (usize, &mut [f32])| {
        let first = n * WIDE;
        for (n, y_t) in y_t.chunks_mut(block * width).enumerate() {
            let first = first + n * block;
            with_rows(
                weight,
                first..first + y_t.len() / width,
                |weight| match is_narrow {
                    true => narrow_block(&x, weight, inner, width, y_t),
                    false => dots(&x, Matrix::dense(weight, inner), y_t),
                },
            );
        }
    };
    if out * inner * rows <= PARALLEL_WORK {
        y_t.chunks_mut(WIDE * width).enumerate().for_each(task);
    } else {
        y_t.par_chunks_mut(WIDE * width).enumerate().for_each(task);
    }
    let mut y = transpose(&y_t, width);
    y.truncate(rows * out);
    y
}

/// Weight rows of a task.
const WIDE: usize = 96;

/// Weight rows that are unpacked at once where they are used only once or a few times.
const SMALL: usize = 8;

/// The logits of some tokens of each row, one row after the other.
pub(crate) fn packed_logits(hidden: &[f32], weight: &PackedMatrix, allowed: &[&[u32]]) -> Vec<f32> {
    /// Tokens of a task.
    const TOKENS: usize = 512;
    let inner = weight.inner;
    let tasks: Vec<(&[f32], &[u32])> = hidden
        .chunks_exact(inner)
        .zip(allowed)
        .flat_map(|(hidden, tokens)| tokens.chunks(TOKENS).map(move |tokens| (hidden, tokens)))
        .collect();
    let of_task = |(hidden, tokens): &(&[f32], &[u32])| {
        let mut logits = vec![0.0; tokens.len()];
        let mut four = vec![0.0; 4 * inner];
        for (tokens, logits) in tokens.chunks(4).zip(logits.chunks_mut(4)) {
            for (token, row) in tokens.iter().zip(four.chunks_exact_mut(inner)) {
                let place = *token as usize;
                unpack(weight, place..place + 1, row);
            }
            let rows = Matrix::dense(&four[..tokens.len() * inner], inner);
            dots(hidden, rows, logits);
        }
        logits
    };
    let parts: Vec<Vec<f32>> = tasks.par_iter().map(of_task).collect();
    parts.concat()
}
