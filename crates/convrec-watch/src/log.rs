//! The log of a run: a line of JSON for each step, in files that rotate.
//!
//! The first [`STEPS_PER_FILE`] steps are in `log.jsonl`, the following in `log-010001.jsonl` and
//! so on, each named by its first step. The file of a step depends on the step alone, so a resumed
//! run writes the same files.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use convrec_core::append::AppendFile;
use convrec_core::files;

use crate::error::Error;
use crate::record::{Record, step};

/// The file beside a log that holds what was found damaged in it.
const DAMAGED: &str = "log-damaged.txt";

/// Steps whose records are in one file.
pub const STEPS_PER_FILE: usize = 10_000;

/// A log that is being written. Its file is locked, so there is one writer at a time.
///
/// ```
/// use convrec_watch::{Log, Record, log};
///
/// let folder = tempfile::tempdir()?;
/// let record = |step: usize| Record::from_iter([("step".to_string(), step.into())]);
/// let mut written = Log::open(folder.path(), 0)?;
/// (1..=3).try_for_each(|step| written.append(&record(step)))?;
/// drop(written);
///
/// let mut resumed = Log::open(folder.path(), 2)?; // from a checkpoint after step 2: the third line goes
/// assert_eq!(log::read(folder.path())?.len(), 2);
/// resumed.append(&record(3))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    steps_per_file: usize,
    /// The file that is written, and its first step.
    file: Option<(usize, AppendFile)>,
}

impl Log {
    /// Opens the log of a run that stands after `step` steps, and makes its folder. Lines of later
    /// steps are removed, and so is a last line that was cut.
    ///
    /// A run that resumes from a checkpoint (`step` above 0) does not stop at damaged lines before
    /// the end. They are moved into `log-damaged.txt`, and a warning names them.
    ///
    /// # Errors
    /// - [`Error::Append`] when the log is in use or cannot be opened
    /// - [`Error::Line`] when the log of a new run is damaged before its end
    /// - [`Error::File`] when a file cannot be read or removed
    pub fn open(folder: impl Into<PathBuf>, step: usize) -> Result<Self, Error> {
        Self::rotating(folder, step, STEPS_PER_FILE)
    }

    /// The same with another number of steps for a file, which must be that of the run's start.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Error::Line`] when a step stands in the wrong file.
    pub fn rotating(
        folder: impl Into<PathBuf>,
        step: usize,
        steps_per_file: usize,
    ) -> Result<Self, Error> {
        let mut log = Self {
            folder: folder.into(),
            steps_per_file: steps_per_file.max(1),
            file: None,
        };
        for (first, path) in files_of(&log.folder)? {
            let mut file = AppendFile::open(&path)?;
            if step > 0 && log.has_damage(&path)? {
                drop(file);
                log.set_aside(&path)?;
                file = AppendFile::open(&path)?;
            }
            file.cut(log.kept(first, &path, step)?)?;
            if file.is_empty() && first > step.max(1) {
                fs::remove_file(&path).map_err(Error::refused("remove", &path))?;
            }
        }
        // The file exists before the first step. A folder so shows that a run began in it, and
        // nobody else writes there.
        log.file_of(step)?;
        Ok(log)
    }

    /// Appends a line, which is on the disk when this returns. Where somebody removed or replaced
    /// the file, a warning says so, and the line goes into the file that has its name now.
    ///
    /// # Errors
    /// [`Error::NoStep`] when the record has no step, [`Error::Append`] when the system refuses.
    pub fn append(&mut self, record: &Record) -> Result<(), Error> {
        let mut line = serde_json::to_vec(record).expect("names and numbers");
        let step =
            step(record).ok_or_else(|| Error::NoStep(String::from_utf8_lossy(&line).into()))?;
        line.push(b'\n');
        self.reopen_if_gone()?;
        self.file_of(step)?.append(&line)?;
        Ok(())
    }

