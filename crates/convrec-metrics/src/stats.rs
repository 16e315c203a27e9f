//! Intervals of means and tests between two systems, by resampling whole clusters.
//!
//! A *cluster* is a unit that is independent of the others: a dialog, or a context that several
//! samples share. Give every sample its cluster's id (anything `Eq + Hash`). With an id of its own
//! for each sample the statistics are the ordinary ones. The mean is always that over samples.
//!
//! ```
//! use convrec_metrics::stats;
//!
//! // NDCG@10 of two systems on the same 6 samples from 4 dialogs.
//! let dialogs = [1, 1, 2, 3, 3, 4];
//! let ours = [0.9, 0.8, 0.4, 0.6, 0.6, 0.3];
//! let theirs = [0.6, 0.7, 0.4, 0.5, 0.3, 0.2];
//!
//! let test = stats::paired_test(&ours, &theirs, &dialogs, 7, 10_000)?;
//! assert!((test.difference.mean - 0.15).abs() < 1e-12);
//! // Four dialogs, one of them without a difference, cannot convince: the smallest possible p here is 2 in 8.
//! assert!(test.p_value > 0.2);
//! # Ok::<(), stats::Error>(())
//! ```
//!
//! # Many comparisons
//!
//! One true null hypothesis in twenty has p < 0.05. A comparison of one system with five others by
//! four measures makes twenty tests, and one should "succeed" by luck. Choose the one comparison
//! and the one measure that matter before looking, or correct the p-values of all tests: [`holm`].
//! The intervals are not corrected.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

mod bootstrap;
mod holm;
mod permutation;

pub use bootstrap::cluster_bootstrap;
pub use holm::holm;
pub use permutation::{PairedTest, paired_test};

/// The fewest resamples that have a value outside a 95% interval on either side. 10,000 are usual.
pub const MIN_RESAMPLES: usize = 40;

/// A mean with its 95% confidence interval. Prints as `0.1079 [0.1012, 0.1147]`, to the precision
/// asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean over samples.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(4);
        write!(
            f,
            "{:.digits$} [{:.digits$}, {:.digits$}]",
            self.mean, self.low, self.high
        )
    }
}

/// The reason why there is no interval or test.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two inputs are not of one length.
    #[error(
        "found {left} {left_name} and {right} {right_name}; expected one of each for every sample, \
         in the same order"
    )]
    Lengths {
        /// The first length.
        left: usize,
        /// What it counts.
        left_name: &'static str,
        /// The second length.
        right: usize,
        /// What it counts.
        right_name: &'static str,
    },
    /// A value is NaN or infinite.
    #[error(
        "value {index} (from 0) is {value}; expected finite numbers: leave out samples without \
         ground truth, or use a measure that is 0 for them"
    )]
    NotFinite {
        /// Its index.
        index: usize,
        /// The value.
        value: f64,
    },
    /// There is one cluster or none, which says nothing about the spread.
    #[error("found {0} clusters; an interval needs samples from at least 2 dialogs or contexts")]
    TooFewClusters(usize),
    /// The ends of the interval would be undefined.
    #[error("{0} resamples are too few; expected at least {MIN_RESAMPLES}, 10000 are usual")]
    TooFewResamples(usize),
}

/// The samples of one cluster, summed.
#[derive(Debug, Clone, Copy, Default)]
struct Cluster {
    sum: f64,
    size: f64,
}

/// The clusters in the order of their first sample, so that a seed gives the same result
/// everywhere.
fn by_cluster<C: Eq + Hash>(
    values: &[f64],
    clusters: &[C],
    resamples: usize,
) -> Result<Vec<Cluster>, Error> {
    same_length((values.len(), "values"), (clusters.len(), "cluster ids"))?;
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::NotFinite {
            index,
            value: values[index],
        });
    }
    let mut places = HashMap::new();
    let mut found: Vec<Cluster> = Vec::new();
    for (value, id) in values.iter().zip(clusters) {
        let place = *places.entry(id).or_insert(found.len());
        if place == found.len() {
            found.push(Cluster::default());
        }
        found[place].sum += value;
        found[place].size += 1.0;
    }
    if found.len() < 2 {
        return Err(Error::TooFewClusters(found.len()));
    }
    if resamples < MIN_RESAMPLES {
        return Err(Error::TooFewResamples(resamples));
    }
    Ok(found)
}

fn same_length(
    (left, left_name): (usize, &'static str),
    (right, right_name): (usize, &'static str),
) -> Result<(), Error> {
    if left == right {
        Ok(())
    } else {
        Err(Error::Lengths {
            left,
            left_name,
            right,
            right_name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_input_is_named() {
        let error = |values: &[f64], ids: &[u8], n| {
            cluster_bootstrap(values, ids, 0, n)
                .unwrap_err()
                .to_string()
        };
        assert!(error(&[0.0; 3], &[1, 2], 100).starts_with("found 3 values and 2 cluster ids"));
        assert!(error(&[0.0, f64::NAN], &[1, 2], 100).starts_with("value 1 (from 0) is NaN"));
        assert!(error(&[0.0, 1.0], &[1, 1], 100).starts_with("found 1 clusters"));
        assert!(error(&[], &[], 100).starts_with("found 0 clusters"));
        assert!(error(&[0.0, 1.0], &[1, 2], 39).starts_with("39 resamples are too few"));
        let paired = paired_test(&[0.0; 3], &[0.0; 2], &[1, 2, 3], 0, 100);
        assert!(
            paired
                .unwrap_err()
                .to_string()
                .starts_with("found 3 values of the first system and 2")
        );
    }

    #[test]
    fn intervals_print_as_asked() {
        let interval = Interval {
            mean: 0.10791,
            low: 0.1,
            high: 0.12,
        };
        assert_eq!(interval.to_string(), "0.1079 [0.1000, 0.1200]");
        assert_eq!(format!("{interval:.2}"), "0.11 [0.10, 0.12]");
    }
}
