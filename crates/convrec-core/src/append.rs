//! Files that only grow: one writer, records on the disk before they are used, a torn end cut off.
//!
//! [`AppendFile`] only knows that records are appended whole. Whoever opens a file reads it through
//! and decides where the last whole record ends. The rest is the beginning of a record whose writer
//! was killed, and is [cut](AppendFile::cut). [`checksum`] tells a record from a damaged one.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::files::open_at_once;

/// Why a growing file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    #[error("cannot {action} {path}: {problem}")]
    File {
        /// Completes "cannot ...": `open`, `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// Another process, or another part of this one, has it open.
    #[error("{path} is in use by another process; wait until it has ended, or name another file")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file holds other bytes than were written, and not at its end, where a killed writer
    /// leaves half a record.
    #[error("{path}, {place}: {problem}; mend or remove it there, or put back a copy of the file")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it: `line 12`.
        place: String,
        /// What was found and expected.
        problem: String,
    },
}

/// A file to which whole records are appended, locked while it is open.
///
/// ```
/// use convrec_core::append::AppendFile;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("answers");
/// let mut file = AppendFile::open(&path)?;
/// assert_eq!(file.append(b"first\n")?, 0);
/// assert_eq!(file.append(b"second\n")?, 6);
/// assert_eq!(file.read_at(0, 5)?, b"first");
/// assert!(
///     AppendFile::open(&path)
///         .unwrap_err()
///         .to_string()
///         .contains("in use")
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AppendFile {
    path: PathBuf,
    file: File,
    len: u64,
    failed: Option<Error>,
}

impl AppendFile {
    /// Opens the file, or creates it with the folders above it, and locks it until it is dropped or
    /// the process ends.
    ///
    /// # Errors
    /// [`Error::InUse`] when another writer has it open, [`Error::File`] when it is no regular file
    /// or cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_path_buf();
        let refused = |e: io::Error| Error::File {
            action: "open",
            path: path.clone(),
            problem: e.to_string(),
        };
        // This is asked before the file is opened, as opening a pipe waits for its other end.
        if path.metadata().is_ok_and(|data| !data.is_file()) {
            return Err(refused(io::Error::other("not a regular file")));
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(refused)?;
        let mut options = File::options();
        options.read(true).append(true).create(true);
        let file = open_at_once(&path, &mut options).map_err(refused)?;
        // The opened file may be another one than the file that was looked at.
        if !file.metadata().map_err(refused)?.is_file() {
            return Err(refused(io::Error::other("not a regular file")));
        }
        match file.try_lock() {
            Ok(()) => (),
            Err(std::fs::TryLockError::WouldBlock) => return Err(Error::InUse { path }),
            Err(std::fs::TryLockError::Error(e)) => return Err(refused(e)),
        }
        let len = file.metadata().map_err(refused)?.len();
        // A new file outlives a power failure only once its folder is written.
        #[cfg(unix)]
        if len == 0 {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(refused)?;
        }
        Ok(Self {
            path,
            file,
            len,
            failed: None,
        })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads it from its beginning.
    ///
    /// # Errors
    /// [`Error::File`] when the system refuses.
    pub fn reader(&self) -> Result<BufReader<Take<&File>>, Error> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))
            .map_err(|e| self.refused("read", &e))?;
        Ok(BufReader::with_capacity(1 << 20, file.take(self.len)))
    }

    /// Shortens it to `len` bytes, which removes a torn end.
    ///
    /// # Errors
    /// [`Error::File`] when the system refuses.
    pub fn cut(&mut self, len: u64) -> Result<(), Error> {
        if len < self.len {
            let cut = self.file.set_len(len).and_then(|()| self.file.sync_data());
            cut.map_err(|e| self.refused("write", &e))?;
            self.len = len;
        }
        Ok(())
    }

    /// Appends `records` and waits until they are on the disk. Returns where they begin.
    ///
    /// # Errors
    /// [`Error::File`] when they could not be written, as on a full disk. The file is then as
    /// before, and every later call fails alike.
    pub fn append(&mut self, records: &[u8]) -> Result<u64, Error> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if let Err(e) = self
            .file
            .write_all(records)
            .and_then(|()| self.file.sync_data())
        {
            // Half a record is removed. Where even that fails, the next writer who opens the file
            // cuts it off.
            let _ = self.file.set_len(self.len);
            let failed = self.refused("write", &e);
            self.failed = Some(failed.clone());
            return Err(failed);
        }
        let start = self.len;
        self.len += records.len() as u64;
        Ok(start)
    }

    /// Reads the `len` bytes from `start` on.
    ///
    /// # Errors
    /// [`Error::File`] when they are not there or the system refuses.
    pub fn read_at(&mut self, start: u64, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; len];
        let read = self
            .file
            .seek(SeekFrom::Start(start))
            .and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|e| self.refused("read", &e))?;
        Ok(bytes)
    }

    /// An [`Error::Damaged`] at `place` of the file.
    pub fn damaged(&self, place: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            place: place.into(),
            problem: problem.into(),
        }
    }

    /// An [`Error::File`]: the system refused to `action` the file.
    pub fn refused(&self, action: &'static str, error: &io::Error) -> Error {
        Error::File {
            action,
            path: self.path.clone(),
            problem: error.to_string(),
        }
    }
}

impl Drop for AppendFile {
    /// Unlocks the file. Closing it would not be enough: a process that is being started has copies
    /// of all descriptors for a moment, and a lock lasts as long as any copy.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// The first eight bytes of the SHA-256 of a record.
pub fn checksum(record: &[u8]) -> [u8; 8] {
    Sha256::digest(record)[..8]
        .try_into()
        .expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_there_and_a_cut_end_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/file");
        let mut file = AppendFile::open(&path).unwrap();
        assert!(file.is_empty());
        file.append(b"one\n").unwrap();
        file.append(b"tw").unwrap();
        drop(file);

        let mut file = AppendFile::open(&path).unwrap();
        let mut text = String::new();
        file.reader().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), file.len()), ("one\ntw", 6));
        file.cut(4).unwrap();
        assert_eq!(file.append(b"two\n").unwrap(), 4);
        assert_eq!(file.read_at(4, 3).unwrap(), b"two");
        assert!(
            file.read_at(6, 3)
                .unwrap_err()
                .to_string()
                .contains("cannot read")
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn a_file_has_one_writer_and_is_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let first = AppendFile::open(&path).unwrap();
        assert_eq!(
            AppendFile::open(&path).unwrap_err(),
            Error::InUse { path: path.clone() }
        );
        // A process that is being started holds such a copy.
        let copy = first.file.try_clone().unwrap();
        drop(first);
        AppendFile::open(&path).unwrap();
        drop(copy);
        let error = AppendFile::open(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("cannot open") && error.contains("not a regular file"),
            "{error}"
        );
    }
}
