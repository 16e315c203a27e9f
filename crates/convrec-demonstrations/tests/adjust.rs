//! The objective against finite differences, its minimiser against identities.

use convrec_core::ItemId;
use convrec_demonstrations::{AdjustConfig, AdjustError, Objective, Reduction, fit};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn data(n_rows: usize, n_items: usize, seed: u64) -> (Array2<f64>, Vec<Vec<ItemId>>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let scores = Array2::from_shape_fn((n_rows, n_items), |_| rng.random_range(-2.0..3.0));
    let ground_truth = (0..n_rows)
        .map(|_| {
            (0..rng.random_range(1..4))
                .map(|_| ItemId(rng.random_range(0..n_items as u32)))
                .collect()
        })
        .collect();
    (scores, ground_truth)
}

#[test]
fn the_gradient_is_the_slope_of_the_value() {
    for reduction in [Reduction::Mean, Reduction::Sum] {
        let (scores, ground_truth) = data(70, 9, 1);
        let objective = Objective::new(&scores, &ground_truth, 0.1, reduction);
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let x: Vec<f64> = (0..18).map(|_| rng.random_range(-1.0..2.0)).collect();
        let (value, gradient) = objective.value_and_gradient(&x);
        for i in 0..x.len() {
            let h = 1e-5;
            let at = |x_i: f64| {
                let mut moved = x.clone();
                moved[i] = x_i;
                objective.value_and_gradient(&moved).0
            };
            let slope = (at(x[i] + h) - at(x[i] - h)) / (2.0 * h);
            assert!(
                (slope - gradient[i]).abs() < 1e-8 * value.max(1.0),
                "{i}: {slope}, gradient {}",
                gradient[i]
            );
        }
    }
}

/// Gradients of the loss by b sum to 0 in each row, so those of the penalty must too: the shifts
/// sum to 0.
#[test]
fn the_shifts_sum_to_zero() {
    let (scores, ground_truth) = data(50, 12, 3);
    let config = AdjustConfig {
        tolerance: 1e-9,
        ..AdjustConfig::default()
    };
    let fitted = fit(&scores, &ground_truth, &config, &|_| ()).unwrap();
    assert!(fitted.adjust.b.iter().any(|b| b.abs() > 0.1));
    assert!(fitted.adjust.b.iter().sum::<f64>().abs() < 1e-7);
}

#[test]
fn gradients_can_be_brought_below_rounding_of_the_value() {
    for reduction in [Reduction::Mean, Reduction::Sum] {
        let (scores, ground_truth) = data(40, 15, 4);
        let config = AdjustConfig {
            reduction,
            tolerance: 1e-8,
            ..AdjustConfig::default()
        };
        let fitted = fit(&scores, &ground_truth, &config, &|_| ()).unwrap();
        assert!(fitted.report.gradient_norm <= 2e-10);
        assert!(fitted.report.objective_end < fitted.report.objective_start);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (scores, ground_truth) = data(333, 20, 5);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| fit(&scores, &ground_truth, &AdjustConfig::default(), &|_| ()).unwrap())
    };
    assert_eq!(on(1), on(4));
}

#[test]
fn heavy_penalties_keep_everything_as_it_is() {
    let (scores, ground_truth) = data(30, 8, 6);
    let config = AdjustConfig {
        reg: 1e6,
        ..AdjustConfig::default()
    };
    let adjust = fit(&scores, &ground_truth, &config, &|_| ())
        .unwrap()
        .adjust;
    let mut row = scores.row(0).to_vec();
    adjust.apply(&mut row);
    assert!(
        row.iter()
            .zip(scores.row(0))
            .all(|(a, b)| (a - b).abs() < 1e-5)
    );
}

#[test]
fn bad_input_is_named() {
    let (scores, ground_truth) = data(5, 4, 7);
    let default = AdjustConfig::default();
    let error = |ground_truth: &[Vec<ItemId>], config| {
        fit(&scores, ground_truth, &config, &|_| ())
            .unwrap_err()
            .to_string()
    };
    let config = AdjustConfig {
        reg: 0.0,
        ..default
    };
    assert_eq!(
        error(&ground_truth, config),
        "config, field `fit.reg`: found 0.0, expected a number above 0"
    );
    assert!(error(&ground_truth[1..], default).contains("5 rows of scores, but 4 of ground truth"));
    let with = |items: Vec<ItemId>| [&[items], &ground_truth[1..]].concat();
    assert!(error(&with(vec![]), default).contains("row 0 has no ground truth"));
    assert!(
        error(&with(vec![ItemId(4)]), default)
            .contains("item 4 as ground truth, the catalog 4 items")
    );
    let config = AdjustConfig {
        max_iterations: 1,
        ..default
    };
    assert!(
        matches!(fit(&scores, &ground_truth, &config, &|_| ()), Err(AdjustError::NotConverged { report, .. }) if report.iterations == 1)
    );
    let nan = scores.mapv(|s| if s > 2.0 { f64::NAN } else { s });
    assert!(
        fit(&nan, &ground_truth, &default, &|_| ())
            .unwrap_err()
            .to_string()
            .contains("not finite")
    );
    assert!(
        fit(&Array2::<f32>::zeros((0, 4)), &[], &default, &|_| ())
            .unwrap_err()
            .to_string()
            .contains("no conversation")
    );
}
