//! What is at a path: which files, in which format.

use std::fs::File;
use std::io::BufReader;
use std::path::{Component, Path, PathBuf};

use convrec_core::{files, jsonl};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::conversations::Row;
use crate::error::{At, Error, Place};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Jsonl,
    Arrow,
    Parquet,
}

/// One split of a data set.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
    /// In the order of their rows; at least one.
    pub(crate) files: Vec<PathBuf>,
    /// What its rows are named after: `<folder>-<split>`.
    pub(crate) name: String,
}

/// `dataset_dict.json`
#[derive(Deserialize)]
struct DatasetDict {
    splits: Vec<String>,
}

/// `state.json`
#[derive(Deserialize)]
struct State {
    #[serde(rename = "_data_files")]
    data_files: Vec<DataFile>,
    /// Older releases could save a selection of rows instead of the rows.
    #[serde(rename = "_indices_data_files", default)]
    indices: Option<Vec<DataFile>>,
}

#[derive(Deserialize)]
struct DataFile {
    filename: String,
}

impl Source {
    pub(crate) fn find(path: &Path, split: Option<&str>) -> Result<Self, Error> {
        if let Err(error) = std::fs::metadata(path) {
            // `DIR/train` for `DIR/train.parquet`, as it is for a folder that `datasets` saved.
            let folder = path.parent().map(|folder| {
                if folder == Path::new("") {
                    Path::new(".")
                } else {
                    folder
                }
            });
            return match (
                folder.filter(|folder| folder.is_dir()),
                path.file_name().and_then(|name| name.to_str()),
            ) {
                (Some(folder), Some(name)) if split.is_none() && path.extension().is_none() => {
                    Self::in_folder(folder, name)
                }
                _ => Err(files::Error::new("read", path, error).into()),
            };
        }
        if let Some(split) = split.filter(|split| !is_plain(split)) {
            return Err(Error::layout(
                path,
                format!("`{split}` is no name of a split"),
            ));
        }
        let is_split_folder = path.join("state.json").is_file();
        if !path.is_dir() || is_split_folder {
            if let Some(split) = split {
                let problem = format!(
                    "it is one split itself; leave out the split `{split}`, or name the folder above"
                );
                return Err(Error::layout(path, problem));
            }
            return if is_split_folder {
                Self::saved(path, path)
            } else {
                Self::file(path)
            };
        }
        if path.join("dataset_dict.json").is_file() {
            let DatasetDict { splits } = read_json(&path.join("dataset_dict.json"))?;
            return match (split, splits.as_slice()) {
                (Some(split), _) if splits.iter().any(|one| one == split) => {
                    Self::saved(path, &path.join(split))
                }
                (None, [only]) if is_plain(only) => Self::saved(path, &path.join(only)),
                _ => Err(Error::layout(
                    path,
                    format!("name one of its splits: {}", splits.join(", ")),
                )),
            };
        }
        match split {
            Some(split) => Self::in_folder(path, split),
            None => Err(Error::layout(
                path,
                "expected a folder with `dataset_dict.json` or `state.json`; for `<split>.parquet` or `<split>.jsonl` in \
                 it, name the split, as in `folder/train`",
            )),
        }
    }

    /// One file.
    fn file(path: &Path) -> Result<Self, Error> {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        let format = match &*extension {
            "jsonl" | "json" => Format::Jsonl,
            "parquet" => Format::Parquet,
            "arrow" => Format::Arrow,
            _ => {
                let problem = "expected a file `.jsonl`, `.parquet` or `.arrow`, or a folder that `datasets` saved";
                return Err(Error::layout(path, problem));
            }
        };
        Ok(Self {
            path: path.into(),
            format,
            files: vec![path.into()],
            name: last_two_names(&path.with_extension("")),
        })
    }

    /// One split that `datasets` saved in `folder`.
    fn saved(path: &Path, folder: &Path) -> Result<Self, Error> {
        let state = folder.join("state.json");
        let State {
            data_files,
            indices,
        } = read_json(&state)?;
        if indices.is_some_and(|indices| !indices.is_empty()) {
            let problem = "it selects rows by `_indices_data_files`, which is not read; save `dataset.flatten_indices()`";
            return Err(Error::layout(&state, problem));
        }
        if let Some(DataFile { filename }) =
            data_files.iter().find(|file| !is_plain(&file.filename))
        {
            return Err(Error::layout(
                &state,
                format!("it names the file `{filename}`; expected one in its folder"),
            ));
        }
        let files: Vec<PathBuf> = data_files
            .iter()
            .map(|file| folder.join(&file.filename))
            .collect();
        if files.is_empty() {
            return Err(Error::layout(
                &state,
                "it names no files in `_data_files`; expected at least one",
            ));
        }
        Ok(Self {
            path: path.into(),
            format: Format::Arrow,
            files,
            name: last_two_names(folder),
        })
    }

