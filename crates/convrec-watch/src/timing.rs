//! The times of steps. They are kept apart from the log, which is equal in equal runs.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::log;

/// The time and tokens of a step.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// Seconds of the whole step, without evaluation and checkpoint.
    pub seconds: f64,
    /// Seconds of it in which nothing but sampling went on; 0 where nothing is sampled.
    pub rollout_seconds: f64,
    /// Completion tokens that were sampled, or learned from where nothing is sampled.
    pub tokens: usize,
}

/// A line of `timing.jsonl`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimedStep {
    /// The step, from 1.
    pub step: usize,
    /// The steps of the whole run.
    pub total_steps: usize,
    /// Its time and tokens.
    #[serde(flatten)]
    pub timing: Timing,
}

impl TimedStep {
    /// The file's name in a run's folder.
    pub const FILE: &str = "timing.jsonl";

    /// Appends the line. A resumed run repeats steps in the file, as the time was spent twice.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be written.
    pub fn append(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(Self::FILE);
        let mut line = serde_json::to_vec(self).expect("numbers");
        line.push(b'\n');
        let write = |path: &PathBuf| {
            std::fs::File::options()
                .create(true)
                .append(true)
                .open(path)?
                .write_all(&line)
        };
        write(&path).map_err(Error::refused("write", path))
    }

    /// Reads a run's `timing.jsonl`. A run without that file has no times. A last line that is cut
    /// is left out.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, [`Error::Line`] at the first bad line.
    pub fn read(run: &Path) -> Result<Vec<Self>, Error> {
        let path = run.join(Self::FILE);
        if !path.exists() {
            return Ok(vec![]);
        }
        let parse = |(n, record)| {
            let problem =
                |e| format!("{e}; expected the times of a step: mend the line or remove it");
            serde_json::from_value(Value::Object(record))
                .map_err(|e| Error::line(&path, n + 1, problem(e)))
        };
        log::read(&path)?
            .into_iter()
            .enumerate()
            .map(parse)
            .collect()
    }
}

/// The speed of a run, by its latest steps.
///
/// ```
/// use convrec_watch::{Pace, Timing};
///
/// let mut pace = Pace::default();
/// pace.add(Timing {
///     seconds: 2.0,
///     rollout_seconds: 1.5,
///     tokens: 300,
/// });
/// assert_eq!(pace.tokens_per_second(), Some(150.0));
/// assert_eq!(pace.time_left(40, 100).unwrap().as_secs(), 120);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Pace {
    latest: VecDeque<Timing>,
}

impl Pace {
    /// Steps that are averaged.
    const STEPS: usize = 30;

    /// Takes in a step.
    pub fn add(&mut self, timing: Timing) {
        if self.latest.len() == Self::STEPS {
            self.latest.pop_front();
        }
        self.latest.push_back(timing);
    }

    /// Seconds a step.
    pub fn seconds(&self) -> Option<f64> {
        let sum: f64 = self.latest.iter().map(|timing| timing.seconds).sum();
        (sum > 0.0).then(|| sum / self.latest.len() as f64)
    }

    /// Completion tokens a second of the whole step.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let tokens: usize = self.latest.iter().map(|timing| timing.tokens).sum();
        Some(tokens as f64 / (self.seconds()? * self.latest.len() as f64))
    }

    /// The share of the time that sampling takes.
    pub fn rollout_share(&self) -> Option<f64> {
        let rollout: f64 = self
            .latest
            .iter()
            .map(|timing| timing.rollout_seconds)
            .sum();
        Some(rollout / (self.seconds()? * self.latest.len() as f64))
    }

    /// The time that the steps after `done` of `total` will take.
    pub fn time_left(&self, done: usize, total: usize) -> Option<Duration> {
        Duration::try_from_secs_f64(self.seconds()? * total.saturating_sub(done) as f64).ok()
    }
}
