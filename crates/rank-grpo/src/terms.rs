//! The loss of one token and its derivatives.

use std::ops::{Add, Mul};

use crate::{Clip, Kl, KlEstimator};

/// The largest log ratio. A larger one counts as this (a ratio of e^20 = 4.9e8) and passes no
/// gradient.
///
/// Without a bound a ratio could overflow, and an infinite one times a zero advantage is NaN. A
/// ratio of this size is noise long before. There is no lower bound: ratios go to 0 smoothly.
pub const MAX_LOG_RATIO: f64 = 20.0;

/// An importance ratio and its derivative by its logarithm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    pub value: f64,
    slope: f64,
}

impl Ratio {
    pub fn from_log(log_ratio: f64) -> Self {
        let value = log_ratio.min(MAX_LOG_RATIO).exp();
        Ratio {
            value,
            slope: if log_ratio <= MAX_LOG_RATIO {
                value
            } else {
                0.0
            },
        }
    }
}

/// A token's loss, with its derivatives by the log ratio of the token's segment and by the token's
/// own log-probability.
#[derive(Clone, Copy, Default)]
pub(crate) struct Term {
    pub value: f64,
    pub by_log_ratio: f64,
    pub by_log_prob: f64,
}

impl Add for Term {
    type Output = Term;
    #[inline(always)]
    fn add(self, other: Term) -> Term {
        Term {
            value: self.value + other.value,
            by_log_ratio: self.by_log_ratio + other.by_log_ratio,
            by_log_prob: self.by_log_prob + other.by_log_prob,
        }
    }
}

impl Mul<f64> for Term {
    type Output = Term;
    #[inline(always)]
    fn mul(self, weight: f64) -> Term {
        Term {
            value: self.value * weight,
            by_log_ratio: self.by_log_ratio * weight,
            by_log_prob: self.by_log_prob * weight,
        }
    }
}

/// The side on which a ratio was clipped, where that changes what the advantage asks for.
#[derive(PartialEq, Eq)]
pub(crate) enum Clipped {
    Low,
    High,
    No,
}

impl Clip {
    /// The loss of a token; `phi` is VESPO's weight of its segment, and 0 elsewhere.
    #[inline(always)] // one call a token
    pub(crate) fn term(&self, ratio: Ratio, advantage: f64, log_prob: f64, phi: f64) -> Term {
        let through_ratio = |value: f64, slope: f64| Term {
            value,
            by_log_ratio: slope,
            by_log_prob: 0.0,
        };
        match *self {
            Clip::None => through_ratio(-ratio.value * advantage, -ratio.slope * advantage),
            Clip::Ppo {
                epsilon,
                epsilon_high,
                delta,
            } => {
                let range = Range::new(epsilon, epsilon_high, delta);
                let (value, slope) = ppo(ratio.value, ratio.slope, advantage, range);
                through_ratio(-value, -slope)
            }
            Clip::Cispo {
                lowest,
                epsilon_high,
            } => weighted(ratio.value.clamp(lowest, epsilon_high), advantage, log_prob),
            Clip::Vespo { .. } => weighted(phi, advantage, log_prob),
            Clip::Sapo {
                temperature_pos,
                temperature_neg,
            } => {
                let tau = if advantage > 0.0 {
                    temperature_pos
                } else {
                    temperature_neg
                };
                let gate = 1.0 / (1.0 + (-tau * (ratio.value - 1.0)).exp());
                through_ratio(
                    -4.0 / tau * gate * advantage,
                    -4.0 * gate * (1.0 - gate) * ratio.slope * advantage,
                )
            }
        }
    }

    /// The side on which a ratio was clipped. It judges the ratio after `delta`, as the authors'
    /// code does (quirk L4).
    #[inline(always)]
    pub(crate) fn clipped(&self, ratio: f64, advantage: f64) -> Clipped {
        let (lowest, highest, ratio) = match *self {
            Clip::Ppo {
                epsilon,
                epsilon_high,
                delta,
            } => {
                let range = Range::new(epsilon, epsilon_high, delta);
                (range.lowest, range.highest, range.capped(ratio))
            }
            Clip::Cispo {
                lowest,
                epsilon_high,
            } => (lowest, epsilon_high, ratio),
            Clip::None | Clip::Sapo { .. } | Clip::Vespo { .. } => return Clipped::No,
        };
        match () {
            () if ratio < lowest && advantage < 0.0 => Clipped::Low,
            () if ratio > highest && advantage > 0.0 => Clipped::High,
            () => Clipped::No,
        }
    }
}

