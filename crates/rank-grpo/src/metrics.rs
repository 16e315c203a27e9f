//! The numbers of a step to log.

use serde::{Deserialize, Serialize};

use crate::CorrectionMetrics;
use crate::lanes::Totals;
use crate::terms::Clipped;

/// The numbers of a step to log. Means and shares are over the tokens that count, whatever the
/// ratio level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// The mean KL estimate, before beta; `None` without [`LossConfig::kl`](crate::LossConfig::kl).
    pub kl: Option<f64>,
    /// The mean entropy in nats; `None` where none was given.
    pub entropy: Option<f64>,
    /// The share of tokens with a ratio below the clip range and a negative advantage. (TRL:
    /// `clip_ratio/low_mean`.)
    pub clip_ratio_low: f64,
    /// The share of tokens with a ratio above the clip range and a positive advantage.
    /// (`clip_ratio/high_mean`.)
    pub clip_ratio_high: f64,
    /// The sum of both shares. (`clip_ratio/region_mean`.)
    pub clip_ratio_region: f64,
    /// The mean importance ratio; 1 without tokens.
    pub ratio_mean: f64,
    /// The smallest importance ratio; 1 without tokens.
    pub ratio_min: f64,
    /// The largest importance ratio; 1 without tokens.
    pub ratio_max: f64,
    /// The weights of the correction for the sampler; `None` without
    /// [`LossConfig::correction`](crate::LossConfig::correction).
    pub correction: Option<CorrectionMetrics>,
    /// The share of tokens that off-policy sequence masking silenced; `None` without
    /// [`off_policy_mask_threshold`](crate::LossConfig::off_policy_mask_threshold).
    pub off_policy_masked: Option<f64>,
    /// The number of tokens that count.
    pub tokens: usize,
    /// The share of masked-in tokens that were dropped because a number of theirs is NaN, infinite,
    /// or beyond 1e6 in size. Look at the data if it is not 0.
    pub dropped: f64,
}

/// Collects [`Metrics`] token by token.
#[derive(Default)]
pub(crate) struct Meter {
    pub kl: f64,
    low: usize,
    high: usize,
    ratio_sum: f64,
    ratio_range: Option<(f64, f64)>,
}

impl Meter {
    pub fn ratio(&mut self, ratio: f64, clipped: Clipped) {
        self.low += usize::from(clipped == Clipped::Low);
        self.high += usize::from(clipped == Clipped::High);
        self.ratio_sum += ratio;
        let (min, max) = self.ratio_range.unwrap_or((ratio, ratio));
        self.ratio_range = Some((min.min(ratio), max.max(ratio)));
    }

    /// Adds a row whose ratios were measured together.
    pub fn add(&mut self, row: &Totals) {
        self.kl += row.kl;
        self.low += row.low;
        self.high += row.high;
        self.ratio_sum += row.ratio_sum;
        let (min, max) = self.ratio_range.unwrap_or((row.ratio_min, row.ratio_max));
        self.ratio_range = Some((min.min(row.ratio_min), max.max(row.ratio_max)));
    }

    pub fn metrics(
        &self,
        has_kl: bool,
        entropy: Option<f64>,
        tokens: usize,
        dropped: f64,
    ) -> Metrics {
        let count = tokens.max(1) as f64;
        let (ratio_min, ratio_max) = self.ratio_range.unwrap_or((1.0, 1.0));
        Metrics {
            kl: has_kl.then_some(self.kl / count),
            entropy: entropy.map(|sum| sum / count),
            clip_ratio_low: self.low as f64 / count,
            clip_ratio_high: self.high as f64 / count,
            clip_ratio_region: (self.low + self.high) as f64 / count,
            ratio_mean: if tokens == 0 {
                1.0
            } else {
                self.ratio_sum / count
            },
            ratio_min,
            ratio_max,
            correction: None,
            off_policy_masked: None,
            tokens,
            dropped,
        }
    }
}
