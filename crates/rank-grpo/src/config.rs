//! The independent choices of the loss family, and the check that makes a [`Loss`] of them.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Correction, Loss};

/// What one importance ratio covers.
///
/// The log ratio of a token is the *mean* of `log pi_new - log pi_old` over its segment, so a ratio
/// is the geometric mean of its tokens' ratios. The three levels differ in nothing but the
/// segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RatioLevel {
    /// Each token is a segment: GRPO, Dr.GRPO, DAPO, CISPO.
    Token,
    /// Each rank is a segment, as [`LossInputs::segments`](crate::LossInputs::segments) tells:
    /// Rank-GRPO.
    Rank,
    /// Each completion is a segment: GSPO, LUSPO.
    Sequence,
}

/// How an importance ratio w and an advantage A become the loss l of a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Clip {
    /// `l = -w A`: plain importance sampling.
    None,
    /// `l = -min(w A, clip(w, 1 - low, 1 + high) A)`, the pessimistic bound of PPO.
    Ppo {
        /// How far below 1 a ratio counts.
        low: f64,
        /// How far above 1 a ratio counts ("clip-higher" where it exceeds `low`).
        high: f64,
        /// Two-sided (dual) clipping: w in the first term is at most `delta`, which bounds l where
        /// A is negative. A `delta` below `1 + high` also ends the gradient of a positive
        /// advantage there (quirk L4).
        #[serde(default)]
        delta: Option<f64>,
    },
    /// `l = -stop_gradient(clamp(w, lowest, highest)) A log pi_new`: no token loses its gradient.
    Cispo {
        /// The smallest weight itself; 0 clips from above only.
        lowest: f64,
        /// The largest weight itself, not its distance from 1.
        highest: f64,
    },
    /// `l = -(4 / tau) sigmoid(tau (w - 1)) A`, tau by the sign of A: a gate in place of a clip.
    Sapo {
        /// tau where A is positive.
        positive: f64,
        /// tau elsewhere.
        negative: f64,
    },
}

/// How the losses of the tokens become one number.
///
/// Each is a weight per token, and the same mask decides which tokens are summed and which are
/// counted. R is the number of rows of the whole batch, M its number of tokens
/// ([`LossInputs::whole_batch`](crate::LossInputs::whole_batch)).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Aggregation {
    /// `1/R sum_rows mean_tokens l`: GRPO, GSPO. A row without tokens counts as 0.
    RowMean,
    /// `1/M sum l`: DAPO; without `whole_batch` it is TRL's `bnpo`, which the authors' runs used.
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
    /// D = N, the paper's `1/(G N)`: a missing rank is a rank of loss 0.
    All,
    /// D = the row's number of segments that hold tokens: short lists weigh as much as long ones.
    Present,
}

/// The penalty that keeps the policy near a reference policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kl {
    /// The penalty's weight; 0 measures the KL and does not train on it.
    pub beta: f64,
    /// The estimator of one token's KL.
    #[serde(default)]
    pub estimator: KlEstimator,
    /// Multiply each token's estimate by its importance ratio, which makes it unbiased off-policy.
    #[serde(default)]
    pub bias_corrected: bool,
    /// How tokens are averaged; `None` as the policy's losses are. (The paper leaves it open.)
    #[serde(default)]
    pub aggregation: Option<Aggregation>,
}

/// An estimate of one token's KL(new || ref) from its log-probabilities, with `d = log ref - log
/// new`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// `-d`: unbiased as a number, but the expectation of its gradient is zero on-policy.
    K1,
    /// `exp(d) - d - 1`: never negative, low variance.
    #[default]
    K3,
}

