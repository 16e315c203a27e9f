//! What the policy wrote, and what it earned: a file of completions every so many steps.

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
    /// The step that it was sampled in, from 1.
    pub step: usize,
    /// The sample that it answers.
    pub id: String,
    /// What the policy was asked, where it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What the policy wrote.
    pub text: String,
    /// The items read from it, best first.
    pub items: Vec<ListedItem>,
    /// The reward of each rank, or one for the whole list.
    pub rewards: Vec<f64>,
    /// The advantage of each rank, or one for the whole list.
    pub advantages: Vec<f64>,
    /// Whether it ended by itself; else it was cut.
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
    /// Those of a run's folder that stands after `step` steps, of which this is the only writer:
    /// files of later steps go, and what a killed process left half written. Besides the first,
    /// `keep` files are kept.
    ///
    /// # Errors
    /// When the system refuses.
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

    /// Writes the completions of a step, and removes what is no longer kept.
    ///
    /// # Errors
    /// When the system refuses; what was there before is still there.
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
/// When the system refuses.
pub fn kept(run: impl AsRef<Path>) -> Result<Vec<(usize, PathBuf)>, Error> {
    files_in(&run.as_ref().join("completions"))
}

/// Reads a file of completions.
///
/// # Errors
/// When it cannot be read, and at the first bad line: file and line are named.
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

/// What a process that was killed while it wrote left beside the files.
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
