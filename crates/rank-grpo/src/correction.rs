//! The correction for completions of a sampler whose numbers differ from the trainer's.

use serde::{Deserialize, Serialize};

use crate::check::{ConfigError, require};
use crate::{MAX_LOG_RATIO, RatioLevel};

/// A constant weight on each token's policy loss: the ratio of the trainer's probability of the
/// token to the sampler's ([`sampler_log_probs`](crate::LossInputs::sampler_log_probs)).
///
/// An engine with other kernels, another precision or weights of an earlier step does not sample
/// from the trainer's policy. The weight corrects for that (Yao et al. 2025), within the limits of
/// its `mode`. It has no gradient. The KL penalty goes without it, as in TRL. An importance ratio
/// is different: it compares the trainer's policy now with the trainer's policy when the batch was
/// sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// The tokens that one weight covers.
    ///
    /// [`Token`](RatioLevel::Token) is the token's own ratio. [`Rank`](RatioLevel::Rank) is the
    /// geometric mean of its rank's, as in importance ratios. [`Sequence`](RatioLevel::Sequence) is
    /// the *product* over all tokens of the completion, as in TRL.
    pub level: RatioLevel,
    /// The treatment of weights that are out of proportion.
    pub mode: CorrectionMode,
}

/// The treatment of weights that are out of proportion.
///
/// The bounds are TRL's `vllm_importance_sampling_clip_max` and
/// `vllm_importance_sampling_clip_min`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CorrectionMode {
    /// A weight out of bounds counts as the bound (truncated importance sampling; TRL's
    /// `token_truncate`, `sequence_truncate`).
    Truncate {
        /// At least 1. TRL's default is 3.
        clip_max: f64,
        /// At most 1. `None` is no bound.
        #[serde(default)]
        clip_min: Option<f64>,
    },
    /// A weight out of bounds counts as 0 (masked importance sampling; TRL's `token_mask`,
    /// `sequence_mask`). Its tokens teach nothing, though they are still counted where losses are
    /// averaged.
    Mask {
        /// At least 1.
        clip_max: f64,
        /// At most 1. `None` is no bound.
        #[serde(default)]
        clip_min: Option<f64>,
    },
}

/// The weights of a step, over the tokens that count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorrectionMetrics {
    /// The mean weight; 1 without tokens. (TRL: `sampling/importance_sampling_ratio/mean`.)
    pub mean: f64,
    /// The smallest weight; 1 without tokens. (`sampling/importance_sampling_ratio/min`.)
    pub min: f64,
    /// The largest weight; 1 without tokens. (`sampling/importance_sampling_ratio/max`.)
    pub max: f64,
    /// The share of tokens whose weight was truncated or masked.
    pub cut: f64,
}

impl Correction {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let (clip_max, clip_min, fields) = match self.mode {
            CorrectionMode::Truncate { clip_max, clip_min } => {
                let fields = [
                    "correction.mode.truncate.clip_max",
                    "correction.mode.truncate.clip_min",
                ];
                (clip_max, clip_min, fields)
            }
            CorrectionMode::Mask { clip_max, clip_min } => {
                let fields = [
                    "correction.mode.mask.clip_max",
                    "correction.mode.mask.clip_min",
                ];
                (clip_max, clip_min, fields)
            }
        };
        require(
            clip_max >= 1.0 && clip_max.is_finite(),
            fields[0],
            clip_max,
            "a finite number, at least 1",
        )?;
        let clip_min = clip_min.unwrap_or(0.0);
        require(
            (0.0..=1.0).contains(&clip_min),
            fields[1],
            clip_min,
            "a number from 0 to 1",
        )
    }

    /// The weight of a segment from the sum and the mean of its log ratios, and whether it was out
    /// of bounds.
    pub(crate) fn weight(&self, sum: f64, mean: f64) -> (f64, bool) {
        let log = match self.level {
            RatioLevel::Sequence => sum,
            RatioLevel::Token | RatioLevel::Rank => mean,
        };
        self.mode.bound(log.min(MAX_LOG_RATIO).exp())
    }
}

impl CorrectionMode {
    fn bound(self, weight: f64) -> (f64, bool) {
        match self {
            Self::Truncate { clip_max, clip_min } => {
                let bounded = weight.clamp(clip_min.unwrap_or(0.0), clip_max);
                (bounded, bounded != weight)
            }
            Self::Mask { clip_max, clip_min } => {
                let out = weight > clip_max || weight < clip_min.unwrap_or(0.0);
                (if out { 0.0 } else { weight }, out)
            }
        }
    }
}

/// Collects [`CorrectionMetrics`] token by token.
pub(crate) struct CorrectionMeter {
    sum: f64,
    min: f64,
    max: f64,
    cut: usize,
    tokens: usize,
}

impl CorrectionMeter {
    pub fn new() -> Self {
        CorrectionMeter {
            sum: 0.0,
            min: f64::INFINITY,
            max: 0.0,
            cut: 0,
            tokens: 0,
        }
    }

    pub fn add(&mut self, (weight, cut): (f64, bool)) {
        self.sum += weight;
        self.min = self.min.min(weight);
        self.max = self.max.max(weight);
        self.cut += usize::from(cut);
        self.tokens += 1;
    }

    pub fn metrics(&self) -> CorrectionMetrics {
        if self.tokens == 0 {
            return CorrectionMetrics {
                mean: 1.0,
                min: 1.0,
                max: 1.0,
                cut: 0.0,
            };
        }
        let tokens = self.tokens as f64;
        CorrectionMetrics {
            mean: self.sum / tokens,
            min: self.min,
            max: self.max,
            cut: self.cut as f64 / tokens,
        }
    }
}
