//! Factored scores against matrices, and Adjust on both.

use convrec_core::ItemId;
use convrec_demonstrations::{AdjustConfig, FactoredScores, Objective, Reduction, ScoreRows, fit};
use ndarray::Array2;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

struct World {
    catalog: Array2<f32>,
    queries: Array2<f32>,
    additions: Vec<Vec<(ItemId, f32)>>,
    ground_truth: Vec<Vec<ItemId>>,
}

impl World {
    fn new(rows: usize, items: usize, width: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut matrix =
            |n| Array2::from_shape_simple_fn((n, width), || rng.random_range(-1.0..1.0_f32));
        let (catalog, queries) = (matrix(items), matrix(rows));
        let mut some = |most| -> Vec<ItemId> {
            (0..rng.random_range(1..=most))
                .map(|_| ItemId(rng.random_range(0..items as u32)))
                .collect()
        };
        let additions = (0..rows)
            .map(|_| some(3).into_iter().map(|item| (item, 0.5)).collect())
            .collect();
        let ground_truth = (0..rows).map(|_| some(2)).collect();
        Self {
            catalog,
            queries,
            additions,
            ground_truth,
        }
    }

    fn factored(&self) -> FactoredScores<'_> {
        FactoredScores::new(self.catalog.view(), self.queries.view(), &self.additions)
    }

    /// The scores as a matrix, number by number in f64.
    fn dense(&self) -> Array2<f64> {
        let wide = |matrix: &Array2<f32>| matrix.mapv(f64::from);
        let mut scores = wide(&self.queries).dot(&wide(&self.catalog).t());
        for (row, additions) in self.additions.iter().enumerate() {
            additions
                .iter()
                .for_each(|(item, more)| scores[[row, item.index()]] += f64::from(*more));
        }
        scores
    }
}

/// The objective by its formula, without blocks, vectors or threads.
fn slow(scores: &Array2<f64>, ground_truth: &[Vec<ItemId>], reg: f64, x: &[f64]) -> f64 {
    let (w, b) = x.split_at(scores.ncols());
    let losses = scores.outer_iter().zip(ground_truth).map(|(row, items)| {
        let z: Vec<f64> = row
            .iter()
            .zip(w)
            .zip(b)
            .map(|((s, w), b)| w * s + b)
            .collect();
        let log_sum = z.iter().map(|z| z.exp()).sum::<f64>().ln();
        items
            .iter()
            .map(|item| log_sum - z[item.index()])
            .sum::<f64>()
            / items.len() as f64
    });
    let penalty = w
        .iter()
        .map(|w| (w - 1.0).powi(2))
        .chain(b.iter().map(|b| b.powi(2)))
        .sum::<f64>();
    losses.sum::<f64>() / scores.nrows() as f64 + reg * penalty
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn factored_and_dense_are_the_slow_objective(
        rows in 1..400_usize,
        items in 1..40_usize,
        width in 1..20_usize,
        seed: u64,
    ) {
        let world = World::new(rows, items, width, seed);
        let dense = world.dense();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let x: Vec<f64> = (0..2 * items)
            .map(|_| rng.random_range(-1.0..2.0))
            .collect();
        let expected = slow(&dense, &world.ground_truth, 0.01, &x);
        let value = Objective::new(&dense, &world.ground_truth, 0.01, Reduction::Mean)
            .value_and_gradient(&x)
            .0;
        prop_assert!(
            (value - expected).abs() < 1e-12 * expected.abs().max(1.0),
            "dense {value}, \
            expected {expected}"
        );
        let factored = world.factored();
        let value = Objective::new(&factored, &world.ground_truth, 0.01, Reduction::Mean)
            .value_and_gradient(&x)
            .0;
        prop_assert!(
            (value - expected).abs() < 1e-5 * expected.abs().max(1.0),
            "factored \
            {value}, expected {expected}"
        );
    }

    #[test]
    fn selected_rows_are_those_rows(rows in 1..30_usize, items in 1..30_usize, seed: u64) {
        let world = World::new(rows, items, 7, seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let selected: Vec<usize> = (0..20).map(|_| rng.random_range(0..rows)).collect();
        let dense = world.dense();
        let mut found = vec![0.0; 20 * items];
        world
            .factored()
            .select(selected.clone())
            .read(0..20, &mut found);
        for (found, row) in found.chunks_exact(items).zip(selected) {
            prop_assert!(
                found
                    .iter()
                    .zip(dense.row(row))
                    .all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5)
            );
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let world = World::new(1000, 50, 16, 3);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            fit(
                &world.factored(),
                &world.ground_truth,
                &AdjustConfig::default(),
                &|_| (),
            )
            .unwrap()
        })
    };
    assert_eq!(on(1), on(2));
}
