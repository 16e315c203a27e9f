//! The common parts of the command-line programs: option groups, progress bars, devices, exit
//! codes.
//!
//! A program reads its flags, makes settings of them, and hands a [`Runner`](convrec_train::Runner)
//! to [`TrainingOptions::run`]. The crate is about the terminal, not about training.

#[cfg(feature = "report")]
mod comparison;
pub mod conversation;
pub mod data;
#[cfg(all(feature = "report", feature = "services"))]
pub mod demonstrations;
mod exit;
mod files;
#[cfg(feature = "mimalloc")]
mod memory;
mod options;
mod output;
pub mod progress;
mod run;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "services")]
pub mod services;
#[cfg(feature = "report")]
pub mod steps;

#[cfg(feature = "report")]
pub use comparison::{Comparison, recall_and_ndcg};
#[cfg(feature = "report")]
pub use convrec_watch::report::Table;
pub use data::DataOptions;
pub use exit::{Outcome, Paused, exit};
pub use files::{OutputError, check_apart, check_folder, check_outputs};
#[cfg(feature = "mimalloc")]
pub use memory::keep_freed_memory;
pub use options::{DecoderOptions, TrainingOptions, at_least_one};
#[cfg(feature = "report")]
pub use output::say_table;
pub use output::{say, show_warnings, warn};
#[cfg(feature = "serve")]
pub use serve::{ServeOptions, ServedType};
