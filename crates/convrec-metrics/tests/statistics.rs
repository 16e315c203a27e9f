//! Simulations with known truth: intervals cover as often as they say, p-values are uniform when
//! nothing differs.

use convrec_metrics::stats::{cluster_bootstrap, paired_test};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const N_CLUSTERS: usize = 120;

/// Samples like those of a test set: 0 or 1, rare, in dialogs of 1 to 6 which differ in how easy
/// they are. The true mean is that over an endless number of dialogs.
fn dialogs(rng: &mut ChaCha8Rng) -> (Vec<f64>, Vec<usize>) {
    let mut samples = (Vec::new(), Vec::new());
    for dialog in 0..N_CLUSTERS {
        let chance = if rng.random_bool(0.25) { 0.8 } else { 0.1 };
        for _ in 0..rng.random_range(1..=6) {
            samples.0.push(f64::from(rng.random_bool(chance)));
            samples.1.push(dialog);
        }
    }
    samples
}

const TRUE_MEAN: f64 = 0.25 * 0.8 + 0.75 * 0.1;

fn coverage(ids: impl Fn(Vec<usize>) -> Vec<usize>) -> f64 {
    const SIMULATIONS: u64 = 1000;
    let covers = |seed| {
        let (values, clusters) = dialogs(&mut ChaCha8Rng::seed_from_u64(seed));
        let interval = cluster_bootstrap(&values, &ids(clusters), seed, 1000).unwrap();
        assert!(interval.low <= interval.mean && interval.mean <= interval.high);
        interval.low <= TRUE_MEAN && TRUE_MEAN <= interval.high
    };
    (0..SIMULATIONS).filter(|&seed| covers(seed)).count() as f64 / SIMULATIONS as f64
}

#[test]
fn an_interval_covers_the_truth_19_times_in_20() {
    // The standard error of the simulation is 0.007.
    let by_dialog = coverage(|dialogs| dialogs);
    assert!(
        (0.93..0.97).contains(&by_dialog),
        "covered {by_dialog} of the times"
    );
    // The same samples taken for independent show the error that clusters avoid.
    let by_sample = coverage(|dialogs| (0..dialogs.len()).collect());
    assert!(by_sample < 0.88, "covered {by_sample} of the times");
}

#[test]
fn independent_samples_agree_with_the_normal_interval() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let values: Vec<f64> = (0..2000).map(|_| rng.random::<f64>().powi(3)).collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / (n - 1.0);
    let half = 1.959964 * (variance / n).sqrt();
    let ids: Vec<usize> = (0..values.len()).collect();
    let interval = cluster_bootstrap(&values, &ids, 5, 20_000).unwrap();
    assert_eq!(interval.mean, mean);
    assert!(
        (interval.low - (mean - half)).abs() < 0.03 * half,
        "{interval:?} and {half}"
    );
    assert!(
        (interval.high - (mean + half)).abs() < 0.03 * half,
        "{interval:?} and {half}"
    );
}

#[test]
fn p_values_are_uniform_when_the_systems_are_alike() {
    const SIMULATIONS: usize = 2000;
    let mut p_values: Vec<f64> = (0..SIMULATIONS as u64)
        .map(|seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            // The systems are equal: each dialog treats both in the same random way, and its
            // samples agree with each other.
            let (mut first, mut second, mut ids) = (Vec::new(), Vec::new(), Vec::new());
            for dialog in 0..40 {
                let (a, b) = (rng.random::<f64>(), rng.random::<f64>());
                for _ in 0..rng.random_range(1..=4) {
                    first.push(a);
                    second.push(b + 0.01 * (rng.random::<f64>() - 0.5));
                    ids.push(dialog);
                }
            }
            paired_test(&first, &second, &ids, seed, 400)
                .unwrap()
                .p_value
        })
        .collect();
    p_values.sort_by(f64::total_cmp);
    // Kolmogorov and Smirnov: the largest gap to the uniform distribution, 1.63 / sqrt(n) at the 1%
    // level, and the step of 1/401 between p-values.
    let gap = |(index, p): (usize, &f64)| (p - index as f64 / SIMULATIONS as f64).abs();
    let largest = p_values.iter().enumerate().map(gap).fold(0.0, f64::max);
    assert!(
        largest < 1.63 / (SIMULATIONS as f64).sqrt() + 1.0 / 401.0,
        "gap of {largest}"
    );
}

#[test]
fn a_true_difference_is_found() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (second, ids) = dialogs(&mut rng);
    let first: Vec<f64> = second
        .iter()
        .map(|value| value + rng.random_range(-0.2..0.4))
        .collect();
    let test = paired_test(&first, &second, &ids, 2, 10_000).unwrap();
    assert!(
        test.p_value < 0.001 && test.difference.low > 0.05 && test.difference.high < 0.15,
        "{test:?}"
    );
    let turned = paired_test(&second, &first, &ids, 2, 10_000).unwrap();
    assert_eq!(turned.p_value, test.p_value);
    assert_eq!(turned.difference.mean, -test.difference.mean);
}

#[test]
fn the_seed_decides() {
    let (values, ids) = dialogs(&mut ChaCha8Rng::seed_from_u64(4));
    let test = |seed| paired_test(&values, &vec![0.2; values.len()], &ids, seed, 200).unwrap();
    assert_eq!(test(1), test(1));
    assert_ne!(test(1).difference, test(2).difference);
    assert_ne!(test(1).p_value, test(2).p_value);
}

/// All 2^n swaps.
fn exact_p_value(sums: &[f64]) -> f64 {
    let swapped = |swaps: usize| -> f64 {
        sums.iter()
            .enumerate()
            .map(|(index, sum)| if swaps >> index & 1 == 1 { -sum } else { *sum })
            .sum()
    };
    let as_large = (0..1 << sums.len())
        .filter(|&swaps| swapped(swaps).abs() >= swapped(0).abs() - 1e-9)
        .count();
    as_large as f64 / (1 << sums.len()) as f64
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_p_value_is_that_of_all_swaps(
        sums in prop::collection::vec(-3i32..4, 2..11),
        seed in any::<u64>(),
    ) {
        // Thirds, as scores often are: equal sums then differ in their last digits.
        let first: Vec<f64> = sums.iter().map(|&sum| f64::from(sum) / 3.0).collect();
        let ids: Vec<usize> = (0..first.len()).collect();
        let p_value = paired_test(&first, &vec![0.0; first.len()], &ids, seed, 20_000)
            .unwrap()
            .p_value;
        // Five standard errors.
        prop_assert!((p_value - exact_p_value(&first)).abs() < 0.018, "{p_value}");
    }

    #[test]
    fn copies_of_a_sample_add_no_certainty(
        values in prop::collection::vec(0.0f64..1.0, 2..40),
        seed in any::<u64>(),
    ) {
        let ids: Vec<usize> = (0..values.len()).collect();
        let thrice =
            |list: &[f64]| -> Vec<f64> { list.iter().flat_map(|&value| [value; 3]).collect() };
        let once = cluster_bootstrap(&values, &ids, seed, 200).unwrap();
        let copied_ids: Vec<usize> = ids.iter().flat_map(|&id| [id; 3]).collect();
        let copied = cluster_bootstrap(&thrice(&values), &copied_ids, seed, 200).unwrap();
        prop_assert!(
            (once.low - copied.low).abs() < 1e-12 && (once.high - copied.high).abs() < 1e-12
        );
    }
}
