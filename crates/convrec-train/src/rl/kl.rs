use serde::{Deserialize, Serialize};

/// A controller of the weight of the KL penalty. The weight grows where the KL is above the target,
/// and shrinks where it is below. It starts at `loss.kl.beta`. The rule is that of Ziegler et al.,
/// *Fine-Tuning Language Models from Human Preferences*, arXiv 1909.08593, section 2.2.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KlControl {
    /// The target KL, in nats a token.
    pub target: f64,
    /// Completions over which the weight can change by a factor of about 1.2, at most.
    pub horizon: f64,
}

impl KlControl {
    /// The weight after a step with this KL on this many completions.
    pub(super) fn next(&self, beta: f64, kl: f64, completions: usize) -> f64 {
        if !kl.is_finite() {
            return beta;
        }
        let error = (kl / self.target - 1.0).clamp(-0.2, 0.2);
        // A long step must not change the sign of the weight.
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
