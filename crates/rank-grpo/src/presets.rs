//! The named members of the family, with the numbers that their sources give.

use crate::{Aggregation, Clip, Kl, KlEstimator, LossConfig, RankCount, RatioLevel};

/// Presets. A preset says so where its source leaves a number open.
impl LossConfig {
    /// Rank-GRPO as the paper states it (arXiv 2510.20150): ratio, clip and mean are per rank, and
    /// each row is divided by N.
    ///
    /// Epsilon is 0.06 and 0.08, beta is 1e-3. The paper does not fix how the KL is averaged. Here
    /// it is averaged as the policy's losses are.
    #[must_use]
    pub fn paper() -> Self {
        LossConfig {
            aggregation: Aggregation::RankMean(RankCount::All),
            ..Self::authors()
        }
    }

    /// Rank-GRPO as the authors' public code runs it.
    ///
    /// It is [`paper`](Self::paper) with a mean over *tokens*, so that a long title weighs more
    /// than a short one (quirk L1). TRL's default `loss_type` of that time, `bnpo`, does the same.
    #[must_use]
    pub fn authors() -> Self {
        LossConfig {
            kl: Some(k3(1e-3)),
            ..member(RatioLevel::Rank, ppo(0.06, 0.08), Aggregation::TokenMean)
        }
    }

    /// GRPO (DeepSeekMath, arXiv 2402.03300): token ratios, a mean per completion, then a mean over
    /// completions.
    ///
    /// Beta is 0.04. The paper gives no epsilon; 0.2 is the customary one.
    #[must_use]
    pub fn grpo() -> Self {
        LossConfig {
            kl: Some(k3(0.04)),
            ..member(RatioLevel::Token, ppo(0.2, 0.2), Aggregation::RowMean)
        }
    }

    /// TRL's `bnpo`: [`grpo`](Self::grpo) without KL, averaged over all tokens of the batch.
    #[must_use]
    pub fn bnpo() -> Self {
        member(RatioLevel::Token, ppo(0.2, 0.2), Aggregation::TokenMean)
    }

    /// GSPO (arXiv 2507.18071, section 5.1): one ratio per completion, epsilon 3e-4 and 4e-4, no
    /// KL.
    #[must_use]
    pub fn gspo() -> Self {
        member(RatioLevel::Sequence, ppo(3e-4, 4e-4), Aggregation::RowMean)
    }

    /// LUSPO (arXiv 2602.05261): GSPO with each completion weighted by its length.
    #[must_use]
    pub fn luspo() -> Self {
        LossConfig {
            aggregation: Aggregation::RowSum,
            ..Self::gspo()
        }
    }

    /// Dr.GRPO (arXiv 2503.20783): every row is divided by one constant.
    ///
    /// `max_completion_length` is the longest completion allowed, in tokens. Epsilon is 0.2, and
    /// there is no KL. The method also wants advantages without a standard deviation,
    /// [`ScaleRewards::None`](crate::ScaleRewards::None) (quirk L7).
    #[must_use]
    pub fn dr_grpo(max_completion_length: usize) -> Self {
        let aggregation = Aggregation::ConstantLength(max_completion_length);
        member(RatioLevel::Token, ppo(0.2, 0.2), aggregation)
    }

    /// DAPO's loss (arXiv 2503.14476, section 4.1): clip-higher with epsilon 0.2 and 0.28, a mean
    /// over the tokens of the whole batch, no KL.
    ///
    /// With gradient accumulation, give
    /// [`LossInputs::whole_batch`](crate::LossInputs::whole_batch).
    #[must_use]
    pub fn dapo() -> Self {
        member(RatioLevel::Token, ppo(0.2, 0.28), Aggregation::TokenMean)
    }

    /// CISPO (MiniMax-M1, arXiv 2506.13585): clipped weights without gradient, a mean over the
    /// tokens of the whole batch, no KL.
    ///
    /// It clips from above only, as in the runs of that paper. The paper does not print the bound;
    /// TRL advises 5.
    #[must_use]
    pub fn cispo() -> Self {
        let clip = Clip::Cispo {
            lowest: 0.0,
            epsilon_high: 5.0,
        };
        member(RatioLevel::Token, clip, Aggregation::TokenMean)
    }

    /// SAPO (arXiv 2511.20347): a sigmoid gate with temperature 1 for positive and 1.05 for other
    /// advantages, no KL.
    #[must_use]
    pub fn sapo() -> Self {
        let clip = Clip::Sapo {
            temperature_pos: 1.0,
            temperature_neg: 1.05,
        };
        member(RatioLevel::Token, clip, Aggregation::RowMean)
    }

    /// VESPO (arXiv 2602.10693): a smooth weight on the product of a completion's ratios, a mean
    /// over the tokens of the whole batch, no KL.
    ///
    /// The numbers are the defaults of TRL 1.16.0: k 2 and 3, lambda 3 and 2.
    #[must_use]
    pub fn vespo() -> Self {
        let clip = Clip::Vespo {
            k_pos: 2.0,
            lambda_pos: 3.0,
            k_neg: 3.0,
            lambda_neg: 2.0,
        };
        member(RatioLevel::Sequence, clip, Aggregation::TokenMean)
    }

    /// GRPO with two-sided clipping (INTELLECT-2, arXiv 2505.07291): `delta` bounds the loss of
    /// tokens with a negative advantage.
    ///
    /// Take a `delta` above 1.2, which is 1 plus epsilon. There is no KL.
    #[must_use]
    pub fn two_sided(delta: f64) -> Self {
        let clip = Clip::Ppo {
            epsilon: 0.2,
            epsilon_high: 0.2,
            delta: Some(delta),
        };
        member(RatioLevel::Token, clip, Aggregation::RowMean)
    }

    /// The loss of Sibling-GRPO on the tokens that chose between siblings (V-STAR, arXiv
    /// 2602.10699).
    ///
    /// It takes token ratios without a clip, a mean over those tokens, and a KL of beta 1e-3, as
    /// the authors' code has it. [`sibling_advantages`](crate::sibling_advantages) makes the
    /// advantages. Mask out the tokens whose advantage is 0. The method adds this loss to that of
    /// GRPO on the same batch.
    #[must_use]
    pub fn sibling_grpo() -> Self {
        LossConfig {
            kl: Some(k3(1e-3)),
            ..member(RatioLevel::Token, Clip::None, Aggregation::TokenMean)
        }
    }
}

fn member(
    importance_sampling_level: RatioLevel,
    clip: Clip,
    aggregation: Aggregation,
) -> LossConfig {
    LossConfig {
        importance_sampling_level,
        clip,
        aggregation,
        kl: None,
        top_entropy_quantile: 1.0,
        entropy_coef: 0.0,
        correction: None,
        off_policy_mask_threshold: None,
    }
}

fn ppo(epsilon: f64, epsilon_high: f64) -> Clip {
    Clip::Ppo {
        epsilon,
        epsilon_high,
        delta: None,
    }
}

fn k3(beta: f64) -> Kl {
    Kl {
        beta,
        estimator: KlEstimator::K3,
        use_bias_correction_kl: false,
        aggregation: None,
    }
}