/// A member of the loss family. Only a checked one, a [`Loss`], can compute.
///
/// Start from a preset ([`LossConfig::paper`], [`LossConfig::grpo`], ...) and change fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossConfig {
    /// What one importance ratio covers.
    pub ratio: RatioLevel,
    /// The surrogate.
    pub clip: Clip,
    /// How tokens are averaged.
    pub aggregation: Aggregation,
    /// The KL penalty, if any.
    #[serde(default)]
    pub kl: Option<Kl>,
    /// The share of tokens, those of the highest entropy, that the policy loss trains on; 1 is
    /// all. The threshold is the batch's own quantile, so it differs between micro-batches.
    /// The KL stays on every token (quirk L5).
    #[serde(default = "all_tokens")]
    pub top_entropy: f64,
    /// The weight of the entropy bonus: the mean entropy of the tokens that count, averaged as
    /// their losses are, times this is taken off the loss. Above 0 it needs
    /// [`Loss::forward_with_entropies`].
    #[serde(default)]
    pub entropy_bonus: f64,
    /// The correction for a sampler that is not the trainer, if any.
    #[serde(default)]
    pub correction: Option<Correction>,
}

fn all_tokens() -> f64 {
    1.0
}

/// A field of a [`LossConfig`] that cannot be.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("loss config: `{field}` is {value}, expected {expected}")]
pub struct ConfigError {
    /// The field's path, as in a configuration file.
    pub field: &'static str,
    /// What it holds.
    pub value: f64,
    /// What it may hold.
    pub expected: &'static str,
}

impl LossConfig {
    /// The loss, if the choices make sense.
    ///
    /// # Errors
    /// Names the first field that does not.
    pub fn check(self) -> Result<Loss, ConfigError> {
        self.clip.check()?;
        self.aggregation.check("aggregation")?;
        if let Some(kl) = &self.kl {
            not_negative("kl.beta", kl.beta)?;
            kl.aggregation
                .as_ref()
                .map_or(Ok(()), |a| a.check("kl.aggregation"))?;
        }
        let share = 0.0 < self.top_entropy && self.top_entropy <= 1.0;
        require(
            share,
            "top_entropy",
            self.top_entropy,
            "a share above 0 and at most 1",
        )?;
        not_negative("entropy_bonus", self.entropy_bonus)?;
        self.correction.as_ref().map_or(Ok(()), Correction::check)?;
        Ok(Loss::from_checked(self))
    }
}

impl Clip {
    fn check(&self) -> Result<(), ConfigError> {
        match *self {
            Clip::None => Ok(()),
            Clip::Ppo { low, high, delta } => {
                not_negative("clip.ppo.low", low)?;
                not_negative("clip.ppo.high", high)?;
                let cap = delta.unwrap_or(2.0);
                require(
                    cap > 1.0 && cap.is_finite(),
                    "clip.ppo.delta",
                    cap,
                    "a finite number above 1",
                )
            }
            Clip::Cispo { lowest, highest } => {
                not_negative("clip.cispo.lowest", lowest)?;
                let ordered = highest > 0.0 && highest >= lowest && highest.is_finite();
                require(
                    ordered,
                    "clip.cispo.highest",
                    highest,
                    "a finite number above 0, not below `lowest`",
                )
            }
            Clip::Sapo { positive, negative } => {
                let tau = |tau: f64| tau > 0.0 && tau.is_finite();
                require(
                    tau(positive),
                    "clip.sapo.positive",
                    positive,
                    "a finite number above 0",
                )?;
                require(
                    tau(negative),
                    "clip.sapo.negative",
                    negative,
                    "a finite number above 0",
                )
            }
        }
    }
}

impl Aggregation {
    fn check(&self, field: &'static str) -> Result<(), ConfigError> {
        let empty = matches!(self, Aggregation::ConstantLength(0));
        require(!empty, field, 0.0, "a constant length of at least 1 token")
    }
}

fn not_negative(field: &'static str, value: f64) -> Result<(), ConfigError> {
    require(
        value >= 0.0 && value.is_finite(),
        field,
        value,
        "a finite number, 0 or more",
    )
}

pub(crate) fn require(
    holds: bool,
    field: &'static str,
    value: f64,
    expected: &'static str,
) -> Result<(), ConfigError> {
    if holds {
        Ok(())
    } else {
        Err(ConfigError {
            field,
            value,
            expected,
        })
    }
}
