//! What the command-line programs share: option groups, progress bars, devices, exit codes.
//!
//! A program reads its flags, makes settings of them, and hands a
//! [`Runner`](convrec_train::Runner) to [`TrainingOptions::run`]. Everything here is about the
//! terminal; nothing here is about training.

pub mod device;
mod exit;
mod options;
mod output;
pub mod progress;
mod run;

#[cfg(feature = "report")]
pub use convrec_watch::report::Table;
pub use exit::{Outcome, Paused, exit};
pub use options::{DecoderOptions, TrainingOptions, at_least_one};
pub use output::{say, show_warnings, warn};
