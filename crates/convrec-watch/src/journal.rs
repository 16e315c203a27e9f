//! What the training loop calls.

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
    /// What is logged of it, with `step`, its number from 1.
    pub record: &'a Record,
    /// Completions of it, for people to read; may be none.
    pub completions: &'a [CompletionRecord],
    /// What it cost.
    pub timing: Timing,
    /// The steps of the whole run.
    pub total_steps: usize,
}

/// Is shown every step: a progress bar, a view. Closures are observers, and `()` looks away.
pub trait Observer {
    /// A step is done.
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

/// What a run leaves behind, and when it is stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchConfig {
    /// Steps between files of completions; 0 writes none.
    pub completions_every: usize,
    /// Files of completions that are kept besides the first.
    pub keep_completions: usize,
    /// Write event files for TensorBoard, into `tensorboard/`.
    pub tensorboard: bool,
    /// When a run is unhealthy.
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

/// A line of the log may be gone, but the checkpoint has all that a run needs to go on.
fn warn_of_missing(folder: &std::path::Path, missing: &[usize], last: usize) {
    let (Some(first), Some(newest)) = (missing.first(), missing.last()) else {
        return;
    };
    ::log::warn!(
        "{}: the log lacks {} of the {last} steps before this checkpoint (between step {first} and step {newest}); the run \
         goes on, and its log, its reports and its doctor do without them",
        folder.display(),
        missing.len(),
    );
}

/// Writes all that a run leaves in its folder but checkpoints, and lets the doctor look at it.
///
/// Call [`step`](Self::step) before the checkpoint of the step is written: a resumed run then finds
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
    /// Opens the journal of a run that stands after `step` steps (0 at its start). What its folder
    /// holds of later steps is removed, and the doctor is shown the log. Lines that the log lacks
    /// are warned of. Without a folder nothing is written.
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

    /// Whether completions of this step, from 1, are kept: others need not be made for
    /// [`step`](Self::step).
    pub fn wants_completions(&self, step: usize) -> bool {
        let every = self.config.completions_every;
        self.files.is_some() && every > 0 && (step == 1 || step.is_multiple_of(every))
    }

    /// Records a finished step.
    ///
    /// # Errors
    /// When something cannot be written, and when the run is unhealthy.
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
