//! The independent choices of the loss family.

use serde::{Deserialize, Serialize};

use crate::{Clip, Correction};

/// The tokens that one importance ratio covers.
///
/// The log ratio of a token is the *mean* of `log pi_new - log pi_old` over its segment. A ratio is
/// therefore the geometric mean of the ratios of its tokens. The three levels differ in nothing but
/// the segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RatioLevel {
    /// Each token is a segment: GRPO, Dr.GRPO, DAPO, CISPO.
    Token,
    /// Each rank is a segment, as [`LossInputs::segments`](crate::LossInputs::segments) tells:
    /// Rank-GRPO.
    Rank,
    /// Each completion is a segment: GSPO, LUSPO, VESPO.
    Sequence,
}

/// The way in which the losses of the tokens become one number.
///
/// Each choice is a weight per token. The same mask decides which tokens are summed and which are
/// counted. R is the number of rows of the whole batch, M its number of tokens
/// ([`LossInputs::whole_batch`](crate::LossInputs::whole_batch)).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Aggregation {
    /// `1/R sum_rows mean_tokens l`: GRPO, GSPO, SAPO. A row without tokens counts as 0.
    RowMean,
    /// `1/M sum l`: DAPO, CISPO, VESPO. Without `whole_batch` it is TRL's `bnpo`, which the
    /// authors' runs used.
    TokenMean,
    /// `1/(R L) sum l` with a constant L: Dr.GRPO.
    ConstantLength(usize),
    /// `1/R sum_rows 1/D sum_ranks mean_tokens l`: the paper's Rank-GRPO. Tokens without a rank
    /// take no part.
    RankMean(RankCount),
    /// `1/R sum_rows sum_tokens l`: LUSPO.
    RowSum,
}

/// The D by which [`Aggregation::RankMean`] divides the sum over ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankCount {
    /// D = N, as in the paper's `1/(G N)`. A missing rank is a rank of loss 0.
    All,
    /// D = the row's number of segments that hold tokens. Short lists weigh as much as long ones.
    Present,
}

/// The penalty that keeps the policy near a reference policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kl {
    /// The weight of the penalty. At 0 the loss measures the KL and does not train on it.
    pub beta: f64,
    /// The estimator of one token's KL.
    #[serde(default)]
    pub estimator: KlEstimator,
    /// Whether each token's estimate is multiplied by its importance ratio, which makes it unbiased
    /// off-policy.
    #[serde(default)]
    pub use_bias_correction_kl: bool,
    /// The average over tokens. `None` takes that of the policy's losses. (The paper leaves it
    /// open.)
    #[serde(default)]
    pub aggregation: Option<Aggregation>,
}

/// An estimate of one token's KL(new || ref), with `d = log ref - log new`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// `-d`: unbiased as a number, but the expectation of its gradient is zero on-policy.
    K1,
    /// `exp(d) - d - 1`: never negative, low variance. TRL uses it.
    #[default]
    K3,
}

/// A member of the loss family. [`check`](Self::check) makes a [`Loss`](crate::Loss) of it, which
/// computes.
///
/// Start from a preset ([`LossConfig::paper`], [`LossConfig::grpo`], ...) and change fields. Where
/// TRL's `GRPOConfig` has a setting, the field has its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossConfig {
    /// The tokens that one importance ratio covers.
    pub importance_sampling_level: RatioLevel,
    /// The surrogate.
    pub clip: Clip,
    /// The average over tokens.
    pub aggregation: Aggregation,
    /// The KL penalty, if any.
    #[serde(default)]
    pub kl: Option<Kl>,
    /// The share of tokens, those of the highest entropy, that the policy loss trains on. 1 is all
    /// (arXiv 2506.01939).
    ///
    /// The threshold is the quantile of the given batch, so it differs between micro-batches. The
    /// KL stays on every token (quirk L5).
    #[serde(default = "all_tokens")]
    pub top_entropy_quantile: f64,
    /// The weight of the entropy bonus. The loss is less by this times the mean entropy of the
    /// tokens that the policy loss trains on.
    ///
    /// The mean is over tokens whatever the `aggregation`, as in TRL. Above 0 the loss needs
    /// entropies: [`LossInputs::entropies`](crate::LossInputs::entropies), or those of
    /// `PolicyOutput`. [`AdaptiveEntropy`](crate::AdaptiveEntropy) can choose it at each step.
    #[serde(default)]
    pub entropy_coef: f64,
    /// The correction for a sampler that is not the trainer, if any.
    #[serde(default)]
    pub correction: Option<Correction>,
    /// The largest mean of `log pi_sampler - log pi_new` of a completion, in nats a token.
    ///
    /// Beyond it, tokens of that completion with a negative advantage teach nothing, but are still
    /// counted. This is off-policy sequence masking (DeepSeek-V3.2; formula as in TRL 1.16.0).
    /// pi_sampler is `sampler_log_probs`, or `old_log_probs` without them.
    #[serde(default)]
    pub off_policy_mask_threshold: Option<f64>,
}

fn all_tokens() -> f64 {
    1.0
}
