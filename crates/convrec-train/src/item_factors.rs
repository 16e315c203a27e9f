//! A vector for each item, from the items that demonstrations list together.

use std::collections::HashMap;

use convrec_catalog::Catalog;
use convrec_core::{Demonstration, ItemId};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Steps of subspace iteration. The lists are the same from 4 steps on.
const ITERATIONS: usize = 6;
/// The exponent by which an item that is listed often counts less.
const DISCOUNT: f64 = -0.25;

/// A vector of `width` numbers for each item. The product of two vectors is high where one item is
/// listed after the other was seen. They are the best such vectors in least squares, up to a
/// rotation.
///
/// An item at rank k of a list counts 1/sqrt(k), shared by the seen items. The count of a pair of
/// items is divided by the fourth root of the total of each. The same demonstrations give the same
/// vectors.
pub fn item_factors(
    catalog: &Catalog,
    demonstrations: &[Demonstration],
    width: usize,
) -> Vec<Vec<f32>> {
    let rows = together(catalog, demonstrations);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut basis: Vec<Vec<f64>> = (0..width.min(rows.len()))
        .map(|_| rows.iter().map(|_| rng.random::<f64>() - 0.5).collect())
        .collect();
    // S has negative eigenvalues as large as some positive ones, but the product of a vector with
    // itself is never negative. A shift of all eigenvalues puts the positive ones first.
    let shift = rows
        .iter()
        .flatten()
        .map(|(_, weight)| *weight)
        .fold(0.0, f64::max);
    let step = |column: &Vec<f64>| -> Vec<f64> {
        times(&rows, column)
            .iter()
            .zip(column)
            .map(|(image, x)| image + shift * x)
            .collect()
    };
    for _ in 0..ITERATIONS {
        orthonormalise(&mut basis);
        basis = basis.par_iter().map(step).collect();
    }
    orthonormalise(&mut basis);
    // S is about Q T Q^T with T = Q^T S Q = L L^T, so the vectors are the rows of Q L.
    let images: Vec<Vec<f64>> = basis
        .par_iter()
        .map(|column| times(&rows, column))
        .collect();
    let core = basis
        .par_iter()
        .map(|a| images.iter().map(|b| dot(a, b)).collect())
        .collect();
    let root = cholesky(core);
    let vector = |item: usize| {
        let place = |k: usize| {
            (k..basis.len())
                .map(|j| basis[j][item] * root[j][k])
                .sum::<f64>() as f32
        };
        (0..width)
            .map(|k| if k < basis.len() { place(k) } else { 0.0 })
            .collect()
    };
    (0..rows.len()).into_par_iter().map(vector).collect()
}

/// The symmetric matrix S, by row: the other items and their weights. Its diagonal is each row's
/// highest weight, so that an item is similar to itself.
fn together(catalog: &Catalog, demonstrations: &[Demonstration]) -> Vec<Vec<(usize, f64)>> {
    let mut counts: Vec<HashMap<usize, f64>> = vec![HashMap::new(); catalog.len()];
    for demonstration in demonstrations {
        let seen: Vec<ItemId> = demonstration
            .example
            .seen
            .iter()
            .filter_map(|item| catalog.find(item))
            .collect();
        for (rank, listed) in demonstration.list.iter().enumerate() {
            let Some(listed) = catalog.find(listed) else {
                continue;
            };
            let weight = 1.0 / (((rank + 1) as f64).sqrt() * seen.len() as f64);
            for seen in seen.iter().filter(|seen| **seen != listed) {
                *counts[seen.index()].entry(listed.index()).or_default() += weight;
                *counts[listed.index()].entry(seen.index()).or_default() += weight;
            }
        }
    }
    let discount: Vec<f64> = counts
        .iter()
        .map(|row| row.values().sum::<f64>().max(1.0).powf(DISCOUNT))
        .collect();
    let row = |(item, counts): (usize, HashMap<usize, f64>)| {
        let mut row: Vec<(usize, f64)> = counts.into_iter().collect();
        // Sums of floats depend on their order, so the order is fixed.
        row.sort_unstable_by_key(|(other, _)| *other);
        row.iter_mut()
            .for_each(|(other, weight)| *weight *= discount[item] * discount[*other]);
        let highest = row.iter().map(|(_, weight)| *weight).fold(0.0, f64::max);
        row.push((item, highest));
        row
    };
    counts.into_iter().enumerate().map(row).collect()
}

fn times(rows: &[Vec<(usize, f64)>], column: &[f64]) -> Vec<f64> {
    rows.iter()
        .map(|row| {
            row.iter()
                .map(|(item, weight)| weight * column[*item])
                .sum()
        })
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Makes columns orthonormal by the modified method of Gram and Schmidt.
fn orthonormalise(columns: &mut [Vec<f64>]) {
    for at in 0..columns.len() {
        let (done, rest) = columns.split_at_mut(at + 1);
        let own = &mut done[at];
        let norm = dot(own, own).sqrt().max(f64::MIN_POSITIVE);
        own.iter_mut().for_each(|x| *x /= norm);
        let own = &*own;
        rest.par_iter_mut().for_each(|other| {
            let along = dot(own, other);
            other
                .iter_mut()
                .zip(own)
                .for_each(|(other, own)| *other -= along * own);
        });
    }
}

/// The lower triangular root of a symmetric matrix. Parts that are not positive are left out.
fn cholesky(matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = matrix.len();
    let mut root = vec![vec![0.0; n]; n];
    for j in 0..n {
        let pivot = matrix[j][j] - dot(&root[j][..j], &root[j][..j]);
        // A tiny pivot is only rounding, and would make other entries large.
        if pivot <= 1e-6 * matrix[j][j] {
            continue;
        }
        root[j][j] = pivot.sqrt();
        for i in j + 1..n {
            root[i][j] = (matrix[i][j] - dot(&root[i][..j], &root[j][..j])) / root[j][j];
        }
    }
    root
}
