//! TRL's `loss_type`.

use serde::{Deserialize, Serialize};

use crate::{Clip, LossConfig};

/// The `loss_type` of TRL 1.16.0's `GRPOConfig`.
///
/// TRL names surrogate and average together. This crate has them apart, as [`Clip`] and
/// [`Aggregation`](crate::Aggregation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LossType {
    /// The mean per completion, then over completions.
    Grpo,
    /// Every completion divided by the longest length allowed.
    DrGrpo,
    /// The mean over the tokens of the whole batch: TRL's default.
    Dapo,
    /// The mean over the tokens of the local batch.
    Bnpo,
    /// Clipped weights without gradient.
    Cispo,
    /// A sigmoid gate in place of a clip.
    Sapo,
    /// The sum per completion, then the mean over completions.
    Luspo,
    /// A smooth weight per completion in place of a clip.
    Vespo,
}

impl LossType {
    /// The member that TRL trains with this `loss_type` and its other settings as they are: epsilon
    /// 0.2 on both sides, no KL, token ratios (sequence ratios for `luspo` and `vespo`).
    ///
    /// CISPO gets the cap of 5 that TRL advises, as TRL's own default for it, 0.2, would be a cap
    /// below 1. `max_completion_length` is that of TRL, in tokens; only `dr_grpo` reads it.
    ///
    /// ```
    /// use rank_grpo::{LossConfig, LossType};
    ///
    /// assert_eq!(LossType::Bnpo.config(512), LossConfig::bnpo());
    /// ```
    #[must_use]
    pub fn config(self, max_completion_length: usize) -> LossConfig {
        let clip = LossConfig::bnpo().clip;
        let with_clip = |config: LossConfig| LossConfig {
            clip: Clip::clone(&clip),
            kl: None,
            ..config
        };
        match self {
            LossType::Grpo => with_clip(LossConfig::grpo()),
            LossType::DrGrpo => with_clip(LossConfig::dr_grpo(max_completion_length)),
            LossType::Dapo => with_clip(LossConfig::dapo()),
            LossType::Bnpo => LossConfig::bnpo(),
            LossType::Cispo => LossConfig::cispo(),
            LossType::Sapo => LossConfig::sapo(),
            LossType::Luspo => with_clip(LossConfig::luspo()),
            LossType::Vespo => LossConfig::vespo(),
        }
    }
}
