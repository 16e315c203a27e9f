//! Settings of the loss that follow the run: the entropy's weight and the reference policy.

use serde::{Deserialize, Serialize};

use crate::check::{ConfigError, not_negative, positive, require};

/// Adaptive entropy control (Skywork-OR1, arXiv 2505.22312; rule, names and defaults as in TRL
/// 1.16.0).
///
/// After each step, the coefficient grows by `entropy_coef_delta` where the entropy was at or below
/// `entropy_target`, and shrinks by it elsewhere, within its bounds. It is applied only after a
/// step whose entropy was at or below the target. Keep the struct in the checkpoint: it holds its
/// state.
///
/// ```
/// use rank_grpo::{AdaptiveEntropy, LossConfig};
///
/// let mut control = AdaptiveEntropy {
///     entropy_target: 0.5,
///     ..AdaptiveEntropy::default()
/// };
/// for entropy in [0.8, 0.4, 0.3] {
///     let config = LossConfig {
///         entropy_coef: control.applied(),
///         ..LossConfig::paper()
///     };
///     // ... a step with this loss, whose mean entropy (`Metrics::entropy`) is `entropy` ...
///     control.update(entropy);
/// }
/// assert_eq!(control.applied(), 0.01);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveEntropy {
    /// The coefficient of the next step, before the comparison with the target.
    pub entropy_coef: f64,
    /// The smallest coefficient.
    pub entropy_coef_min: f64,
    /// The largest coefficient.
    pub entropy_coef_max: f64,
    /// The change of the coefficient at each step.
    pub entropy_coef_delta: f64,
    /// The mean entropy of a token, in nats, below which the bonus acts.
    pub entropy_target: f64,
    /// The mean entropy of the last step; `None` before the first.
    pub last_entropy: Option<f64>,
}

impl Default for AdaptiveEntropy {
    fn default() -> Self {
        AdaptiveEntropy {
            entropy_coef: 0.0,
            entropy_coef_min: 0.0,
            entropy_coef_max: 1.0,
            entropy_coef_delta: 0.005,
            entropy_target: 0.2,
            last_entropy: None,
        }
    }
}

impl AdaptiveEntropy {
    /// Checks the numbers, as after reading them from a file.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        not_negative("entropy_coef", self.entropy_coef)?;
        not_negative("entropy_coef_min", self.entropy_coef_min)?;
        let ordered = self.entropy_coef_max.is_finite();
        require(
            ordered && self.entropy_coef_max >= self.entropy_coef_min,
            "entropy_coef_max",
            self.entropy_coef_max,
            "a finite number, not below `entropy_coef_min`",
        )?;
        not_negative("entropy_coef_delta", self.entropy_coef_delta)?;
        not_negative("entropy_target", self.entropy_target)
    }

    /// The [`entropy_coef`](crate::LossConfig::entropy_coef) of the next step.
    #[must_use]
    pub fn applied(&self) -> f64 {
        match self.last_entropy {
            Some(entropy) if entropy <= self.entropy_target => self.entropy_coef,
            _ => 0.0,
        }
    }

    /// Takes in the mean entropy of a step, in nats. One that is not finite changes nothing.
    pub fn update(&mut self, entropy: f64) {
        if !entropy.is_finite() {
            return;
        }
        self.entropy_coef = if entropy <= self.entropy_target {
            (self.entropy_coef + self.entropy_coef_delta).min(self.entropy_coef_max)
        } else {
            (self.entropy_coef - self.entropy_coef_delta).max(self.entropy_coef_min)
        };
        self.last_entropy = Some(entropy);
    }
}

