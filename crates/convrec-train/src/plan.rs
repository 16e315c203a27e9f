//! Estimates the cost of a run from three of its steps.

use convrec_watch::{Observer, StepView, Timing};

use crate::run::{RunOptions, TrainError};
use crate::runner::RunError;

/// The number of steps that are taken. The first one warms up.
const STEPS: usize = 3;

/// The estimated cost of a run, measured on a few of its steps. The time has no evaluations and
/// checkpoints.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// Numbers that describe the run, with their names.
    pub facts: Vec<(&'static str, String)>,
    /// Steps of the whole run.
    pub total_steps: usize,
    /// Steps that were measured.
    pub measured_steps: usize,
    /// Completion tokens of a step.
    pub tokens: f64,
    /// Seconds of a step.
    pub seconds: f64,
    /// Seconds of a step that go into sampling.
    pub rollout_seconds: f64,
    /// The peak memory of this process in bytes, where the system reports it.
    pub peak_memory: Option<f64>,
}

impl Plan {
    pub(crate) fn measure(
        facts: Vec<(&'static str, String)>,
        total_steps: usize,
        options: &RunOptions,
        train: impl FnOnce(&RunOptions, &mut dyn Observer) -> Result<(), TrainError>,
    ) -> Result<Self, RunError> {
        let options = RunOptions {
            folder: None,
            evaluate_every: 0,
            stop_after: Some(STEPS),
            ..options.clone()
        };
        let mut timings: Vec<Timing> = Vec::new();
        match train(&options, &mut |view: &StepView<'_>| {
            timings.push(view.timing)
        }) {
            Ok(()) | Err(TrainError::Stopped { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let warm = &timings[usize::from(timings.len() > 1)..];
        let mean =
            |of: fn(&Timing) -> f64| warm.iter().map(of).sum::<f64>() / warm.len().max(1) as f64;
        Ok(Self {
            facts,
            total_steps,
            measured_steps: timings.len(),
            tokens: mean(|t| t.tokens as f64),
            seconds: mean(|t| t.seconds),
            rollout_seconds: mean(|t| t.rollout_seconds),
            peak_memory: peak_memory(),
        })
    }

    /// The rows of a table: names and values.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, String)> {
        let mut rows: Vec<(String, String)> = self
            .facts
            .iter()
            .map(|(name, value)| (name.to_string(), value.clone()))
            .collect();
        let mut row = |name: &str, value: String| rows.push((name.into(), value));
        row("steps in all", self.total_steps.to_string());
        row("completion tokens a step", format!("{:.0}", self.tokens));
        row("seconds a step", format!("{:.2}", self.seconds));
        if self.rollout_seconds > 0.0 {
            row(
                "... of them sampling",
                format!("{:.2}", self.rollout_seconds),
            );
        }
        row(
            "time in all",
            duration(self.seconds * self.total_steps as f64),
        );
        let memory = self
            .peak_memory
            .map(|bytes| format!("{:.2} GB", bytes / 1e9));
        row(
            "memory at most",
            memory.unwrap_or_else(|| "not known on this system".into()),
        );
        rows
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// The peak memory of this process in bytes. Linux reports it.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024.0)
}