    /// Opens the file again where somebody removed it. Writing to a removed file succeeds, but
    /// nobody would ever read it.
    fn reopen_if_gone(&mut self) -> Result<(), Error> {
        let Some((first, file)) = &self.file else {
            return Ok(());
        };
        let there = fs::metadata(file.path()).map(|found| found.len());
        if there.is_ok_and(|len| len == file.len()) {
            return Ok(());
        }
        let (first, path) = (*first, file.path().to_path_buf());
        ::log::warn!(
            "{}: somebody removed or changed this log while the run wrote it; the run goes on, and \
             the log lacks what is gone",
            path.display()
        );
        self.file = None;
        self.file = Some((first, AppendFile::open(path)?));
        Ok(())
    }

    /// Whether a line that is not the last one is no record.
    fn has_damage(&self, path: &Path) -> Result<bool, Error> {
        let bytes = files::read_bytes(path, files::LARGEST_TEXT)?;
        Ok(damaged(&bytes).next().is_some())
    }

    /// Moves damaged lines into a file beside the log.
    fn set_aside(&self, path: &Path) -> Result<(), Error> {
        let bytes = files::read_bytes(path, files::LARGEST_TEXT)?;
        let bad: Vec<Line<'_>> = damaged(&bytes).collect();
        let numbers: Vec<usize> = bad.iter().map(|line| line.number).collect();
        let aside = self.folder.join(DAMAGED);
        let mut kept = files::read_bytes(&aside, files::LARGEST_TEXT).unwrap_or_default();
        bad.iter()
            .for_each(|line| kept.extend_from_slice(line.bytes));
        files::write_atomic(&aside, |out| out.write_all(&kept))?;
        let good = lines(&bytes).filter(|line| !numbers.contains(&line.number));
        let good: Vec<u8> = good.flat_map(|line| line.bytes).copied().collect();
        files::write_atomic(path, |out| out.write_all(&good))?;
        let shown: Vec<String> = numbers.iter().take(5).map(usize::to_string).collect();
        ::log::warn!(
            "{}: {} damaged lines are set aside in {} (line {}{}); the run goes on from its checkpoint without them",
            path.display(),
            numbers.len(),
            aside.display(),
            shown.join(", "),
            if numbers.len() > shown.len() {
                ", ..."
            } else {
                ""
            },
        );
        Ok(())
    }

    /// The file of a step, opened.
    fn file_of(&mut self, step: usize) -> Result<&mut AppendFile, Error> {
        let first = self.first(step);
        if self.file.as_ref().is_none_or(|(open, _)| *open != first) {
            self.file = Some((first, AppendFile::open(self.folder.join(name(first)))?));
        }
        Ok(&mut self.file.as_mut().expect("just opened").1)
    }

    /// The first step in the file of a step.
    fn first(&self, step: usize) -> usize {
        step.saturating_sub(1) / self.steps_per_file * self.steps_per_file + 1
    }

    /// The bytes of a file that hold steps up to `last`.
    fn kept(&self, first: usize, path: &Path, last: usize) -> Result<u64, Error> {
        let bytes = files::read_bytes(path, files::LARGEST_TEXT)?;
        let mut kept = 0;
        for line in lines(&bytes) {
            let end = kept + line.bytes.len();
            match line.record() {
                Ok(Some(record)) if step(&record).is_some_and(|step| step > last) => break,
                Ok(Some(record)) if step(&record).is_some_and(|step| self.first(step) != first) => {
                    let problem = format!(
                        "a step that does not belong into this file of {} steps; resume with as \
                         many as the run was started with",
                        self.steps_per_file
                    );
                    return Err(Error::line(path, line.number, problem));
                }
                // A last line without its line feed goes too: the next record would stand on it.
                Ok(_) if !line.is_whole() => break,
                Err(_) if end == bytes.len() => break,
                Err(problem) => return Err(Error::line(path, line.number, problem)),
                Ok(_) => kept = end,
            }
        }
        Ok(kept as u64)
    }
}

/// Reads a whole log: that of a run's folder, a single file of one, or TRL's `trainer_state.json`,
/// of which a folder may hold one too. A last line that is cut, as while it is being written, is
/// left out.
///
/// # Errors
/// [`Error::NoLog`] when a folder holds no log, [`Error::Line`] at the first bad line,
/// [`Error::File`] when a file cannot be read.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Record>, Error> {
    let path = path.as_ref();
    if !path.is_dir() {
        return if path.extension().is_some_and(|e| e == "json") {
            read_trl(path)
        } else {
            read_file(path)
        };
    }
    let files = files_of(path)?;
    let trl = path.join("trainer_state.json");
    match files.is_empty() {
        false => Ok(files
            .iter()
            .map(|(_, file)| read_file(file))
            .collect::<Result<Vec<_>, _>>()?
            .concat()),
        true if trl.exists() => read_trl(&trl),
        true => Err(Error::NoLog(path.into())),
    }
}

