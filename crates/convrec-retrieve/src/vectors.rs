//! Vectors of items, by the items that are named beside them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use convrec_catalog::Catalog;
use convrec_core::{Example, ItemId};
use itertools::Itertools;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Scorer;
use crate::cooccurrence::ids;

/// The numbers of a vector.
pub(crate) const WIDTH: usize = 32;
/// The fewest dialogs that name an item with a vector.
const LEAST_DIALOGS: usize = 2;
/// What the pairs of both items are raised by: rare items would go together by chance.
const RARE: f64 = 30.0;
/// Steps of subspace iteration.
const ITERATIONS: usize = 20;
/// The parts that training dialogs are dealt to. A dialog is scored by vectors from the other
/// parts.
pub(crate) const PARTS: usize = 8;

/// A scorer by items that have the same neighbours as the seen ones, though they may never have
/// been named beside them.
///
/// The score of item v is the cosine of its vector with those of the seen items, their mean, or 0
/// where that is negative. The vectors are the leading directions of the symmetric matrix ln(1 +
/// n(j, v) T / ((s(j) + 30) (s(v) + 30))). n(j, v) is the number of training dialogs that name both
/// items, s its sum over the row, T over the matrix. The dialogs of the part that holds a training
/// sample's own dialog are left out.
#[derive(Debug)]
pub(crate) struct VectorScorer {
    catalog: Arc<Catalog>,
    /// The distinct items of each dialog.
    dialogs: Vec<Vec<ItemId>>,
    places: HashMap<String, usize>,
    /// Vectors from all dialogs, then from those outside of each part.
    tables: [OnceLock<Vec<[f32; WIDTH]>>; PARTS + 1],
}

