use serde::{Deserialize, Serialize};

/// A weight of the KL penalty that follows the KL: it grows where the KL is above the target, and
/// shrinks where it is below (Ziegler et al., *Fine-Tuning Language Models from Human Preferences*,
/// arXiv 1909.08593, section 2.2). It starts at `loss.kl.beta`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KlControl {
    /// The KL that is wanted, in nats a token.
    pub target: f64,
    /// Completions over which the weight can change by a factor of about 1.2, at most.
    pub horizon: f64,
}

impl KlControl {
    /// The weight after a step with this KL on so many completions.
    pub(super) fn next(&self, beta: f64, kl: f64, completions: usize) -> f64 {
        if !kl.is_finite() {
            return beta;
        }
        let error = (kl / self.target - 1.0).clamp(-0.2, 0.2);
        // Long steps may not turn the sign.
        beta * (1.0 + error * (completions as f64 / self.horizon).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_follows_the_kl() {
        let control = KlControl {
            target: 0.1,
            horizon: 100.0,
        };
        assert_eq!(control.next(0.5, 0.1, 10), 0.5);
        assert!((control.next(0.5, 0.11, 10) - 0.5 * 1.01).abs() < 1e-12);
        assert!((control.next(0.5, 7.0, 10) - 0.5 * 1.02).abs() < 1e-12);
        assert!((control.next(0.5, 0.0, 10) - 0.5 * 0.98).abs() < 1e-12);
        assert!((control.next(0.5, 7.0, 10_000) - 0.6).abs() < 1e-12);
        assert_eq!(control.next(0.5, f64::NAN, 10), 0.5);
    }
}
