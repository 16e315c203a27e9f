//! The uncertainty of a difference between two variants, over dialogs and over seeds.

use convrec_metrics::stats::{Error, Interval, paired_test};
use serde::Serialize;

/// The resamples of every interval over dialogs.
pub const RESAMPLES: usize = 10_000;

/// A mean difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// The mean over all dialogs of all seeds.
    pub mean: f64,
    /// Its 95% interval by resampling dialogs, without the luck of training; none where there are
    /// only seeds.
    pub dialogs: Option<Interval>,
    /// The mean of each seed.
    pub seeds: Vec<f64>,
    /// The 95% interval of their mean by Student's t; none of a single seed.
    pub over_seeds: Option<Interval>,
    /// The p-value of the permutation test over dialogs.
    pub p_value: Option<f64>,
}

impl Evidence {
    /// The first variant minus the second, with a row of values for each seed, dialog by dialog.
    ///
    /// # Errors
    /// When the variants were not measured on the same dialogs, or on fewer than two.
    pub fn paired(first: &[Vec<f64>], second: &[Vec<f64>]) -> Result<Self, Error> {
        let (all, others) = (first.concat(), second.concat());
        let dialogs: Vec<usize> = (0..all.len()).collect();
        let test = paired_test(&all, &others, &dialogs, 1, RESAMPLES)?;
        let seeds: Vec<f64> = first
            .iter()
            .zip(second)
            .map(|(a, b)| mean(a) - mean(b))
            .collect();
        let dialogs = Some(test.difference);
        Ok(Self {
            mean: test.difference.mean,
            dialogs,
            p_value: Some(test.p_value),
            ..Self::of_seeds(seeds)
        })
    }

    /// The evidence of one difference for each seed.
    pub fn of_seeds(seeds: Vec<f64>) -> Self {
        Self {
            mean: mean(&seeds),
            dialogs: None,
            over_seeds: student(&seeds),
            p_value: None,
            seeds,
        }
    }

    /// The ends of both intervals together; none where there is no interval.
    pub fn bounds(&self) -> Option<[f64; 2]> {
        let both = || self.dialogs.iter().chain(&self.over_seeds);
        both().next()?;
        let low = both()
            .map(|interval| interval.low)
            .fold(f64::INFINITY, f64::min);
        Some([
            low,
            both()
                .map(|interval| interval.high)
                .fold(f64::NEG_INFINITY, f64::max),
        ])
    }
}

/// The mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |sum, value| sum + value) / values.len() as f64
}

/// The 95% interval of a mean by Student's t, where there are at least two values.
pub fn student(values: &[f64]) -> Option<Interval> {
    // The 97.5% quantiles with 1, 2, ... degrees of freedom. The last one serves for more, and is a
    // little too wide.
    const T: [f64; 10] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    ];
    let free = values.len().checked_sub(1).filter(|free| *free > 0)?;
    let centre = mean(values);
    let variance = values
        .iter()
        .map(|value| (value - centre).powi(2))
        .sum::<f64>()
        / free as f64;
    let half = T[free.min(T.len()) - 1] * (variance / values.len() as f64).sqrt();
    Some(Interval {
        mean: centre,
        low: centre - half,
        high: centre + half,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_have_an_interval_of_their_own() {
        let interval = student(&[0.01, 0.02, 0.03]).unwrap();
        // t(2) = 4.303, the standard error is 0.01 / sqrt 3.
        assert!(
            (interval.mean - 0.02).abs() < 1e-12 && (interval.high - 0.02 - 0.024844).abs() < 1e-5,
            "{interval}"
        );
        assert_eq!(student(&[0.01]), None);
        assert_eq!(student(&[]), None);
        assert!(student(&[0.5; 40]).unwrap().high.abs() == 0.5);
    }

    #[test]
    fn differences_are_taken_dialog_by_dialog() {
        let first = [vec![0.5, 0.7, 0.6, 0.8], vec![0.4, 0.6, 0.5, 0.7]];
        let second = first
            .clone()
            .map(|seed| seed.iter().map(|x| x - 0.1).collect::<Vec<f64>>());
        let evidence = Evidence::paired(&first, &second).unwrap();
        assert!((evidence.mean - 0.1).abs() < 1e-12);
        let [low, high] = evidence.bounds().unwrap();
        assert!((low - 0.1).abs() < 1e-9 && (high - 0.1).abs() < 1e-9);
        assert!(evidence.p_value.unwrap() < 0.05);
        assert!(Evidence::paired(&first, &second[..1]).is_err());
        assert_eq!(Evidence::of_seeds(vec![0.1]).bounds(), None);
    }
}
