//! The correction for completions that an engine sampled whose numbers are not quite the trainer's.

use serde::{Deserialize, Serialize};

use crate::aggregate::Partition;
use crate::config::{ConfigError, require};
use crate::{LossInputs, MAX_LOG_RATIO, RatioLevel};

/// A constant weight on each token's policy loss: how much more likely the trainer's policy was to
/// write it than the sampler that did ([`LossInputs::sampler_log_probs`]).
///
/// An engine with other kernels, another precision or weights of an earlier step samples from
/// another policy than it is said to; the weight makes up for that (Yao et al. 2025), in the limits
/// of its `mode`. It has no gradient, and the KL penalty goes without it, as in TRL. The importance
/// ratio is another thing: it compares the trainer's policy now with what it was when the batch was
/// sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// What one weight covers.
    ///
    /// [`Token`](RatioLevel::Token): the token's own ratio. [`Rank`](RatioLevel::Rank): the
    /// geometric mean of its rank's, as in importance ratios.
    /// [`Sequence`](RatioLevel::Sequence): the *product* of all tokens' of the completion, as in
    /// TRL.
    pub level: RatioLevel,
    /// What becomes of weights that are out of proportion.
    pub mode: CorrectionMode,
}

/// What becomes of weights that are out of proportion.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CorrectionMode {
    /// A weight above `at` counts as `at` (truncated importance sampling; TRL's `token_truncate`,
    /// `sequence_truncate`).
    Truncate {
        /// At least 1. TRL's default is 3.
        at: f64,
    },
    /// A weight out of bounds counts as 0: its tokens teach nothing, though they are still counted
    /// where losses are averaged (masked importance sampling; TRL's `token_mask`,
    /// `sequence_mask`).
    Mask {
        /// At least 1.
        above: f64,
        /// At most 1; no bound where it is left out.
        #[serde(default)]
        below: Option<f64>,
    },
}

/// What the weights were, over the tokens that count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CorrectionMetrics {
    /// Their mean; 1 without tokens. (TRL's `sampling/importance_sampling_ratio/mean`.)
    pub mean: f64,
    /// The smallest; 1 without tokens. (`sampling/importance_sampling_ratio/min`.)
    pub min: f64,
    /// The largest; 1 without tokens. (`sampling/importance_sampling_ratio/max`.)
    pub max: f64,
    /// The share of tokens whose weight was truncated or masked.
    pub cut: f64,
}

impl Correction {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let at_least_one = |field, x: f64| {
            require(
                x >= 1.0 && x.is_finite(),
                field,
                x,
                "a finite number, at least 1",
            )
        };
        match self.mode {
            CorrectionMode::Truncate { at } => at_least_one("correction.mode.truncate.at", at),
            CorrectionMode::Mask { above, below } => {
                at_least_one("correction.mode.mask.above", above)?;
                let below = below.unwrap_or(0.0);
                require(
                    (0.0..=1.0).contains(&below),
                    "correction.mode.mask.below",
                    below,
                    "a number from 0 to 1",
                )
            }
        }
    }

    /// The weight of each token that counts, 0 for the others, `[B, T]`. `old` are the trainer's
    /// log-probabilities of when the batch was sampled, `sampler` the sampler's.
    pub(crate) fn weights(
        &self,
        tokens: &[usize],
        inputs: &LossInputs,
        old: &[f64],
        sampler: &[f64],
    ) -> (Vec<f64>, CorrectionMetrics) {
        let segments = Partition::new(self.level, tokens, inputs);
        let log = |t: usize| old[t] - sampler[t];
        let logs = match self.level {
            RatioLevel::Sequence => segments.sums(tokens, log),
            RatioLevel::Token | RatioLevel::Rank => segments.means(tokens, log),
        };
        let bounded: Vec<(f64, bool)> = logs
            .iter()
            .map(|log| self.mode.bound(log.min(MAX_LOG_RATIO).exp()))
            .collect();
        let mut weights = vec![0.0; inputs.mask.len()];
        let mut metrics = CorrectionMetrics {
            mean: 0.0,
            min: f64::INFINITY,
            max: 0.0,
            cut: 0.0,
        };
        let n = tokens.len().max(1) as f64;
        for &t in tokens {
            let (weight, cut) = bounded[segments.of[t]];
            weights[t] = weight;
            metrics.mean += weight;
            metrics.min = metrics.min.min(weight);
            metrics.max = metrics.max.max(weight);
            metrics.cut += f64::from(cut);
        }
        (metrics.mean, metrics.cut) = (metrics.mean / n, metrics.cut / n);
        let nothing = CorrectionMetrics {
            mean: 1.0,
            min: 1.0,
            max: 1.0,
            cut: 0.0,
        };
        (weights, if tokens.is_empty() { nothing } else { metrics })
    }
}

impl CorrectionMode {
    /// The weight within bounds, and whether it was out of them.
    fn bound(self, weight: f64) -> (f64, bool) {
        match self {
            Self::Truncate { at } => (weight.min(at), weight > at),
            Self::Mask { above, below } => {
                let out = weight > above || weight < below.unwrap_or(0.0);
                (if out { 0.0 } else { weight }, out)
            }
        }
    }
}