impl VectorScorer {
    pub(crate) fn of(catalog: &Arc<Catalog>, training: &[Example]) -> Self {
        let mut dialogs: Vec<Vec<ItemId>> = vec![];
        let mut places = HashMap::new();
        for example in training {
            let place = *places
                .entry(example.dialog_id().to_string())
                .or_insert(dialogs.len());
            if place == dialogs.len() {
                dialogs.push(vec![]);
            }
            dialogs[place].extend(ids(catalog, &example.seen));
            dialogs[place].extend(ids(catalog, &example.ground_truth));
        }
        for items in &mut dialogs {
            items.sort_unstable();
            items.dedup();
        }
        Self {
            catalog: catalog.clone(),
            dialogs,
            places,
            tables: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    /// The part of a training sample's own dialog; none for other conversations.
    pub(crate) fn part(&self, example: &Example) -> Option<usize> {
        let own = self.places.get(example.dialog_id());
        own.map(|place| place % PARTS)
    }

    /// The vectors of all items, learned without a part of the dialogs, or from all of them. Those
    /// of items without a vector are zeros.
    pub(crate) fn table_without(&self, part: Option<usize>) -> &[[f32; WIDTH]] {
        let table = &self.tables[part.map_or(0, |part| part + 1)];
        table.get_or_init(|| self.table(part))
    }

    /// The vectors from the dialogs outside of a part, from all of them where there is no part.
    /// Those of items without a vector are zeros.
    fn table(&self, part: Option<usize>) -> Vec<[f32; WIDTH]> {
        let others = self.dialogs.iter().enumerate();
        let others = others.filter(|(place, _)| part != Some(place % PARTS));
        let others: Vec<&Vec<ItemId>> = others.map(|(_, items)| items).collect();
        let named = others.iter().copied().flatten().counts();
        let known: Vec<ItemId> = named
            .into_iter()
            .filter(|(_, dialogs)| *dialogs >= LEAST_DIALOGS)
            .map(|(id, _)| *id)
            .sorted_unstable()
            .collect();
        let matrix = Matrix::new(&others, &known);
        let mut table = vec![[0.0; WIDTH]; self.catalog.len()];
        for (k, column) in matrix.leading(WIDTH).iter().enumerate() {
            for (id, x) in known.iter().zip(column) {
                table[id.index()][k] = *x as f32;
            }
        }
        for vector in &mut table {
            let norm = dot(vector, vector).sqrt();
            if norm > 0.0 {
                vector.iter_mut().for_each(|x| *x /= norm);
            }
        }
        table
    }
}

impl Scorer for VectorScorer {
    fn scores(&self, example: &Example) -> Vec<f32> {
        let table = self.table_without(self.part(example));
        let mut sum = [0.0; WIDTH];
        let mut known = 0.0;
        for seen in ids(&self.catalog, &example.seen) {
            let vector = &table[seen.index()];
            if vector.iter().any(|x| *x != 0.0) {
                sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
                known += 1.0;
            }
        }
        if known == 0.0 {
            return vec![0.0; table.len()];
        }
        let score = |vector: &[f32; WIDTH]| (dot(vector, &sum) / known).max(0.0);
        table.iter().map(score).collect()
    }
}

pub(crate) fn dot(a: &[f32; WIDTH], b: &[f32; WIDTH]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A symmetric matrix, row by row: columns and entries that are not 0.
struct Matrix(Vec<Vec<(usize, f64)>>);

impl Matrix {
    /// How much more often items are named together than by chance.
    fn new(dialogs: &[&Vec<ItemId>], known: &[ItemId]) -> Self {
        let mut counts: Vec<HashMap<usize, f64>> = vec![HashMap::new(); known.len()];
        for items in dialogs {
            let items = items.iter().filter_map(|id| known.binary_search(id).ok());
            for [a, b] in items.array_combinations() {
                *counts[a].entry(b).or_default() += 1.0;
                *counts[b].entry(a).or_default() += 1.0;
            }
        }
        let sums: Vec<f64> = counts.iter().map(|row| row.values().sum()).collect();
        let total: f64 = sums.iter().sum();
        let of_row = |(row, counts): (usize, HashMap<usize, f64>)| {
            let entry = |(column, n): (usize, f64)| {
                let chance = (sums[row] + RARE) * (sums[column] + RARE) / total;
                (column, (n / chance).ln_1p())
            };
            // Sums of floats depend on their order, so the order is fixed.
            let entries = counts.into_iter().map(entry);
            entries
                .sorted_unstable_by_key(|(column, _)| *column)
                .collect()
        };
        Self(counts.into_iter().enumerate().map(of_row).collect())
    }

    fn times(&self, column: &[f64]) -> Vec<f64> {
        let of_row = |row: &Vec<(usize, f64)>| row.iter().map(|(at, x)| x * column[*at]).sum();
        self.0.iter().map(of_row).collect()
    }

    /// The directions that the matrix stretches most, at most `n`, each times the root of its
    /// factor.
    fn leading(&self, n: usize) -> Vec<Vec<f64>> {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let random = |_| self.0.iter().map(|_| rng.random::<f64>() - 0.5).collect();
        let mut basis: Vec<Vec<f64>> = (0..n.min(self.0.len())).map(random).collect();
        orthonormalise(&mut basis);
        for _ in 0..ITERATIONS {
            basis = basis.iter().map(|column| self.times(column)).collect();
            orthonormalise(&mut basis);
        }
        let scaled = |column: Vec<f64>| {
            let along: f64 = column
                .iter()
                .zip(self.times(&column))
                .map(|(a, b)| a * b)
                .sum();
            column.iter().map(|x| x * along.abs().sqrt()).collect()
        };
        basis.into_iter().map(scaled).collect()
    }
}

/// Makes columns orthonormal by the modified method of Gram and Schmidt.
fn orthonormalise(columns: &mut [Vec<f64>]) {
    for at in 0..columns.len() {
        let (done, rest) = columns.split_at_mut(at + 1);
        let own = &mut done[at];
        let norm = own.iter().map(|x| x * x).sum::<f64>().sqrt();
        own.iter_mut()
            .for_each(|x| *x /= norm.max(f64::MIN_POSITIVE));
        for other in rest {
            let along: f64 = own.iter().zip(other.iter()).map(|(a, b)| a * b).sum();
            other
                .iter_mut()
                .zip(own.iter())
                .for_each(|(x, own)| *x -= along * own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two dense blocks: the two leading directions are those of the blocks, with the roots of
    /// their eigenvalues (3 and 2).
    #[test]
    fn leading_directions_are_eigenvectors() {
        let block = |items: std::ops::Range<usize>| -> Vec<(usize, f64)> {
            items.map(|item| (item, 1.0)).collect()
        };
        let rows = (0..5).map(|row| block(if row < 3 { 0..3 } else { 3..5 }));
        let found = Matrix(rows.collect()).leading(2);
        for (column, (block, entry)) in found.iter().zip([(0..3, 1.0), (3..5, 1.0)]) {
            for (row, x) in column.iter().enumerate() {
                let expected = if block.contains(&row) { entry } else { 0.0 };
                assert!((x.abs() - expected).abs() < 1e-3, "{found:?}");
            }
        }
    }

    /// Films 0 and 1 were never named together, but both beside film 2.
    #[test]
    fn items_with_the_same_neighbours_are_alike() {
        let film = |n: usize| convrec_core::CatalogItem {
            title: format!("Film {n}"),
            year: Some(1980),
            genres: vec![],
            metadata: String::new(),
        };
        let catalog = Arc::new(Catalog::new((0..6).map(film).collect()).unwrap());
        let dialog = |(n, items): (usize, &[usize; 2])| Example {
            id: format!("d{n}-1"),
            dialog: vec![],
            seen: vec![catalog[ItemId(items[0] as u32)].item()],
            ground_truth: vec![catalog[ItemId(items[1] as u32)].item()],
        };
        let pairs = [[0, 2], [1, 2], [3, 4], [3, 5]].repeat(4);
        let training: Vec<Example> = pairs.iter().enumerate().map(dialog).collect();
        let scorer = VectorScorer::of(&catalog, &training);
        let asked = Example {
            id: "new-1".into(),
            ..training[0].clone()
        };
        let scores = scorer.scores(&asked);
        assert!(scores[1] > 0.9 && scores[4] < 0.2, "{scores:?}");
    }
}
