//! Files are replaced whole: written aside, synced, renamed. A reader never sees half a file.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// How the names of files begin that are being written; where a process was killed, they are left
/// behind.
pub const ASIDE: &str = ".part-";

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}")]
pub struct Error {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Error {
    /// `action` completes "cannot ...": `read`, `write`, `create`.
    pub fn new(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self {
            action,
            path: path.into(),
            source,
        }
    }
}

/// Reads a whole text file.
///
/// # Errors
/// When the file is not there, not readable or not UTF-8; the error names it.
pub fn read_text(path: impl AsRef<Path>) -> Result<String, Error> {
    let path = path.as_ref();
    std::fs::read_to_string(path).map_err(|e| Error::new("read", path, e))
}

/// Replaces the file at `path` with what `fill` writes, creating the folders above it.
///
/// # Errors
/// When a folder or the file cannot be written or `fill` fails; the former file is then still
/// there.
pub fn write_atomic(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let path = path.as_ref();
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut out = BufWriter::new(aside().tempfile_in(folder)?);
        fill(&mut out)?;
        let file = out.into_inner().map_err(|e| e.into_error())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        // The rename itself is durable only once the folder is.
        #[cfg(unix)]
        std::fs::File::open(folder)?.sync_all()?;
        Ok(())
    };
    write().map_err(|e| Error::new("write", path, e))
}

fn aside() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(ASIDE);
    // Temporary files are private by default; what replaces a user's file gets the permissions of
    // any new file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}
