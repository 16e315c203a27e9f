//! The machine's own limits: memory that is read, products of matrices. Their "tokens" are bytes
//! and floating-point operations.

use std::hint::black_box;

use burn::tensor::{DType, Distribution, Tensor};
use convrec::device;
use rayon::prelude::*;

use crate::works::{Error, Repetition};
use crate::{Clock, Done};

/// Numbers of 4 bytes, more than caches hold.
const NUMBERS: usize = 1 << 28;
/// Numbers of a task.
const CHUNK: usize = 1 << 16;
/// Rows and columns of the matrices.
const SIZE: usize = 2048;

/// Adds up a gibibyte of f32, by all threads.
pub fn memory() -> Repetition {
    let numbers = vec![1.0f32; NUMBERS];
    Box::new(move |_| {
        let mut clock = Clock::start();
        let sum: f32 = numbers.par_chunks(CHUNK).map(sum).sum();
        Ok(Done {
            tokens: NUMBERS * 4,
            parts: vec![("", clock.lap())],
            check: Some(f64::from(black_box(sum))),
            ..Done::default()
        })
    })
}

/// 64 sums side by side, so that additions do not wait for one another.
fn sum(numbers: &[f32]) -> f32 {
    let mut sums = [0.0; 64];
    for part in numbers.chunks_exact(64) {
        sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
    }
    sums.iter().sum()
}

/// A product of two square matrices of this type, as the policy computes its own.
pub fn product(dtype: DType) -> Result<Repetition, Error> {
    let device = device()?;
    let matrix =
        || Tensor::<2>::random([SIZE, SIZE], Distribution::Normal(0.0, 1.0), &device).cast(dtype);
    let (x, weight) = (matrix(), matrix());
    Ok(Box::new(move |_| {
        let mut clock = Clock::start();
        let product = convrec_kernels::linear(x.clone(), weight.clone());
        // Where a device works on its own, reading waits for it.
        black_box(product.slice([0..1, 0..1]).into_scalar::<f32>());
        Ok(Done {
            tokens: 2 * SIZE * SIZE * SIZE,
            parts: vec![("", clock.lap())],
            ..Done::default()
        })
    }))
}