/// Whether a folder holds a log, even an empty one. [`Log::open`] at step 0 would remove its lines.
///
/// # Errors
/// [`Error::File`] when the folder cannot be read.
pub fn exists(folder: impl AsRef<Path>) -> Result<bool, Error> {
    Ok(!files_of(folder.as_ref())?.is_empty())
}

fn read_file(path: &Path) -> Result<Vec<Record>, Error> {
    let bytes = files::read_bytes(path, files::LARGEST_TEXT)?;
    let mut records = Vec::new();
    for line in lines(&bytes) {
        match line.record() {
            Ok(record) => records.extend(record),
            Err(_) if !line.is_whole() => {}
            Err(problem) => return Err(Error::line(path, line.number, problem)),
        }
    }
    Ok(records)
}

fn read_trl(path: &Path) -> Result<Vec<Record>, Error> {
    #[derive(serde::Deserialize)]
    struct State {
        log_history: Vec<Record>,
    }
    let text = convrec_core::files::read_text(path)?;
    // Python writes numbers that JSON has not.
    let text = text
        .replace(": NaN", ": null")
        .replace(": Infinity", ": null")
        .replace(": -Infinity", ": null");
    let mut state: State = serde_json::from_str(&text).map_err(|e| {
        Error::line(
            path,
            e.line(),
            format!("{e}; expected the `trainer_state.json` of a trainer"),
        )
    })?;
    // Some trainers write numbers as text.
    for value in state.log_history.iter_mut().flat_map(Record::values_mut) {
        let number = value
            .as_str()
            .and_then(|text| text.trim().parse::<f64>().ok());
        if let Some(number) = number.and_then(serde_json::Number::from_f64) {
            *value = number.into();
        }
    }
    Ok(state.log_history)
}

/// The files of a folder's log with their first steps, in order.
pub(crate) fn files_of(folder: &Path) -> Result<Vec<(usize, PathBuf)>, Error> {
    numbered(folder, &|name| match name {
        "log.jsonl" => Some(1),
        _ => name
            .strip_prefix("log-")?
            .strip_suffix(".jsonl")?
            .parse()
            .ok(),
    })
}

/// The files of a folder whose names have a number, in its order. A path that is no folder has
/// none.
pub(crate) fn numbered(
    folder: &Path,
    number: &dyn Fn(&str) -> Option<usize>,
) -> Result<Vec<(usize, PathBuf)>, Error> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(found);
        }
        other => other.map_err(Error::refused("read", folder))?,
    };
    for entry in entries {
        let path = entry.map_err(Error::refused("read", folder))?.path();
        let number = path.file_name().and_then(|name| number(name.to_str()?));
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found)
}

fn name(first: usize) -> String {
    if first == 1 {
        "log.jsonl".into()
    } else {
        format!("log-{first:06}.jsonl")
    }
}

/// The lines before the last one that are no records.
fn damaged(bytes: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut end = 0;
    lines(bytes).filter(move |line| {
        end += line.bytes.len();
        end < bytes.len() && line.record().is_err()
    })
}

/// A line of a file, its end included where it has one.
pub(crate) struct Line<'a> {
    pub(crate) number: usize,
    pub(crate) bytes: &'a [u8],
}

pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = Line<'_>> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .enumerate()
        .map(|(n, bytes)| Line {
            number: n + 1,
            bytes,
        })
}

impl Line<'_> {
    fn is_whole(&self) -> bool {
        self.bytes.ends_with(b"\n")
    }

    /// The record, none where the line is blank; or what is wrong.
    pub(crate) fn record(&self) -> Result<Option<Record>, String> {
        if self.bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        let record = serde_json::from_slice(self.bytes);
        record
            .map(Some)
            .map_err(|e| format!("{e}; expected a record as JSON: mend the line or remove it"))
    }
}
