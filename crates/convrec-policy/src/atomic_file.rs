//! Files that are replaced as a whole: written aside, synced, renamed. A save of many files writes
//! all of them aside before it renames the first.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::WeightsError;

/// A file that is written and not yet in its place. Dropping it removes it.
pub(crate) struct AtomicFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl AtomicFile {
    /// Writes the future content of the file `name` in `folder`, which must exist.
    pub(crate) fn write(
        folder: &Path,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Self, WeightsError> {
        let path = folder.join(name);
        let write = || -> io::Result<NamedTempFile> {
            let mut out = BufWriter::with_capacity(1 << 20, builder().tempfile_in(folder)?);
            fill(&mut out)?;
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        let file = write().map_err(WeightsError::file("write", &path))?;
        Ok(Self { file, path })
    }

    /// Puts the file in its place.
    pub(crate) fn persist(self) -> Result<(), WeightsError> {
        let path = self.path;
        self.file
            .persist(&path)
            .map(|_| ())
            .map_err(|e| e.error)
            .map_err(WeightsError::file("write", &path))
    }
}

/// Makes earlier renames in `folder` durable.
pub(crate) fn sync(folder: &Path) -> Result<(), WeightsError> {
    #[cfg(unix)]
    std::fs::File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(WeightsError::file("write", folder))?;
    Ok(())
}

fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".part-");
    // Temporary files are private by default. A model gets the permissions of any other new file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}
