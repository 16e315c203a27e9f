//! Shared pieces of the example binaries: the device, data, settings, services, model folders,
//! progress bars, tables, and experiments on the embedded world.

pub mod data;
pub mod decoder;
pub mod device;
pub mod factors;
pub mod http_sampler;
pub mod judging;
pub mod mentions;
pub mod model_folder;
pub mod plan;
pub mod serve;
pub mod services;
pub mod settings;
pub mod show;
pub mod steps;
pub mod training;
pub mod world_experiment;

pub use convrec_watch::report;

/// What an example's work comes to.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Whether a file can come to stand at `path`, asked before the work is done whose outcome it shall
/// hold; its folder is made.
///
/// # Errors
/// When a folder is there, or nothing can be written beside it.
pub fn check_output(path: &std::path::Path) -> Result<(), String> {
    if path.is_dir() {
        return Err(format!(
            "{} is a folder; expected the name of a file",
            path.display()
        ));
    }
    check_folder(
        path.parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(std::path::Path::new(".")),
    )
}

/// Whether files can be written into a folder, which is made where it is not there.
///
/// # Errors
/// When they cannot.
pub fn check_folder(folder: &std::path::Path) -> Result<(), String> {
    let written = std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
    written
        .map(|_| ())
        .map_err(|e| format!("cannot write into {}: {e}", folder.display()))
}

/// Whether an output is none of the files that are read or kept.
///
/// # Errors
/// When it is one of them.
pub fn check_apart<'a>(
    output: &std::path::Path,
    others: impl IntoIterator<Item = &'a std::path::Path>,
) -> Result<(), String> {
    let Ok(there) = output.canonicalize() else {
        return Ok(());
    };
    let same = others
        .into_iter()
        .find(|other| other.canonicalize().is_ok_and(|other| other == there));
    same.map_or(Ok(()), |other| {
        Err(format!(
            "--out would replace {}, which is needed; name another file",
            other.display()
        ))
    })
}

/// Shows on the terminal what our own crates warn of, as of servers that are asked again.
pub fn show_warnings() {
    // Where there is a logger already it shows them.
    if log::set_logger(&Warnings).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}

struct Warnings;

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("convrec")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("{}", record.args());
        }
    }

    fn flush(&self) {}
}

/// No error, but not all is done: what is missing and how to go on. The exit status is 2.
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
            eprintln!("{error}");
            std::process::ExitCode::from(2)
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
