use std::hash::Hash;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Cluster, Error, Interval, by_cluster};

/// The mean of `values` with its 95% interval, by the percentile bootstrap over clusters.
///
/// Each of the `resamples` draws as many clusters as there are, with replacement, each with all its
/// samples. It takes the mean over the drawn samples. The interval leaves 2.5% of these means out
/// at either end. With fewer than some 30 clusters it is too narrow, as bootstrap intervals are.
///
/// The same seed gives the same interval, bit for bit.
///
/// Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 13; Field and Welsh,
/// "Bootstrapping clustered data", JRSS B 69(3), 2007.
///
/// # Errors
/// When the inputs differ in length, a value is not finite, there are fewer than two clusters, or
/// fewer than [`MIN_RESAMPLES`](super::MIN_RESAMPLES) resamples are asked for.
pub fn cluster_bootstrap<C: Eq + Hash>(
    values: &[f64],
    clusters: &[C],
    seed: u64,
    resamples: usize,
) -> Result<Interval, Error> {
    let clusters = by_cluster(values, clusters, resamples)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut means: Vec<f64> = (0..resamples)
        .map(|_| resampled_mean(&clusters, &mut rng))
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    let left_out = resamples / 40;
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    Ok(Interval {
        mean,
        low: means[left_out],
        high: means[resamples - 1 - left_out],
    })
}

fn resampled_mean(clusters: &[Cluster], rng: &mut ChaCha8Rng) -> f64 {
    let drawn = clusters
        .iter()
        .map(|_| clusters[rng.random_range(0..clusters.len())]);
    let total = drawn.fold(Cluster::default(), |a, b| Cluster {
        sum: a.sum + b.sum,
        size: a.size + b.size,
    });
    total.sum / total.size
}
