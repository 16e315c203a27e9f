use std::path::{Path, PathBuf};

/// An output cannot be written to its path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// A folder has the name.
    #[error("{0} is a folder; expected the name of a file")]
    Folder(PathBuf),
    /// Nothing can be written there.
    #[error("cannot write into {0}: {1}")]
    Write(PathBuf, std::io::Error),
    /// It would replace a file that is needed.
    #[error("--out would replace {0}, which is needed; name another file")]
    Needed(PathBuf),
}

/// Checks that a file can be written at `path`, before the work is done that makes its content. The
/// folder of the file is made.
///
/// # Errors
/// [`OutputError::Folder`] or [`OutputError::Write`].
pub fn check_output(path: &Path) -> Result<(), OutputError> {
    if path.is_dir() {
        return Err(OutputError::Folder(path.into()));
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    check_folder(folder.unwrap_or(Path::new(".")))
}

/// Checks that files can be written into a folder. The folder is made where it is not there.
///
/// # Errors
/// [`OutputError::Write`].
pub fn check_folder(folder: &Path) -> Result<(), OutputError> {
    let written = std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
    written
        .map(|_| ())
        .map_err(|e| OutputError::Write(folder.into(), e))
}

/// Checks that an output is none of the files that are read or kept.
///
/// # Errors
/// [`OutputError::Needed`].
pub fn check_apart<'a>(
    output: &Path,
    others: impl IntoIterator<Item = &'a Path>,
) -> Result<(), OutputError> {
    let Ok(there) = output.canonicalize() else {
        return Ok(());
    };
    let same = |other: &&Path| other.canonicalize().is_ok_and(|other| other == there);
    match others.into_iter().find(same) {
        Some(other) => Err(OutputError::Needed(other.into())),
        None => Ok(()),
    }
}
