//! The journal that the training loop calls after each step.

use std::collections::HashSet;
use std::path::PathBuf;

use convrec_config::ConfigError;
use serde::{Deserialize, Serialize};

use crate::completions::{CompletionRecord, Completions};
use crate::doctor::{Diagnosis, Doctor, DoctorConfig};
use crate::error::Error;
use crate::events::Events;
use crate::log::{self, Log};
use crate::record::{Record, step};
use crate::timing::{TimedStep, Timing};

/// A finished step.
#[derive(Debug, Clone, Copy)]
pub struct StepView<'a> {
    /// The record for the log, with `step`, its number from 1.
    pub record: &'a Record,
    /// Completions of it, for people to read. There may be none.
    pub completions: &'a [CompletionRecord],
    /// The time and tokens that it took.
    pub timing: Timing,
    /// The steps of the whole run.
    pub total_steps: usize,
}

/// An observer of every step, such as a progress bar or a view. Closures are observers, and `()`
/// ignores all steps.
pub trait Observer {
    /// Called after each step.
    fn observe(&mut self, view: &StepView<'_>);
}

impl Observer for () {
    fn observe(&mut self, _: &StepView<'_>) {}
}

impl<F: FnMut(&StepView<'_>)> Observer for F {
    fn observe(&mut self, view: &StepView<'_>) {
        self(view);
    }
}

/// Settings of the files that a run writes, and of the doctor that stops it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchConfig {
    /// Steps between files of completions; 0 writes none.
    pub completions_every: usize,
    /// Files of completions that are kept besides the first.
    pub keep_completions: usize,
    /// Whether event files for TensorBoard are written into `tensorboard/`.
    pub tensorboard: bool,
    /// The thresholds of an unhealthy run.
    pub doctor: DoctorConfig,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            completions_every: 10,
            keep_completions: 10,
            tensorboard: false,
            doctor: DoctorConfig::default(),
        }
    }
}

/// A run cannot be recorded, or should not go on.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be written or read.
    #[error(transparent)]
    File(#[from] Error),
    /// The run is unhealthy. What was recorded is on the disk.
    #[error(transparent)]
    Unhealthy(#[from] Diagnosis),
}

/// The steps up to `last` that the log does not have.
fn missing(folder: &std::path::Path, last: usize) -> Result<Vec<usize>, Error> {
    if last == 0 {
        return Ok(vec![]);
    }
    let records = if log::exists(folder)? {
        log::read(folder)?
    } else {
        vec![]
    };
    let found: HashSet<usize> = records.iter().filter_map(crate::record::step).collect();
    Ok((1..=last).filter(|step| !found.contains(step)).collect())
}

/// Warns of missing lines instead of failing: the checkpoint has all that a run needs to go on.
fn warn_of_missing(folder: &std::path::Path, missing: &[usize], last: usize) {
    let (Some(first), Some(newest)) = (missing.first(), missing.last()) else {
        return;
    };
    ::log::warn!(
        "{}: the log lacks {} of the {last} steps before this checkpoint (between step {first} and \
         step {newest}); the run goes on, and its log, its reports and its doctor do without them",
        folder.display(),
        missing.len(),
    );
}

/// Writes all files of a run's folder but checkpoints, and shows each record to the doctor.
///
/// Call [`step`](Self::step) before the checkpoint of the step is written. A resumed run then finds
/// all its steps.
#[derive(Debug)]
pub struct Journal {
    config: WatchConfig,
    files: Option<Files>,
    doctor: Doctor,
}

#[derive(Debug)]
struct Files {
    folder: PathBuf,
    log: Log,
    completions: Completions,
    events: Option<Events>,
}

impl Journal {
    /// Opens the journal of a run that stands after `step` steps (0 at its start). Records and
    /// files of later steps are removed, and the doctor is shown the log. A warning names lines
    /// that the log lacks. Without a folder nothing is written.
    ///
    /// # Errors
    /// [`Trouble::Config`] when a setting is wrong, [`Trouble::File`] when a file cannot be used,
    /// [`Trouble::Unhealthy`] when the run was unhealthy before `step`.
    pub fn open(
        folder: Option<PathBuf>,
        step: usize,
        config: WatchConfig,
    ) -> Result<Self, Trouble> {
        let mut doctor = Doctor::new(config.doctor.clone())?;
        let Some(folder) = folder else {
            return Ok(Self {
                config,
                files: None,
                doctor,
            });
        };
        let log = Log::open(&folder, step)?;
        let missing = missing(&folder, step)?;
        warn_of_missing(&folder, &missing, step);
        log::read(&folder)?
            .iter()
            .try_for_each(|record| doctor.check(record))?;
        let completions = Completions::open(&folder, step, config.keep_completions)?;
        let events = config
            .tensorboard
            .then(|| Events::open(folder.join("tensorboard"), step))
            .transpose()?;
        Ok(Self {
            config,
            files: Some(Files {
                folder,
                log,
                completions,
                events,
            }),
            doctor,
        })
    }

    /// Whether completions of this step, from 1, are kept. For other steps [`step`](Self::step)
    /// needs none.
    pub fn wants_completions(&self, step: usize) -> bool {
        let every = self.config.completions_every;
        self.files.is_some() && every > 0 && (step == 1 || step.is_multiple_of(every))
    }

    /// Records a finished step.
    ///
    /// # Errors
    /// [`Trouble::File`] when a file cannot be written, [`Trouble::Unhealthy`] when the doctor
    /// stops the run.
    pub fn step(&mut self, view: &StepView<'_>) -> Result<(), Trouble> {
        let step = step(view.record).unwrap_or_default();
        let wanted = self.wants_completions(step);
        if let Some(files) = &mut self.files {
            files.write(step, view, wanted)?;
        }
        Ok(self.doctor.check(view.record)?)
    }
}

impl Files {
    fn write(
        &mut self,
        step: usize,
        view: &StepView<'_>,
        with_completions: bool,
    ) -> Result<(), Error> {
        self.log.append(view.record)?;
        if with_completions {
            self.completions.write(step, view.completions)?;
        }
        if let Some(events) = &mut self.events {
            events.record(view.record)?;
            if with_completions {
                events.completions(step, view.completions)?;
            }
        }
        TimedStep {
            step,
            total_steps: view.total_steps,
            timing: view.timing,
        }
        .append(&self.folder)
    }
}