/// `-w A log pi` with a weight w that has no gradient.
fn weighted(weight: f64, advantage: f64, log_prob: f64) -> Term {
    let by_log_prob = -weight * advantage;
    Term {
        value: by_log_prob * log_prob,
        by_log_ratio: 0.0,
        by_log_prob,
    }
}

/// VESPO's weights of a segment for advantages of 0 or more and for negative ones, from the
/// logarithm of its W. They are 0 for other surrogates.
pub(crate) fn vespo_weights(clip: &Clip, log_w: f64) -> [f64; 2] {
    let Clip::Vespo {
        k_pos,
        lambda_pos,
        k_neg,
        lambda_neg,
    } = *clip
    else {
        return [0.0; 2];
    };
    let log_w = log_w.clamp(1e-8_f64.ln(), 20.0);
    // A k far above lambda makes a weight that f32 cannot hold: it is bounded as ratios are.
    let phi = |k: f64, lambda: f64| {
        (lambda + k * log_w - lambda * log_w.exp())
            .min(MAX_LOG_RATIO)
            .exp()
    };
    [phi(k_pos, lambda_pos), phi(k_neg, lambda_neg)]
}

/// The clip of PPO.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub lowest: f64,
    pub highest: f64,
    /// The cap of the ratio; infinity for none.
    delta: f64,
}

impl Range {
    pub fn new(epsilon: f64, epsilon_high: f64, delta: Option<f64>) -> Self {
        Range {
            lowest: 1.0 - epsilon,
            highest: 1.0 + epsilon_high,
            delta: delta.unwrap_or(f64::INFINITY),
        }
    }

    #[inline(always)]
    pub fn capped(self, ratio: f64) -> f64 {
        if ratio <= self.delta {
            ratio
        } else {
            self.delta
        }
    }
}

/// `min(min(w, delta) A, clamp(w, range) A)` and its derivative by `log w`, of which `w_slope` is
/// that of w. It has no branches, so that a loop over tokens becomes vector instructions.
#[inline(always)]
pub(crate) fn ppo(w: f64, w_slope: f64, advantage: f64, range: Range) -> (f64, f64) {
    let free = range.capped(w) * advantage;
    let free_slope = if w <= range.delta { w_slope } else { 0.0 };
    let raised = if w < range.lowest { range.lowest } else { w };
    let clamped = if raised > range.highest {
        range.highest
    } else {
        raised
    };
    let clipped = clamped * advantage;
    let clipped_slope = if clamped == w { w_slope } else { 0.0 };
    // A tie is shared, as automatic differentiation does; inside the range both sides are the same.
    let shared = (free_slope + clipped_slope) / 2.0;
    let not_less = if free > clipped {
        clipped_slope
    } else {
        shared
    };
    let slope = if free < clipped { free_slope } else { not_less };
    let value = if free < clipped { free } else { clipped };
    (value, slope * advantage)
}

impl Kl {
    /// The penalty of a token, before beta.
    #[inline(always)]
    pub(crate) fn term(&self, log_prob: f64, ref_log_prob: f64, ratio: Ratio) -> Term {
        let d = ref_log_prob - log_prob;
        let (value, by_log_prob) = match self.estimator {
            KlEstimator::K1 => (-d, 1.0),
            KlEstimator::K3 if d > MAX_LOG_RATIO => {
                (MAX_LOG_RATIO.exp() - MAX_LOG_RATIO - 1.0, 0.0)
            }
            KlEstimator::K3 => {
                let growth = d.exp_m1();
                (growth - d, -growth)
            }
        };
        if self.use_bias_correction_kl {
            Term {
                value: value * ratio.value,
                by_log_ratio: value * ratio.slope,
                by_log_prob: by_log_prob * ratio.value,
            }
        } else {
            Term {
                value,
                by_log_ratio: 0.0,
                by_log_prob,
            }
        }
    }
}
