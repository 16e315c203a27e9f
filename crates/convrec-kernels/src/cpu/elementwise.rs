//! Kernels that treat every position of some slices alike.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::CHUNK;
use super::matrix::Write;
use super::simd::dispatch;

/// A kernel that computes O numbers from I numbers, at every position of some slices.
pub(crate) trait Elementwise<const I: usize, const O: usize>: Copy + Sync {
    /// Implementations are `#[inline(always)]`.
    fn compute<S: Simd>(self, simd: S, inputs: [S::f32s; I]) -> [S::f32s; O];
}

/// Writes (or adds) the outputs of `kernel` for the inputs, all of one length.
pub(crate) fn apply<K: Elementwise<I, O>, const I: usize, const O: usize>(
    kernel: K,
    inputs: [&[f32]; I],
    outputs: [&mut [f32]; O],
    write: Write,
) {
    dispatch(Apply {
        kernel,
        inputs,
        outputs,
        write,
    });
}

struct Apply<'a, K, const I: usize, const O: usize> {
    kernel: K,
    inputs: [&'a [f32]; I],
    outputs: [&'a mut [f32]; O],
    write: Write,
}

impl<K: Elementwise<I, O>, const I: usize, const O: usize> WithSimd for Apply<'_, K, I, O> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let inputs = self.inputs.map(|input| S::as_simd_f32s(input));
        let mut outputs = self.outputs.map(|output| S::as_mut_simd_f32s(output));
        for n in 0..outputs[0].0.len() {
            let values = self.kernel.compute(simd, vectors(simd, &inputs, n));
            for (output, value) in outputs.iter_mut().zip(&values) {
                let kept = output.0[n];
                output.0[n] = if self.write == Write::Add {
                    simd.add_f32s(kept, *value)
                } else {
                    *value
                };
            }
        }
        let values = self.kernel.compute(simd, rests(simd, &inputs));
        for (output, value) in outputs.iter_mut().zip(&values) {
            let kept = simd.partial_load_f32s(output.1);
            let value = if self.write == Write::Add {
                simd.add_f32s(kept, *value)
            } else {
                *value
            };
            simd.partial_store_f32s(output.1, value);
        }
    }
}

/// The sum of the outputs of `kernel` for the inputs, all of one length. `kernel` must map zeros
/// to 0.
pub(crate) fn sum<K: Elementwise<I, 1>, const I: usize>(kernel: K, inputs: [&[f32]; I]) -> f32 {
    dispatch(Sum { kernel, inputs })
}

struct Sum<'a, K, const I: usize> {
    kernel: K,
    inputs: [&'a [f32]; I],
}

impl<K: Elementwise<I, 1>, const I: usize> WithSimd for Sum<'_, K, I> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let inputs = self.inputs.map(|input| S::as_simd_f32s(input));
        let mut sum = self.kernel.compute(simd, rests(simd, &inputs))[0];
        for n in 0..inputs[0].0.len() {
            sum = simd.add_f32s(sum, self.kernel.compute(simd, vectors(simd, &inputs, n))[0]);
        }
        simd.reduce_sum_f32s(sum)
    }
}

/// The n-th vectors of all inputs.
#[inline(always)]
fn vectors<S: Simd, const I: usize>(
    simd: S,
    inputs: &[(&[S::f32s], &[f32]); I],
    n: usize,
) -> [S::f32s; I] {
    let mut vectors = [simd.splat_f32s(0.0); I];
    for (vector, input) in vectors.iter_mut().zip(inputs) {
        *vector = input.0[n];
    }
    vectors
}

/// The rest of all inputs after their whole vectors, filled up with zeros.
#[inline(always)]
fn rests<S: Simd, const I: usize>(simd: S, inputs: &[(&[S::f32s], &[f32]); I]) -> [S::f32s; I] {
    let mut vectors = [simd.splat_f32s(0.0); I];
    for (vector, input) in vectors.iter_mut().zip(inputs) {
        *vector = simd.partial_load_f32s(input.1);
    }
    vectors
}

/// As [`apply`] with `Write::Replace`, on all threads, into new buffers.
pub(crate) fn apply_in_parallel<K: Elementwise<I, O>, const I: usize, const O: usize>(
    kernel: K,
    inputs: [&[f32]; I],
) -> [Vec<f32>; O] {
    let mut outputs = [0; O].map(|_| vec![0.0; inputs[0].len()]);
    let mut chunks = outputs.each_mut().map(|output| output.chunks_mut(CHUNK));
    let count = inputs[0].len().div_ceil(CHUNK);
    let tasks: Vec<[&mut [f32]; O]> = (0..count)
        .map(|_| {
            chunks
                .each_mut()
                .map(|chunks| chunks.next().unwrap_or_default())
        })
        .collect();
    tasks.into_par_iter().enumerate().for_each(|(n, outputs)| {
        let length = outputs[0].len();
        apply(
            kernel,
            inputs.map(|input| &input[n * CHUNK..][..length]),
            outputs,
            Write::Replace,
        );
    });
    outputs
}

/// The sum of squares, in f64 over chunks that do not depend on the number of threads.
pub(crate) fn sum_of_squares(values: &[f32]) -> f64 {
    let sums: Vec<f64> = values
        .par_chunks(CHUNK)
        .map(|chunk| f64::from(sum(Product, [chunk, chunk])))
        .collect();
    sums.into_iter().sum()
}

/// The product of two numbers; its [`sum`] is a dot product.
#[derive(Clone, Copy)]
pub(crate) struct Product;

impl Elementwise<2, 1> for Product {
    #[inline(always)]
    fn compute<S: Simd>(self, simd: S, [a, b]: [S::f32s; 2]) -> [S::f32s; 1] {
        [simd.mul_f32s(a, b)]
    }
}
