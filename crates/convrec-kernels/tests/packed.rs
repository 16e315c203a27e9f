//! Products with matrices in bf16 and int8, compared with those of the numbers that they hold.

use burn::tensor::{Device, Tensor, TensorData};
use convrec_kernels::{PackedMatrix, PackedType, Vectors, composed, limit_vectors};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn tensor(values: &[f32], width: usize) -> Tensor<2> {
    let shape = [values.len() / width, width];
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
}

fn host<const N: usize>(x: Tensor<N>) -> Vec<f32> {
    x.into_data().try_into_vec::<f32>().unwrap()
}

fn assert_close(found: &[f32], expected: &[f32], most: f32, about: &str) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= most, "{about}: {a}, {b}");
    }
}

/// Rounded to the nearest, a row of zeros stays one, and the larger the row, the larger the error.
#[test]
fn numbers_are_held_to_the_precision_of_the_type() {
    let (rows, inner) = (9, 40);
    let mut values = numbers(rows * inner, 1);
    values[..inner].fill(0.0);
    values[inner..2 * inner]
        .iter_mut()
        .for_each(|x| *x *= 1000.0);
    for kind in [PackedType::Bf16, PackedType::Int8] {
        let packed = PackedMatrix::new(&values, inner, kind);
        assert_eq!(packed.dims(), [rows, inner]);
        let held = host(packed.select(0..rows, &Device::flex()));
        for (held, row) in held.chunks(inner).zip(values.chunks(inner)) {
            let largest = row.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            for (held, x) in held.iter().zip(row) {
                let most = match kind {
                    PackedType::Bf16 => x.abs() / 256.0,
                    PackedType::Int8 => largest / 253.9,
                };
                assert!((held - x).abs() <= most, "{kind:?}: {held}, {x}");
            }
        }
        let some = host(packed.select([3, 0, 3], &Device::flex()));
        assert_eq!(
            some,
            [
                &held[3 * inner..4 * inner],
                &held[..inner],
                &held[3 * inner..4 * inner]
            ]
            .concat()
        );
    }
    let bytes = |kind| PackedMatrix::new(&values, inner, kind).bytes();
    assert_eq!(bytes(PackedType::Bf16), 2 * rows * inner);
    assert_eq!(bytes(PackedType::Int8), rows * (inner + 4));
}

/// Few rows, some, and many; more and fewer weights than a task has; sizes that no vector divides.
#[test]
fn products_are_those_of_what_is_held() {
    for vectors in [Vectors::Widest, Vectors::Avx2, Vectors::Scalar] {
        limit_vectors(vectors);
        for (out, inner) in [(1, 1), (70, 33), (300, 205), (1000, 64)] {
            let values = numbers(out * inner, 2);
            for kind in [PackedType::Bf16, PackedType::Int8] {
                let packed = PackedMatrix::new(&values, inner, kind);
                let held = packed.select(0..out, &Device::flex());
                for rows in [1, 2, 5, 6, 7, 17, 33, 48, 49, 90] {
                    let x = tensor(&numbers(rows * inner, 3), inner);
                    let found = host(packed.linear(x.clone()));
                    let expected = host(composed::linear(x, held.clone()));
                    let about = format!("{kind:?} {rows} x {inner} x {out} {vectors:?}");
                    assert_close(&found, &expected, 1e-4, &about);
                }
                let some: Vec<u32> = (0..out as u32).filter(|token| token % 7 != 3).collect();
                let allowed: [&[u32]; 3] = [&some, &[], &[out as u32 - 1]];
                let hidden = tensor(&numbers(3 * inner, 4), inner);
                let found = host(packed.logits_constrained(hidden.clone(), &allowed));
                let expected = host(composed::logits_constrained(hidden, held, &allowed));
                assert_close(&found, &expected, 1e-4, "logits");
            }
        }
    }
    limit_vectors(Vectors::Widest);
    let three = tensor(&numbers(24, 5), 4).reshape([2, 3, 4]);
    let packed = PackedMatrix::new(&numbers(20, 6), 4, PackedType::Int8);
    assert_eq!(packed.linear(three).dims(), [2, 3, 5]);
}
