//! What a step says of itself.

use serde::Serialize;

use crate::CorrectionMetrics;
use crate::terms::Clipped;

/// What a step says of itself. Means and shares are over the tokens that count, whatever the ratio
/// level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Mean KL estimate, before beta; `None` without [`LossConfig::kl`](crate::LossConfig::kl).
    pub kl: Option<f64>,
    /// Mean entropy in nats; `None` where none was given.
    pub entropy: Option<f64>,
    /// Share of tokens with a ratio below the clip range and a negative advantage.
    pub clip_low: f64,
    /// Share of tokens with a ratio above the clip range and a positive advantage.
    pub clip_high: f64,
    /// Both together.
    pub clip_region: f64,
    /// Mean importance ratio; 1 without tokens.
    pub ratio_mean: f64,
    /// Smallest importance ratio; 1 without tokens.
    pub ratio_min: f64,
    /// Largest importance ratio; 1 without tokens.
    pub ratio_max: f64,
    /// The weights of the correction for the sampler; `None` without
    /// [`LossConfig::correction`](crate::LossConfig::correction).
    pub correction: Option<CorrectionMetrics>,
    /// The number of tokens that count.
    pub tokens: usize,
    /// The share of masked-in tokens that were dropped because a number of theirs is NaN,
    /// infinite, or beyond 1e6 in size. Anything but 0 is worth a look.
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
            clip_low: self.low as f64 / count,
            clip_high: self.high as f64 / count,
            clip_region: (self.low + self.high) as f64 / count,
            ratio_mean: if tokens == 0 {
                1.0
            } else {
                self.ratio_sum / count
            },
            ratio_min,
            ratio_max,
            correction: None,
            tokens,
            dropped,
        }
    }
}
