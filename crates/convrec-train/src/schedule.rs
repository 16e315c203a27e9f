use serde::{Deserialize, Serialize};

/// The schedule of the learning rate: a factor for every step, so that a resumed run needs no
/// state.
///
/// The factors are those of transformers' schedules. burn's linear and cosine schedulers give the
/// same ones without a warm-up. burn 0.22 lacks a warm-up that starts at 0: its linear scheduler
/// refuses to, and its Noam scheduler starts at step 1. Its schedulers also count their calls,
/// which would be state to store.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Schedule {
    /// 1 after the warm-up.
    Constant,
    /// From 1 to 0 along a straight line.
    Linear,
    /// From 1 to 0 along half a cosine.
    Cosine,
    /// 1, and `factor` from step `after` on. The paper's 3B run goes from 1e-6 to 1e-7 after 8,000
    /// steps.
    Step {
        /// The first update at the second rate, counting those of the warm-up. A step of
        /// reinforcement learning may have several updates.
        after: usize,
        /// The factor of the rate.
        factor: f64,
    },
}

impl Schedule {
    pub(crate) fn is_sensible(self) -> bool {
        match self {
            Schedule::Step { factor, .. } => (0.0..=1.0).contains(&factor),
            _ => true,
        }
    }

    /// The factor at `step` (from 0) of a run of `total` steps, the first `warmup` of which rise
    /// from 0 along a line.
    pub fn factor(self, step: usize, warmup: usize, total: usize) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let progress = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
        match self {
            Schedule::Constant => 1.0,
            Schedule::Step { after, factor } => {
                if step < after {
                    1.0
                } else {
                    factor
                }
            }
            Schedule::Linear => (1.0 - progress).max(0.0),
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        id: String,
        kind: String,
        total_steps: usize,
        warmup_steps: usize,
        multiplier: Vec<f64>,
    }

    #[test]
    fn a_step_falls_once() {
        let schedule = Schedule::Step {
            after: 4,
            factor: 0.1,
        };
        let factors: Vec<f64> = (0..6).map(|step| schedule.factor(step, 2, 6)).collect();
        assert_eq!(factors, [0.0, 0.5, 1.0, 1.0, 0.1, 0.1]);
    }

    #[test]
    fn golden_schedules() {
        let golden: Golden = convrec_testdata::golden_as("schedule.json");
        for case in golden.cases {
            let schedule = match case.kind.as_str() {
                "cosine" => Schedule::Cosine,
                "linear" => Schedule::Linear,
                "constant_with_warmup" => Schedule::Constant,
                other => panic!("unknown schedule {other}"),
            };
            for (step, expected) in case.multiplier.iter().enumerate() {
                let factor = schedule.factor(step, case.warmup_steps, case.total_steps);
                assert!(
                    (factor - expected).abs() < 1e-12,
                    "{} at step {step}: {factor}, expected {expected}",
                    case.id
                );
            }
        }
    }
}
