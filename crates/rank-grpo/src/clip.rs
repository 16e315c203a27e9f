//! The surrogate: the treatment of ratios that are far from 1.

use serde::{Deserialize, Serialize};

/// The loss l of a token, from its importance ratio w and its advantage A.
///
/// Names of settings are those of TRL's `GRPOConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Clip {
    /// `l = -w A`: plain importance sampling.
    None,
    /// `l = -min(w A, clip(w, 1 - epsilon, 1 + epsilon_high) A)`: the pessimistic bound of PPO.
    ///
    /// TRL's `loss_type` `grpo`, `bnpo`, `dr_grpo`, `dapo` and `luspo` use it.
    Ppo {
        /// The distance below 1 up to which a ratio counts.
        epsilon: f64,
        /// The distance above 1 up to which a ratio counts. Above `epsilon` it is DAPO's
        /// "clip-higher".
        epsilon_high: f64,
        /// The cap of w in the first term (two-sided clipping, INTELLECT-2, arXiv 2505.07291).
        ///
        /// It bounds l where A is negative. A `delta` below `1 + epsilon_high` also ends the
        /// gradient of a positive advantage there (quirk L4).
        #[serde(default)]
        delta: Option<f64>,
    },
    /// `l = -stop_gradient(clamp(w, lowest, epsilon_high)) A log pi_new`: every token keeps a
    /// gradient.
    Cispo {
        /// The smallest weight itself. 0 clips from above only, as TRL does.
        #[serde(default)]
        lowest: f64,
        /// The largest weight itself, not its distance from 1. TRL has this meaning too.
        epsilon_high: f64,
    },
    /// `l = -(4 / tau) sigmoid(tau (w - 1)) A`: a gate in place of a clip.
    Sapo {
        /// tau where A is positive (`sapo_temperature_pos`).
        temperature_pos: f64,
        /// tau elsewhere (`sapo_temperature_neg`).
        temperature_neg: f64,
    },
    /// `l = -stop_gradient(phi(W)) A log pi_new` with `phi(W) = exp(lambda) W^k exp(-lambda W)`:
    /// a smooth weight that is 1 at W = 1 (VESPO, arXiv 2602.10693; formula as in TRL 1.16.0).
    ///
    /// W is the *product* of the ratios of the segment, not their geometric mean. At
    /// [`RatioLevel::Sequence`](crate::RatioLevel::Sequence) it is TRL's `vespo`. A log ratio of a
    /// token counts from -20 to 20, and W from 1e-8 to e^20. A [`correction`] must be at token
    /// level: its weights are factors of W instead of factors of the loss.
    ///
    /// [`correction`]: crate::LossConfig::correction
    Vespo {
        /// k where A is 0 or more. The larger it is, the faster small W lose weight.
        k_pos: f64,
        /// lambda where A is 0 or more. The larger it is, the faster large W lose weight.
        lambda_pos: f64,
        /// k where A is negative.
        k_neg: f64,
        /// lambda where A is negative.
        lambda_neg: f64,
    },
}
