//! What a training run leaves behind, and how it is watched.

pub mod completions;
mod doctor;
mod error;
mod events;
mod follow;
mod journal;
pub mod log;
mod record;
#[cfg(feature = "report")]
pub mod report;
mod timing;
#[cfg(feature = "tui")]
pub mod tui;

pub use completions::{CompletionRecord, Completions, ListedItem};
pub use doctor::{Check, ConfigError, Diagnosis, Doctor, DoctorConfig};
pub use error::Error;
pub use events::Events;
pub use follow::{Follow, News};
pub use journal::{Journal, Observer, StepView, Trouble, WatchConfig};
pub use log::Log;
pub use record::{Record, number, step};
pub use timing::{Pace, TimedStep, Timing};
