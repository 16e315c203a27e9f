//! Shared pieces of the example binaries: the device, data, settings, services, model folders, progress bars and tables.

pub mod data;
pub mod device;
pub mod judging;
pub mod model_folder;
pub mod report;
pub mod services;
pub mod settings;
pub mod show;
pub mod steps;
pub mod training;

/// What an example's work comes to.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Whether a file can come to stand at `path`, asked before the work is done whose outcome it shall hold.
///
/// # Errors
/// When a folder is there.
pub fn check_output(path: &std::path::Path) -> Result<(), String> {
    if path.is_dir() { Err(format!("{} is a folder; expected the name of a file", path.display())) } else { Ok(()) }
}

/// No error: what is to be done before the same command can go on.
#[derive(Debug)]
pub struct Paused(pub String);

impl std::fmt::Display for Paused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Paused {}

/// What an example's `main` returns: an error is printed as it is written for people.
pub fn exit(outcome: Outcome) -> std::process::ExitCode {
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) if error.is::<Paused>() => {
            println!("{error}");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// glibc gives large buffers back to the system at every step, and takes them anew at the next.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
