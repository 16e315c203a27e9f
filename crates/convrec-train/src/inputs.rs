//! The inputs of a run, as the SHA-256 of files and folders.

use std::fs;
use std::path::{Path, PathBuf};

use convrec_core::files;
use convrec_core::hash::{sha256, sha256_file};

/// The depth to which folders in folders are read.
const DEPTH: usize = 8;

/// The SHA-256 of a data set: of a file's content, or of the names and contents of all files in a
/// folder. Where there is nothing at `path`, the files beside it count whose names begin with its
/// name, as `train.parquet` for `train`.
///
/// # Errors
/// [`files::Error`] when nothing is there or a file cannot be read.
pub fn hash_of_path(path: &Path) -> Result<String, files::Error> {
    if path.is_file() {
        return sha256_file(path);
    }
    let mut found = Vec::new();
    if path.is_dir() {
        collect(path, DEPTH, &mut found)?;
    } else {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let near = entries(parent.unwrap_or(Path::new(".")))?;
        let begins = |near: &PathBuf| {
            let file = near.file_name().unwrap_or_default().to_string_lossy();
            near.is_file() && !name.is_empty() && file.starts_with(&*name)
        };
        found.extend(near.into_iter().filter(begins));
    }
    if found.is_empty() {
        let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "no file is there");
        return Err(files::Error::new("read", path, missing));
    }
    let base = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(path)
    };
    let line = |file: &PathBuf| {
        let name = file.strip_prefix(base).unwrap_or(file).display();
        Ok(format!("{} {name}\n", sha256_file(file)?))
    };
    let mut lines = found
        .iter()
        .map(line)
        .collect::<Result<Vec<_>, files::Error>>()?;
    lines.sort();
    Ok(sha256(lines.concat().as_bytes()))
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), files::Error> {
    for path in entries(folder)? {
        if path.is_file() {
            found.push(path);
        } else if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, found)?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, files::Error> {
    let read = |e| files::Error::new("read", folder, e);
    let entries = fs::read_dir(folder).map_err(read)?;
    entries
        .map(|entry| Ok(entry.map_err(read)?.path()))
        .collect()
}

/// A key of the inputs in words.
pub(crate) fn in_words(key: &str) -> &str {
    match key {
        "catalog_sha256" => "the catalog",
        "demonstrations_sha256" => "the demonstrations",
        "conversations_sha256" => "the conversations",
        "blocklist_sha256" => "the blocklist",
        "validation_sha256" => "the validation samples",
        "tokenizer_sha256" => "the tokenizer",
        "semantic_ids_sha256" => "the semantic ids of the items",
        "task_sha256" => "the model's task.json",
        "chat_template_sha256" => "the model's chat template",
        "retriever_sha256" => "the retriever",
        "model_sha256" => "the model's weights",
        "policy_config_sha256" => "the policy's shape",
        "item_vectors" => "the choice of item vectors",
        "lists" => "the kind of lists",
        "sampler" => "the kind of sampler",
        "evaluate_every" => "the number of steps between evaluations",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_hashed_by_all_that_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let hash = |name: &str| hash_of_path(&folder.path().join(name));
        write("data/train/one.arrow", "1");
        write("data/state.json", "{}");
        let first = hash("data").unwrap();
        assert_eq!(hash("data").unwrap(), first);
        write("data/train/one.arrow", "2");
        assert_ne!(hash("data").unwrap(), first);
        write("train.parquet", "3");
        assert_eq!(hash("train").unwrap().len(), 64);
        assert_eq!(hash("train.parquet").unwrap(), sha256(b"3"));
        assert!(hash("none").unwrap_err().to_string().contains("none"));
    }
}
