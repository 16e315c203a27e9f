//! Files are read only where they are regular and not too large, and replaced as a whole.
//!
//! A replaced file is written aside, synced and renamed. A reader never sees half of it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Take, Write};
use std::path::{Path, PathBuf};

/// The beginning of the names of files that are being written. A killed process leaves such files
/// behind.
pub const ASIDE: &str = ".part-";

/// The largest file, in bytes, that is read as a whole into memory: 1 GiB.
pub const LARGEST_TEXT: u64 = 1 << 30;

/// The largest file, in bytes, that is read row by row: 256 GiB.
pub const LARGEST_DATA: u64 = 1 << 38;

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}")]
pub struct Error {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Error {
    /// An error about the file at `path`. The word `action` completes "cannot ...": `read`,
    /// `write`, `create`.
    pub fn new(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self {
            action,
            path: path.into(),
            source,
        }
    }

    /// What the system said.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Opens what is at `path` with these options, without waiting for anybody. A pipe would wait for
/// its other end; it may have come to be there after somebody looked.
///
/// Whoever opens looks at the opened file's kind again. Reading a regular file is as ever.
///
/// # Errors
/// As [`OpenOptions::open`].
pub fn open_at_once(path: impl AsRef<Path>, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, libc::O_NONBLOCK);
    options.open(path)
}

/// Opens a regular file of at most `largest` bytes for reading.
///
/// Pipes, devices and folders are refused before they are opened: a pipe would wait for its other
/// end, and a device may never end. Links are followed. The reader ends after `largest` bytes even
/// where the file grows while it is read.
///
/// ```
/// use convrec_core::files::{LARGEST_TEXT, open_regular};
///
/// let error = open_regular(std::env::temp_dir(), LARGEST_TEXT)
///     .unwrap_err()
///     .to_string();
/// assert!(error.contains("is a folder; expected a file"), "{error}");
/// ```
///
/// # Errors
/// [`Error`] when the file is not there, not readable, not regular, or too large. The error names
/// the file.
pub fn open_regular(path: impl AsRef<Path>, largest: u64) -> Result<Take<File>, Error> {
    let path = path.as_ref();
    let open = || {
        check_regular(&path.metadata()?, largest)?;
        let file = open_at_once(path, File::options().read(true))?;
        // The opened file may be another one than the file that was looked at.
        check_regular(&file.metadata()?, largest)?;
        Ok(file.take(largest))
    };
    open().map_err(|e| Error::new("read", path, e))
}

/// [`open_regular`] with a buffer, for files that are read row by row: at most [`LARGEST_DATA`]
/// bytes.
///
/// # Errors
/// As [`open_regular`].
pub fn open_data(path: impl AsRef<Path>) -> Result<BufReader<Take<File>>, Error> {
    Ok(BufReader::with_capacity(
        1 << 18,
        open_regular(path, LARGEST_DATA)?,
    ))
}

fn check_regular(data: &std::fs::Metadata, largest: u64) -> io::Result<()> {
    let refused = |kind, text: String| Err(io::Error::new(kind, text));
    if data.is_dir() {
        let text = "it is a folder; expected a file";
        return refused(io::ErrorKind::IsADirectory, text.into());
    }
    if !data.is_file() {
        let text = "it is a pipe or a device; expected a regular file, so save it as one first";
        return refused(io::ErrorKind::InvalidInput, text.into());
    }
    if data.len() > largest {
        let text = format!(
            "it has {} bytes; expected at most {largest} for this kind of file",
            data.len()
        );
        return refused(io::ErrorKind::FileTooLarge, text);
    }
    Ok(())
}

/// Reads a regular file of at most `largest` bytes as a whole.
///
/// # Errors
/// As [`open_regular`].
pub fn read_bytes(path: impl AsRef<Path>, largest: u64) -> Result<Vec<u8>, Error> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    open_regular(path, largest)?
        .read_to_end(&mut bytes)
        .map_err(|e| Error::new("read", path, e))?;
    Ok(bytes)
}

/// Reads a text file of at most [`LARGEST_TEXT`] bytes as a whole.
///
/// # Errors
/// As [`open_regular`], and when the file is not UTF-8. The error then names the first bad byte.
pub fn read_text(path: impl AsRef<Path>) -> Result<String, Error> {
    let path = path.as_ref();
    String::from_utf8(read_bytes(path, LARGEST_TEXT)?).map_err(|e| {
        let problem = not_utf8(e.as_bytes(), e.utf8_error().valid_up_to());
        Error::new("read", path, io::Error::other(problem))
    })
}