    /// The files of a split that lie side by side.
    fn in_folder(folder: &Path, split: &str) -> Result<Self, Error> {
        let read = |e| files::Error::new("read", folder, e);
        let names = std::fs::read_dir(folder)
            .map_err(read)?
            .map(|entry| entry.map(|e| e.file_name()));
        let names: Vec<_> = names.collect::<Result<_, _>>().map_err(read)?;
        let of_split = |ending: &str| {
            let rest = |name: &std::ffi::OsString| {
                name.to_str()?
                    .strip_suffix(ending)?
                    .strip_prefix(split)
                    .map(|rest| (rest.to_string(), folder.join(name)))
            };
            let (whole, rest): (Vec<_>, Vec<_>) = names
                .iter()
                .filter_map(rest)
                .partition(|(rest, _)| rest.is_empty());
            let mut parts: Vec<_> = rest
                .into_iter()
                .filter_map(|(rest, path)| Some((part(&rest)?, path)))
                .collect();
            parts.sort();
            if let Some(problem) =
                incomplete(&parts.iter().map(|(part, _)| *part).collect::<Vec<_>>())
            {
                return Err(Error::layout(
                    folder,
                    format!("the parts `{split}-...{ending}`: {problem}"),
                ));
            }
            if !whole.is_empty() && !parts.is_empty() {
                let problem = format!(
                    "`{split}{ending}` and parts of it; expected one or the other: take one of them away"
                );
                return Err(Error::layout(folder, problem));
            }
            Ok(whole
                .into_iter()
                .map(|(_, path)| path)
                .chain(parts.into_iter().map(|(_, path)| path))
                .collect::<Vec<_>>())
        };
        let (format, files) = match (of_split(".parquet")?, of_split(".jsonl")?) {
            (parquet, jsonl) if jsonl.is_empty() && !parquet.is_empty() => {
                (Format::Parquet, parquet)
            }
            (parquet, jsonl) if parquet.is_empty() && jsonl.len() == 1 => (Format::Jsonl, jsonl),
            (parquet, jsonl) => {
                let found = parquet.len() + jsonl.len();
                let problem = format!(
                    "expected one of `{split}.jsonl`, `{split}.parquet`, `{split}-00000-of-00001.parquet`, ...; found {found} such files",
                );
                return Err(Error::layout(folder, problem));
            }
        };
        Ok(Self {
            path: folder.into(),
            format,
            files,
            name: last_two_names(&folder.join(split)),
        })
    }

    /// The rows of all files, one after the other.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        self.files.iter().flat_map(|path| {
            rows(self.format, path).unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
        })
    }
}

/// The number of a part, from 0, and how many there are: of `-00000-of-00002`, which older releases
/// of `datasets` end with a fingerprint of 16 digits.
fn part(rest: &str) -> Option<(usize, usize)> {
    let digits = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse().ok())?
    };
    let (index, count) = rest.strip_prefix('-')?.split_once("-of-")?;
    let is_fingerprint =
        |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let count = count
        .split_once('-')
        .filter(|(_, end)| is_fingerprint(end))
        .map_or(count, |(count, _)| count);
    Some((digits(index)?, digits(count)?))
}

/// What keeps these parts, which are sorted, from being all parts of one split, each once.
fn incomplete(parts: &[(usize, usize)]) -> Option<String> {
    let count = parts.first()?.1;
    if let Some((_, other)) = parts.iter().find(|(_, other)| *other != count) {
        return Some(format!(
            "some are of {count}, some of {other}; expected those of one data set"
        ));
    }
    if let Some(missing) = (0..count).find(|index| !parts.contains(&(*index, count))) {
        return Some(format!(
            "number {missing:05} of {count:05} is missing; fetch it"
        ));
    }
    (parts.len() != count).then(|| {
        format!(
            "{} files for {count} parts; expected one for each",
            parts.len()
        )
    })
}

fn rows(format: Format, path: &Path) -> Result<Box<dyn Iterator<Item = Row>>, Error> {
    let name = path.display().to_string();
    match format {
        #[cfg(not(feature = "arrow"))]
        Format::Arrow => Err(Error::Feature {
            path: name,
            feature: "arrow",
        }),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => Err(Error::Feature {
            path: name,
            feature: "parquet",
        }),
        #[cfg(feature = "arrow")]
        Format::Arrow => Ok(Box::new(crate::arrow::rows(open(path)?, &name))),
        #[cfg(feature = "parquet")]
        Format::Parquet => Ok(Box::new(crate::parquet::rows(open(path)?, &name))),
        Format::Jsonl => {
            let rows = jsonl::rows(BufReader::new(open(path)?), &name);
            let row = move |row: Result<_, jsonl::Error>| {
                let (line, row) = row?;
                Ok((Place::new(&name, At::Line(line)), row))
            };
            Ok(Box::new(rows.map(row)))
        }
    }
}

fn open(path: &Path) -> Result<File, files::Error> {
    File::open(path).map_err(|e| files::Error::new("read", path, e))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = files::read_text(path)?;
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(&text))
        .map_err(|e| Error::layout(path, e.to_string()))
}

/// Whether `name` is a file's name and leads nowhere else.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

/// `<folder>-<name>`, which is the same however the path was written.
fn last_two_names(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let normal = |part| {
        if let Component::Normal(name) = part {
            Some(name.to_string_lossy())
        } else {
            None
        }
    };
    let names: Vec<_> = path.components().filter_map(normal).collect();
    names[names.len().saturating_sub(2)..].join("-")
}
