//! The check that makes a [`Loss`] of a [`LossConfig`].

use thiserror::Error;

use crate::{Aggregation, Clip, Loss, LossConfig, RatioLevel};

/// A field of a [`LossConfig`], or of another setting of this crate, with an impossible value.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("loss config: `{field}` is {value}, expected {expected}")]
pub struct ConfigError {
    /// The path of the field, as in a configuration file.
    pub field: &'static str,
    /// The value that it holds.
    pub value: f64,
    /// The values that it may hold.
    pub expected: &'static str,
}

impl LossConfig {
    /// Checks the configuration, and returns the loss.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that is wrong.
    pub fn check(self) -> Result<Loss, ConfigError> {
        self.clip.check()?;
        self.aggregation.check("aggregation")?;
        if let Some(kl) = &self.kl {
            not_negative("kl.beta", kl.beta)?;
            kl.aggregation
                .as_ref()
                .map_or(Ok(()), |a| a.check("kl.aggregation"))?;
        }
        require(
            0.0 < self.top_entropy_quantile && self.top_entropy_quantile <= 1.0,
            "top_entropy_quantile",
            self.top_entropy_quantile,
            "a share above 0 and at most 1",
        )?;
        not_negative("entropy_coef", self.entropy_coef)?;
        if let Some(correction) = &self.correction {
            correction.check()?;
            let folded = matches!(self.clip, Clip::Vespo { .. });
            require(
                !folded || correction.level == RatioLevel::Token,
                "correction.level",
                correction.level as u8 as f64,
                "`token` (0) beside `clip.vespo`",
            )?;
        }
        let threshold = self.off_policy_mask_threshold.unwrap_or(0.0);
        not_negative("off_policy_mask_threshold", threshold)?;
        Ok(Loss::from_checked(self))
    }
}

impl Clip {
    fn check(&self) -> Result<(), ConfigError> {
        match *self {
            Clip::None => Ok(()),
            Clip::Ppo {
                epsilon,
                epsilon_high,
                delta,
            } => {
                not_negative("clip.ppo.epsilon", epsilon)?;
                not_negative("clip.ppo.epsilon_high", epsilon_high)?;
                let cap = delta.unwrap_or(2.0);
                require(
                    cap > 1.0 && cap.is_finite(),
                    "clip.ppo.delta",
                    cap,
                    "a finite number above 1",
                )
            }
            Clip::Cispo {
                lowest,
                epsilon_high,
            } => {
                not_negative("clip.cispo.lowest", lowest)?;
                require(
                    epsilon_high > 0.0 && epsilon_high >= lowest && epsilon_high.is_finite(),
                    "clip.cispo.epsilon_high",
                    epsilon_high,
                    "a finite number above 0, not below `lowest`",
                )
            }
            Clip::Sapo {
                temperature_pos,
                temperature_neg,
            } => {
                positive("clip.sapo.temperature_pos", temperature_pos)?;
                positive("clip.sapo.temperature_neg", temperature_neg)
            }
            Clip::Vespo {
                k_pos,
                lambda_pos,
                k_neg,
                lambda_neg,
            } => {
                positive("clip.vespo.k_pos", k_pos)?;
                positive("clip.vespo.lambda_pos", lambda_pos)?;
                positive("clip.vespo.k_neg", k_neg)?;
                positive("clip.vespo.lambda_neg", lambda_neg)
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

pub(crate) fn not_negative(field: &'static str, value: f64) -> Result<(), ConfigError> {
    require(
        value >= 0.0 && value.is_finite(),
        field,
        value,
        "a finite number, 0 or more",
    )
}

pub(crate) fn positive(field: &'static str, value: f64) -> Result<(), ConfigError> {
    require(
        value > 0.0 && value.is_finite(),
        field,
        value,
        "a finite number above 0",
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