/// A reference policy that follows the policy in training (TR-DPO, arXiv 2404.09656; TRL's
/// `sync_ref_model`, with its names and defaults).
///
/// Every `ref_model_sync_steps` steps, each weight of the reference becomes
/// `alpha * policy + (1 - alpha) * reference`. The loss needs nothing new: compute
/// `ref_log_probs` with the new reference.
///
/// ```
/// use rank_grpo::RefModelSync;
///
/// let sync = RefModelSync {
///     ref_model_mixup_alpha: 0.25,
///     ref_model_sync_steps: 2,
/// };
/// let mut reference = [0.0_f32, 4.0];
/// for step in 1..=2 {
///     if sync.is_due(step) {
///         sync.mix(&mut reference, &[4.0, 0.0]);
///     }
/// }
/// assert_eq!(reference, [1.0, 3.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RefModelSync {
    /// alpha: the share of the policy in training, from 0 to 1.
    pub ref_model_mixup_alpha: f64,
    /// The number of steps from one synchronisation to the next.
    pub ref_model_sync_steps: usize,
}

impl Default for RefModelSync {
    fn default() -> Self {
        RefModelSync {
            ref_model_mixup_alpha: 0.6,
            ref_model_sync_steps: 512,
        }
    }
}

impl RefModelSync {
    /// Checks the numbers, as after reading them from a file.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        let alpha = self.ref_model_mixup_alpha;
        require(
            (0.0..=1.0).contains(&alpha),
            "ref_model_mixup_alpha",
            alpha,
            "a number from 0 to 1",
        )?;
        positive("ref_model_sync_steps", self.ref_model_sync_steps as f64)
    }

    /// Whether the reference follows after this many steps, counted from 1.
    #[must_use]
    pub fn is_due(&self, steps: usize) -> bool {
        steps > 0
            && self.ref_model_sync_steps > 0
            && steps.is_multiple_of(self.ref_model_sync_steps)
    }

    /// Mixes the policy's weights into the reference's, number by number. Numbers without a
    /// counterpart stay.
    pub fn mix(&self, reference: &mut [f32], policy: &[f32]) {
        let alpha = self.ref_model_mixup_alpha;
        for (reference, policy) in reference.iter_mut().zip(policy) {
            let mixed = alpha * f64::from(*policy) + (1.0 - alpha) * f64::from(*reference);
            *reference = mixed as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coefficient_stays_in_its_range_and_waits_for_the_target() {
        let mut control = AdaptiveEntropy {
            entropy_coef_max: 0.008,
            ..AdaptiveEntropy::default()
        };
        assert_eq!(control.applied(), 0.0, "nothing before the first step");
        let found: Vec<(f64, f64)> = [0.1, 0.2, 0.3, f64::NAN, 0.1, 5.0, 5.0]
            .into_iter()
            .map(|entropy| {
                control.update(entropy);
                (control.entropy_coef, control.applied())
            })
            .collect();
        let expected = [
            (0.005, 0.005),
            (0.008, 0.008),
            (0.003, 0.0),
            (0.003, 0.0),
            (0.008, 0.008),
            (0.003, 0.0),
            (0.0, 0.0),
        ];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found.0 - expected.0).abs() < 1e-12 && (found.1 - expected.1).abs() < 1e-12);
        }
        let text = serde_json::to_string(&control).unwrap();
        assert_eq!(
            serde_json::from_str::<AdaptiveEntropy>(&text).unwrap(),
            control
        );
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_by_name() {
        let entropy = AdaptiveEntropy::default();
        let max = AdaptiveEntropy {
            entropy_coef_max: -1.0,
            ..entropy
        };
        assert_eq!(max.check().unwrap_err().field, "entropy_coef_max");
        let sync = RefModelSync {
            ref_model_mixup_alpha: 1.5,
            ..RefModelSync::default()
        };
        assert_eq!(sync.check().unwrap_err().field, "ref_model_mixup_alpha");
        let never = RefModelSync {
            ref_model_sync_steps: 0,
            ..RefModelSync::default()
        };
        assert_eq!(never.check().unwrap_err().field, "ref_model_sync_steps");
        assert!(!never.is_due(5) && !RefModelSync::default().is_due(0));
        assert!(entropy.check().is_ok() && RefModelSync::default().check().is_ok());
    }
}