/// Describes bytes that are not UTF-8. `valid` is the number of good bytes before the bad one.
pub(crate) fn not_utf8(bytes: &[u8], valid: usize) -> String {
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes {
        return "found UTF-16 text; expected UTF-8: convert the file, as by \
                `iconv -f UTF-16 -t UTF-8`"
            .into();
    }
    if let [0x1f, 0x8b, ..] = bytes {
        return "found a file compressed by gzip; expected text: unpack it with `gunzip`".into();
    }
    format!(
        "byte {} is not UTF-8; expected UTF-8 text: convert the file, as by \
         `iconv -f ISO-8859-1 -t UTF-8`",
        valid + 1
    )
}

/// Replaces the file at `path` by what `fill` writes. The folders above it are created. Where the
/// path is a link, the file that it leads to is replaced, and the link stays.
///
/// # Errors
/// [`Error`] when a folder or the file cannot be written, or when `fill` fails. The former file is
/// then still there. Pipes and devices are refused: they would be replaced too.
pub fn write_atomic(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let path = path.as_ref();
    let write = || -> io::Result<()> {
        let path = &replaced(path)?;
        let folder = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut out = BufWriter::new(aside().tempfile_in(folder)?);
        fill(&mut out)?;
        let file = out.into_inner().map_err(|e| e.into_error())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        // The rename itself is durable only once the folder is.
        #[cfg(unix)]
        File::open(folder)?.sync_all()?;
        Ok(())
    };
    write().map_err(|e| Error::new("write", path, e))
}

/// The file that a new one at `path` takes the place of, with links followed.
///
/// # Errors
/// When it is no regular file, or a link that leads nowhere.
pub fn replaced(path: &Path) -> io::Result<PathBuf> {
    let refused = |text: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    let Ok(found) = path.symlink_metadata() else {
        return Ok(path.into());
    };
    if !found.is_symlink() {
        return match found.is_dir() || found.is_file() {
            true => Ok(path.into()),
            false => refused("it is a pipe or a device; expected the name of a file"),
        };
    }
    match path.canonicalize() {
        Ok(target) => replaced(&target),
        Err(_) => refused("it is a link that leads nowhere; expected the name of a file"),
    }
}

fn aside() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(ASIDE);
    // Temporary files are private by default. What replaces a user's file gets the permissions of
    // any new file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_stated_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_bytes(&path, 5).unwrap(), b"12345");
        let problem = |path: &Path, largest| {
            open_regular(path, largest)
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        assert!(problem(&path, 4).contains("it has 5 bytes; expected at most 4"));
        assert!(problem(folder.path(), 4).contains("is a folder"));
        assert!(problem(&folder.path().join("none"), 4).contains("cannot read"));
        #[cfg(unix)]
        {
            assert!(problem(Path::new("/dev/zero"), 4).contains("pipe or a device"));
            let pipe = folder.path().join("pipe");
            let made = std::process::Command::new("mkfifo").arg(&pipe).status();
            assert!(made.unwrap().success());
            // Nobody writes into the pipe, so opening it would wait for ever.
            assert!(problem(&pipe, 4).contains("pipe or a device"));
            let opened = open_at_once(&pipe, File::options().read(true)).unwrap();
            assert!(!opened.metadata().unwrap().is_file());
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(&path, &link).unwrap();
            assert_eq!(read_text(&link).unwrap(), "12345");
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, pipe, nowhere] =
            ["file", "link", "pipe", "nowhere"].map(|name| folder.path().join(name));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        std::os::unix::fs::symlink("none", &nowhere).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let write = |path: &Path| write_atomic(path, |out| out.write_all(b"new"));
        write(&link).unwrap();
        assert_eq!(read_text(&file).unwrap(), "new");
        assert!(link.symlink_metadata().unwrap().is_symlink());
        for (path, part) in [(&pipe, "a pipe or a device"), (&nowhere, "leads nowhere")] {
            let before = path.symlink_metadata().unwrap().file_type();
            let error = write(path).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert_eq!(path.symlink_metadata().unwrap().file_type(), before);
        }
    }

    #[test]
    fn text_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (bytes, part) in [
            (&b"Am\xe9lie"[..], "byte 3 is not UTF-8"),
            (&b"\xff\xfeH\0"[..], "found UTF-16 text"),
            (&b"\x1f\x8b\x08"[..], "compressed by gzip"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = read_text(&path).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
