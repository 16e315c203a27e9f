//! Reading a log that grows.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use convrec_core::files::open_at_once;

use crate::error::Error;
use crate::log::{Line, files_of, lines};
use crate::record::Record;

/// Follows the log of a run's folder, across its files, as it is written.
///
/// ```
/// use convrec_watch::{Follow, Log, Record};
///
/// let folder = tempfile::tempdir()?;
/// let mut follow = Follow::new(folder.path());
/// assert!(follow.poll()?.records.is_empty()); // no log yet
/// Log::open(folder.path(), 0)?
///     .append(&Record::from_iter([("step".to_string(), 1.into())]))?;
/// assert_eq!(follow.poll()?.records.len(), 1);
/// assert!(follow.poll()?.records.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Follow {
    folder: PathBuf,
    /// The first step of the file that is read, and how far it is read.
    current: Option<(usize, Tail)>,
}

/// The new records of a log.
#[derive(Debug, Default)]
pub struct News {
    /// Whether the run was resumed from an earlier step than was read. All earlier records are then
    /// void and come again.
    pub restarted: bool,
    /// Records that were not there before.
    pub records: Vec<Record>,
}

impl Follow {
    /// Follows the run in `folder`, from its first step; the folder need not be there yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            current: None,
        }
    }

    /// Returns the records that were written since the last call. It does not wait.
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be read, [`Error::Line`] at a bad line.
    pub fn poll(&mut self) -> Result<News, Error> {
        let mut news = News::default();
        // Listed first: all files but the last of the list are complete.
        let files = files_of(&self.folder)?;
        let is_there = |current: &usize| files.iter().any(|(first, _)| first == current);
        if self
            .current
            .as_ref()
            .is_some_and(|(current, _)| !is_there(current))
        {
            self.current = None;
            news.restarted = true;
        }
        for (first, path) in files {
            if self
                .current
                .as_ref()
                .is_some_and(|(current, _)| first < *current)
            {
                continue;
            }
            if self
                .current
                .as_ref()
                .is_none_or(|(current, _)| first > *current)
            {
                self.current = Some((first, Tail::new(&path)));
            }
            let tail = &mut self.current.as_mut().expect("just set").1;
            let Some(new) = tail.poll()? else {
                self.current = None;
                return Ok(News {
                    restarted: true,
                    ..self.poll()?
                });
            };
            news.records.extend(new);
        }
        Ok(news)
    }
}

/// A file of records that grows.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    /// Bytes and lines that were read.
    read: u64,
    lines: usize,
    /// The last line that was read. Where it differs now, the file was cut and written anew.
    last: Vec<u8>,
}

impl Tail {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            read: 0,
            lines: 0,
            last: Vec::new(),
        }
    }

    /// The new records, or none where what was read before is no longer there.
    pub(crate) fn poll(&mut self) -> Result<Option<Vec<Record>>, Error> {
        let Some(bytes) = self.bytes()? else {
            return Ok(None);
        };
        let Some(new) = bytes.strip_prefix(self.last.as_slice()) else {
            return Ok(None);
        };
        let whole = new
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let (mut records, mut count) = (Vec::new(), self.lines);
        for Line { bytes, .. } in lines(&new[..whole]) {
            count += 1;
            let line = Line {
                number: count,
                bytes,
            };
            records.extend(
                line.record()
                    .map_err(|problem| Error::line(&self.path, count, problem))?,
            );
        }
        if let Some(last) = lines(&new[..whole]).last() {
            self.last = last.bytes.to_vec();
        }
        self.lines = count;
        self.read += whole as u64;
        Ok(Some(records))
    }

    /// All bytes from the last line on; none where the file is gone.
    fn bytes(&self) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = Vec::new();
        let mut read = || {
            // Opening a pipe would wait for its other end.
            if !self.path.metadata()?.is_file() {
                return Err(io::Error::other("it is no regular file"));
            }
            let mut file = open_at_once(&self.path, File::options().read(true))?;
            // The opened file may be another one than the file that was looked at.
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("it is no regular file"));
            }
            file.seek(SeekFrom::Start(self.read - self.last.len() as u64))?;
            file.read_to_end(&mut bytes)
        };
        match read() {
            Ok(_) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::refused("read", &self.path)(e)),
        }
    }
}
