//! The family's named members, with the numbers their sources give.

use crate::{Aggregation, Clip, Kl, KlEstimator, LossConfig, RankCount, RatioLevel};

/// Presets. Numbers that a source leaves open are said to be so.
impl LossConfig {
    /// Rank-GRPO as the paper states it (arXiv 2510.20150): ratio, clip and mean per rank, each row
    /// divided by N.
    ///
    /// eps 0.06 / 0.08, beta 1e-3. The paper does not fix how the KL is averaged; here it is as the
    /// policy's losses.
    pub fn paper() -> Self {
        LossConfig {
            aggregation: Aggregation::RankMean(RankCount::All),
            ..Self::authors()
        }
    }

    /// Rank-GRPO as the authors' public code runs it: as [`paper`](Self::paper), but the mean is
    /// over *tokens*, so that a long title weighs more than a short one (quirk L1; TRL's
    /// default `loss_type` of that time, `bnpo`).
    pub fn authors() -> Self {
        let kl = Kl {
            beta: 1e-3,
            estimator: KlEstimator::K3,
            bias_corrected: false,
            aggregation: None,
        };
        LossConfig {
            ratio: RatioLevel::Rank,
            clip: ppo(0.06, 0.08),
            aggregation: Aggregation::TokenMean,
            kl: Some(kl),
            top_entropy: 1.0,
            entropy_bonus: 0.0,
            correction: None,
        }
    }

    /// GRPO (DeepSeekMath, arXiv 2402.03300): token ratios, mean per completion, then over
    /// completions.
    ///
    /// beta 0.04. The paper gives no eps; 0.2 is the customary one.
    pub fn grpo() -> Self {
        let kl = Kl {
            beta: 0.04,
            estimator: KlEstimator::K3,
            bias_corrected: false,
            aggregation: None,
        };
        LossConfig {
            kl: Some(kl),
            ..member(RatioLevel::Token, ppo(0.2, 0.2), Aggregation::RowMean)
        }
    }

    /// TRL's `bnpo`: [`grpo`](Self::grpo) without KL, averaged over all tokens of the batch.
    pub fn bnpo() -> Self {
        member(RatioLevel::Token, ppo(0.2, 0.2), Aggregation::TokenMean)
    }

    /// GSPO (arXiv 2507.18071, section 5.1): one ratio per completion, eps 3e-4 / 4e-4, no KL.
    pub fn gspo() -> Self {
        member(RatioLevel::Sequence, ppo(3e-4, 4e-4), Aggregation::RowMean)
    }

    /// LUSPO (arXiv 2602.05261): GSPO with each completion weighted by its length.
    pub fn luspo() -> Self {
        LossConfig {
            aggregation: Aggregation::RowSum,
            ..Self::gspo()
        }
    }

    /// Dr.GRPO (arXiv 2503.20783): every row divided by one constant, `max_tokens`, the longest
    /// completion allowed.
    ///
    /// eps 0.2, no KL. It also wants advantages without standard deviation,
    /// [`Scale::None`](crate::Scale::None) (quirk L7).
    pub fn dr_grpo(max_tokens: usize) -> Self {
        member(
            RatioLevel::Token,
            ppo(0.2, 0.2),
            Aggregation::ConstantLength(max_tokens),
        )
    }

    /// DAPO's loss (arXiv 2503.14476, section 4.1): clip-higher, eps 0.2 / 0.28, mean over the
    /// tokens of the whole batch, no KL.
    ///
    /// Under gradient accumulation give
    /// [`LossInputs::whole_batch`](crate::LossInputs::whole_batch).
    pub fn dapo() -> Self {
        member(RatioLevel::Token, ppo(0.2, 0.28), Aggregation::TokenMean)
    }

    /// CISPO (MiniMax-M1, arXiv 2506.13585): clipped weights without gradient, mean over the tokens
    /// of the whole batch, no KL.
    ///
    /// Clipped from above only, as in that paper's runs. It does not print the bound; 5 is TRL's
    /// advice.
    pub fn cispo() -> Self {
        member(
            RatioLevel::Token,
            Clip::Cispo {
                lowest: 0.0,
                highest: 5.0,
            },
            Aggregation::TokenMean,
        )
    }

    /// SAPO (arXiv 2511.20347): a sigmoid gate, tau 1 for positive and 1.05 for other advantages,
    /// no KL.
    pub fn sapo() -> Self {
        member(
            RatioLevel::Token,
            Clip::Sapo {
                positive: 1.0,
                negative: 1.05,
            },
            Aggregation::RowMean,
        )
    }
}

fn member(ratio: RatioLevel, clip: Clip, aggregation: Aggregation) -> LossConfig {
    LossConfig {
        ratio,
        clip,
        aggregation,
        kl: None,
        top_entropy: 1.0,
        entropy_bonus: 0.0,
        correction: None,
    }
}

fn ppo(low: f64, high: f64) -> Clip {
    Clip::Ppo {
        low,
        high,
        delta: None,
    }
}
