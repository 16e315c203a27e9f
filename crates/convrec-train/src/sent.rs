//! The checkpoint that a run resumes from, sent to processes that do not see its folder.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use convrec_collective::ProcessGroup;
use convrec_core::files;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, CheckpointError};
use crate::processes::broadcast;
use crate::run::TrainError;

/// The bytes of a file that are sent at once.
const PIECE: usize = 1 << 24;

/// A checkpoint's folder.
pub(crate) struct Checkpoint {
    pub(crate) path: PathBuf,
    /// Where it is a copy, which goes with this.
    _copy: Option<tempfile::TempDir>,
}

/// The name of a checkpoint, and its files with their sizes.
#[derive(Serialize, Deserialize)]
struct Content {
    name: String,
    files: Vec<(String, u64)>,
}

/// The checkpoint that process 0 finds, if any: its folder, or in the other processes a copy.
pub(crate) fn newest(
    group: &ProcessGroup,
    find: impl FnOnce() -> Result<Option<PathBuf>, TrainError>,
) -> Result<Option<Checkpoint>, TrainError> {
    let found = if group.is_first() { find()? } else { None };
    let own = |path: PathBuf| Checkpoint { path, _copy: None };
    if group.size() == 1 {
        return Ok(found.map(own));
    }
    let content = broadcast(group, || found.as_deref().map(content).transpose())?;
    let Some(content) = content else {
        return Ok(None);
    };
    if let Some(path) = found {
        for (name, size) in &content.files {
            send(group, &path.join(name), *size)?;
        }
        return Ok(Some(own(path)));
    }
    let copy = tempfile::tempdir().map_err(|e| failed("make a folder in", "".as_ref(), e))?;
    // Errors name the checkpoint as process 0 does.
    let path = copy.path().join(&content.name);
    fs::create_dir(&path).map_err(|e| failed("write", &path, e))?;
    for (name, size) in &content.files {
        receive(group, &path.join(name), *size)?;
    }
    Ok(Some(Checkpoint {
        path,
        _copy: Some(copy),
    }))
}

fn content(checkpoint: &Path) -> Result<Content, TrainError> {
    let name = checkpoint.file_name().unwrap_or_default();
    let file = |name: String| {
        let path = checkpoint.join(&name);
        let size = fs::metadata(&path)
            .map_err(|e| failed("read", &path, e))?
            .len();
        Ok::<_, TrainError>((name, size))
    };
    let names = checkpoint::names(checkpoint).map_err(CheckpointError::File)?;
    Ok(Content {
        name: name.to_string_lossy().into_owned(),
        files: names.into_iter().map(file).collect::<Result<_, _>>()?,
    })
}

/// The sizes of the pieces of a file.
fn pieces(size: u64) -> impl Iterator<Item = usize> {
    let piece = PIECE as u64;
    (0..size.div_ceil(piece)).map(move |n| (size - n * piece).min(piece) as usize)
}

fn send(group: &ProcessGroup, path: &Path, size: u64) -> Result<(), TrainError> {
    let mut file = File::open(path).map_err(|e| failed("read", path, e))?;
    for piece in pieces(size) {
        let mut bytes = vec![0; piece];
        file.read_exact(&mut bytes)
            .map_err(|e| failed("read", path, e))?;
        group.broadcast(bytes)?;
    }
    Ok(())
}

fn receive(group: &ProcessGroup, path: &Path, size: u64) -> Result<(), TrainError> {
    let write = |e| failed("write", path, e);
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .map_err(write)?;
    let mut file = File::create(path).map_err(write)?;
    for _ in pieces(size) {
        let bytes = group.broadcast(vec![])?;
        std::io::Write::write_all(&mut file, &bytes).map_err(|e| failed("write", path, e))?;
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path, error: std::io::Error) -> TrainError {
    CheckpointError::File(files::Error::new(action, path, error)).into()
}
