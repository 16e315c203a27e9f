//! Shared pieces of the example binaries: the device, settings, model folders, progress bars and tables.

pub mod device;
pub mod model_folder;
pub mod report;
pub mod settings;
pub mod show;

/// What an example's `main` returns.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;
