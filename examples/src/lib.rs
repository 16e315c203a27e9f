//! Shared pieces of the example binaries: the device, data, services, serving, and experiments on
//! the embedded world.

pub mod data;
pub mod device;
pub mod judging;
pub mod mentions;
pub mod serve;
pub mod services;
pub mod settings;
pub mod steps;
pub mod world_experiment;

pub use convrec_cli::progress;
pub use convrec_cli::{Outcome, Paused, Table, at_least_one, exit, show_warnings};
pub use convrec_watch::report;

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

/// glibc gives large buffers back to the system at every step, and takes them anew at the next.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
