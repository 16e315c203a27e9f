//! Shared pieces of the example binaries: the device, progress bars, tables.

pub mod device;
pub mod show;

/// What an example's `main` returns: any error, printed as its message.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;
