use std::hash::Hash;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Cluster, Error, Interval, by_cluster, cluster_bootstrap, same_length};

/// Two systems compared on the same samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedTest {
    /// The first system's mean minus the second's.
    pub difference: Interval,
    /// The probability of a difference this large in either direction by chance alone; see
    /// [`paired_test`].
    pub p_value: f64,
}

/// Compares two systems on the same samples: the difference of means with its 95% interval
/// ([`cluster_bootstrap`] of the differences), and the p-value of a permutation test.
///
/// If the systems were equal, their order would not matter, dialog by dialog. The test swaps the
/// two in a random half of the clusters, again and again. It counts the swaps whose difference is
/// at least as large, in size, as the observed one: `p = (1 + count) / (1 + resamples)`. This p is
/// valid for any number of resamples, and never 0. With `n` clusters that differ, p cannot get
/// below about `2^(1-n)`.
///
/// Fisher, *The Design of Experiments* (1935); Smucker, Allan, Carterette, "A comparison of
/// statistical significance tests for information retrieval evaluation", CIKM 2007; Phipson and
/// Smyth, "Permutation p-values should never be zero", SAGMB 9(1), 2010.
///
/// # Errors
/// As [`cluster_bootstrap`].
pub fn paired_test<C: Eq + Hash>(
    first: &[f64],
    second: &[f64],
    clusters: &[C],
    seed: u64,
    resamples: usize,
) -> Result<PairedTest, Error> {
    same_length(
        (first.len(), "values of the first system"),
        (second.len(), "of the second"),
    )?;
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let difference = cluster_bootstrap(&differences, clusters, seed, resamples)?;
    let clusters = by_cluster(&differences, clusters, resamples)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // The swaps have a stream of their own, so that they do not depend on the draws of the
    // bootstrap.
    rng.set_stream(1);
    Ok(PairedTest {
        difference,
        p_value: sign_flip_p_value(&clusters, &mut rng, resamples),
    })
}

fn sign_flip_p_value(clusters: &[Cluster], rng: &mut ChaCha8Rng, resamples: usize) -> f64 {
    let observed: f64 = clusters.iter().map(|cluster| cluster.sum).sum();
    // Sums that are equal on paper differ in their last digits, by the order of their terms; the
    // slack evens that out.
    let slack = 1e-12
        * clusters
            .iter()
            .map(|cluster| cluster.sum.abs())
            .sum::<f64>();
    let as_large = (0..resamples)
        .filter(|_| swapped_sum(clusters, rng).abs() >= observed.abs() - slack)
        .count();
    (1 + as_large) as f64 / (1 + resamples) as f64
}

fn swapped_sum(clusters: &[Cluster], rng: &mut ChaCha8Rng) -> f64 {
    let sum_of = |block: &[Cluster]| {
        let swaps = rng.next_u64();
        let sign = |index: usize| if swaps >> index & 1 == 1 { -1.0 } else { 1.0 };
        block
            .iter()
            .enumerate()
            .map(|(index, cluster)| sign(index) * cluster.sum)
            .sum::<f64>()
    };
    clusters.chunks(64).map(sum_of).sum()
}
