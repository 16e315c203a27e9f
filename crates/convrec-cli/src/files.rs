use std::path::{Path, PathBuf};

use convrec_core::files;

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
    #[error("an output would replace {0}, which is needed; name another file")]
    Needed(PathBuf),
    /// Two outputs have the same name.
    #[error("{0} is named for two outputs; name another file for one of them")]
    Twice(PathBuf),
}

/// Checks that files can be written at `outputs`, before the work is done that makes their content,
/// and that they replace none of the files that are read. Their folders are made.
///
/// # Errors
/// [`OutputError`] for the first output that cannot be written.
pub fn check_outputs<'a>(
    outputs: impl IntoIterator<Item = &'a PathBuf>,
    inputs: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<(), OutputError> {
    let inputs: Vec<&Path> = inputs.into_iter().map(PathBuf::as_path).collect();
    let mut places = vec![];
    for path in outputs {
        if path.is_dir() {
            return Err(OutputError::Folder(path.into()));
        }
        let failed = |error| OutputError::Write(path.into(), error);
        let place = files::replaced(path).map_err(failed)?;
        let folder = place
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        check_folder(folder)?;
        check_apart(path, inputs.iter().copied())?;
        let folder = folder.canonicalize().map_err(failed)?;
        let place = folder.join(place.file_name().unwrap_or_default());
        if places.contains(&place) {
            return Err(OutputError::Twice(path.into()));
        }
        places.push(place);
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_replace_nothing_that_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let named = |name: &str| folder.path().join(name);
        let (input, new) = (named("in.jsonl"), named("new/out.jsonl"));
        std::fs::write(&input, "rows").unwrap();
        let same = folder.path().join("new/../in.jsonl");
        check_outputs([&new], [&input]).unwrap();
        for (outputs, part) in [
            (vec![&input], "which is needed"),
            (vec![&new, &same], "which is needed"),
            (vec![&new, &new], "for two outputs"),
            (vec![&folder.path().to_path_buf()], "is a folder"),
        ] {
            let error = check_outputs(outputs, [&input]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(std::fs::read_to_string(&input).unwrap(), "rows");
    }
}
