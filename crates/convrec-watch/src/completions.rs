//! The completions of a run with their rewards: a file every so many steps.

use std::fs;
use std::path::{Path, PathBuf};

use convrec_core::files;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::log::{lines, numbered};

/// A completion: one line of `completions/step-000100.jsonl`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CompletionRecord {
    /// The step in which it was sampled, from 1.
    pub step: usize,
    /// The sample that it answers.
    pub id: String,
    /// The prompt as text, where the run keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The text of the completion.
    pub text: String,
    /// The items read from it, best first.
    pub items: Vec<ListedItem>,
    /// The reward of each rank, or one for the whole list.
    pub rewards: Vec<f64>,
    /// The advantage of each rank, or one for the whole list.
    pub advantages: Vec<f64>,
    /// Whether it ended by itself. A completion that did not was cut.
    pub ended: bool,
}

/// An item of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListedItem {
    /// As the policy wrote it.
    pub name: String,
    /// Whether it is in the catalog.
    pub in_catalog: bool,
    /// Whether it is relevant.
    pub hit: bool,
}

/// The files of completions of a run: the first, and the newest few.
///
/// The first stays, so that a report can show a policy before and after.
#[derive(Debug, Clone)]
pub struct Completions {
    folder: PathBuf,
    keep: usize,
}

impl Completions {
    /// Opens the completions of a run that stands after `step` steps. There may be no other writer.
    /// Files of later steps are removed, and so are half-written files of a killed process. The
    /// first file is kept, and the newest `keep` files.
    ///
    /// # Errors
    /// [`Error::File`] when the folder cannot be read or a file cannot be removed.
    pub fn open(run: impl AsRef<Path>, step: usize, keep: usize) -> Result<Self, Error> {
        let folder = run.as_ref().join("completions");
        let later = files_in(&folder)?
            .into_iter()
            .filter(|(at, _)| *at > step)
            .map(|(_, path)| path);
        for path in later.chain(left_aside(&folder)?) {
            fs::remove_file(&path).map_err(Error::refused("remove", &path))?;
        }
        Ok(Self {
            folder,
            keep: keep.max(1),
        })
    }

    /// Writes the completions of a step, and removes files that are no longer kept.
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be written or removed. Earlier files are then unchanged.
    pub fn write(&self, step: usize, completions: &[CompletionRecord]) -> Result<(), Error> {
        files::write_atomic(self.folder.join(format!("step-{step:06}.jsonl")), |out| {
            completions.iter().try_for_each(|completion| {
                serde_json::to_writer(&mut *out, completion)?;
                out.write_all(b"\n")
            })
        })?;
        let all = files_in(&self.folder)?;
        for (_, path) in all
            .iter()
            .skip(1)
            .take(all.len().saturating_sub(self.keep + 1))
        {
            fs::remove_file(path).map_err(Error::refused("remove", path))?;
        }
        Ok(())
    }
}

/// The steps whose completions a run's folder holds, in order, with their files.
///
/// # Errors
/// [`Error::File`] when the folder cannot be read.
pub fn kept(run: impl AsRef<Path>) -> Result<Vec<(usize, PathBuf)>, Error> {
    files_in(&run.as_ref().join("completions"))
}

/// Reads a file of completions.
///
/// # Errors
/// [`Error::File`] when it cannot be read, [`Error::Line`] at the first bad line.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<CompletionRecord>, Error> {
    let path = path.as_ref();
    let bytes = files::read_bytes(path, files::LARGEST_TEXT)?;
    let parse = |line: crate::log::Line<'_>| {
        let problem = |e| format!("{e}; expected a completion as JSON: mend the line or remove it");
        serde_json::from_slice(line.bytes).map_err(|e| Error::line(path, line.number, problem(e)))
    };
    lines(&bytes)
        .filter(|line| !line.bytes.trim_ascii().is_empty())
        .map(parse)
        .collect()
}

/// The files that a killed process left half written.
fn left_aside(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let found = numbered(folder, &|name| name.starts_with(files::ASIDE).then_some(0))?;
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn files_in(folder: &Path) -> Result<Vec<(usize, PathBuf)>, Error> {
    numbered(folder, &|name| {
        name.strip_prefix("step-")?
            .strip_suffix(".jsonl")?
            .parse()
            .ok()
    })
}
