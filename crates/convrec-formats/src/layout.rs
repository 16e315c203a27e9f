//! The data at a path: files and folders in the layouts of `datasets` and of the hub.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use convrec_core::files;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, shown_names};
use crate::input::Input;
use crate::source::{Content, Format, Source};

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

/// Files in a folder that describe data and hold none.
const DESCRIPTIONS: [&str; 5] = [
    "dataset_info",
    "dataset_infos",
    "config",
    "state",
    "metadata",
];

const KINDS: &str = "expected a file `.jsonl`, `.json`, `.csv`, `.tsv`, `.parquet`, `.arrow`, \
                     `.feather` or `.pkl`, or a folder that `datasets` saved";

/// See [`Source::find`].
pub(crate) fn find(path: &Path, split: Option<&str>) -> Result<Source, Error> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return not_there(path, split, error),
    };
    if let Some(split) = split.filter(|split| !is_plain(split)) {
        return Err(Error::layout(
            path,
            format!("`{split}` is no name of a split"),
        ));
    }
    let is_split_folder = path.join("state.json").is_file();
    if !metadata.is_dir() || is_split_folder {
        if let Some(split) = split {
            let problem = format!(
                "it is one split itself; leave out the split `{split}`, or name the folder above"
            );
            return Err(Error::layout(path, problem));
        }
        return if is_split_folder {
            saved(path, path)
        } else {
            file(path)
        };
    }
    if !path.join("dataset_dict.json").is_file() {
        return in_folder(path, split);
    }
    let DatasetDict { splits } = read_json(&path.join("dataset_dict.json"))?;
    match (split, splits.as_slice()) {
        (Some(split), _) if splits.iter().any(|one| one == split) => saved(path, &path.join(split)),
        (None, [only]) if is_plain(only) => saved(path, &path.join(only)),
        _ => {
            let names = shown_names(splits.iter().map(String::as_str));
            Err(Error::layout(
                path,
                format!("name one of its splits: {names}"),
            ))
        }
    }
}

/// `DIR/train` for `DIR/train.parquet`, as it is for a folder that `datasets` saved.
fn not_there(path: &Path, split: Option<&str>, error: std::io::Error) -> Result<Source, Error> {
    let above = path
        .parent()
        .map(|above| match above.as_os_str().is_empty() {
            true => Path::new("."),
            false => above,
        });
    let name = path.file_name().and_then(|name| name.to_str());
    let (Some(above), Some(name)) = (above.filter(|above| above.is_dir()), name) else {
        return Err(files::Error::new("read", path, error).into());
    };
    if split.is_some() || path.extension().is_some() {
        return Err(files::Error::new("read", path, error).into());
    }
    match splits(above) {
        // A folder without any data is not meant.
        Ok(found) if found.is_empty() => Err(files::Error::new("read", path, error).into()),
        Ok(found) if !found.contains_key(name) => {
            let problem = format!(
                "there is no such file, and in the folder above {}",
                no_split(name, &found)
            );
            Err(Error::layout(path, problem))
        }
        _ => in_folder(above, Some(name)),
    }
}

/// One file.
fn file(path: &Path) -> Result<Source, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some((format, stem)) = Format::of_name(&name) else {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        let advice = match ending.to_ascii_lowercase().as_str() {
            "xlsx" | "xls" | "ods" => ". Save the table as CSV UTF-8",
            "dat" | "item" => ". MovieLens' older files have no header: convert them to CSV",
            "zip" | "tar" | "tgz" | "bz2" | "xz" | "zst" => ". Unpack it",
            "txt" => ". Give a table with a header the ending `.tsv` or `.csv`",
            _ => "",
        };
        return Err(Error::layout(path, format!("{KINDS}{advice}")));
    };
    // A file that cannot be opened is reported now. Its content is read later.
    Input::open(path)?;
    Ok(Source {
        path: path.into(),
        format,
        content: Content::Files(vec![path.into()]),
        name: last_two_names(&path.with_file_name(stem)),
    })
}

/// One split that `datasets` saved in `folder`.
fn saved(path: &Path, folder: &Path) -> Result<Source, Error> {
    let state = folder.join("state.json");
    let State {
        data_files,
        indices,
    } = read_json(&state)?;
    if indices.is_some_and(|indices| !indices.is_empty()) {
        let problem = "it selects rows by `_indices_data_files`, which is not read; save \
                       `dataset.flatten_indices()`";
        return Err(Error::layout(&state, problem));
    }
    if let Some(DataFile { filename }) = data_files.iter().find(|file| !is_plain(&file.filename)) {
        let problem = format!("it names the file `{filename}`; expected one in its folder");
        return Err(Error::layout(&state, problem));
    }
    let files = data_files.iter().map(|file| folder.join(&file.filename));
    let files: Vec<PathBuf> = files.collect();
    if files.is_empty() {
        let problem = "it names no files in `_data_files`; expected at least one";
        return Err(Error::layout(&state, problem));
    }
    Ok(Source {
        path: path.into(),
        format: Format::Arrow,
        content: Content::Files(files),
        name: last_two_names(folder),
    })
}

/// The files of one split, in one format.
type Parts = BTreeMap<Format, Vec<PathBuf>>;

fn no_split(split: &str, found: &BTreeMap<String, Parts>) -> String {
    let names = shown_names(found.keys().map(String::as_str));
    format!(
        "there is no split `{split}`; expected `{split}.jsonl`, `{split}.parquet`, \
         `{split}-00000-of-00001.parquet` or the like in it, in its `data/`, or in \
         `default/{split}/`; found the splits {names}"
    )
}

/// A split of a folder without a description of its content.
fn in_folder(folder: &Path, split: Option<&str>) -> Result<Source, Error> {
    let splits = splits(folder)?;
    let names = || shown_names(splits.keys().map(String::as_str));
    let (split, parts) = match split {
        Some(split) => splits
            .get_key_value(split)
            .ok_or_else(|| Error::layout(folder, no_split(split, &splits)))?,
        None if splits.len() == 1 => splits.first_key_value().expect("there is one"),
        None if splits.is_empty() => {
            return Err(Error::layout(
                folder,
                format!("there is no data in it; {KINDS}"),
            ));
        }
        None => {
            let problem = format!(
                "name the split, as in `{}`; found the splits {}",
                folder
                    .join(splits.keys().next().expect("there are some"))
                    .display(),
                names()
            );
            return Err(Error::layout(folder, problem));
        }
    };
    let (format, files) = match parts.iter().collect::<Vec<_>>().as_slice() {
        [(format, files)] => (**format, whole(folder, split, files)?),
        several => {
            let found = several.iter().flat_map(|(_, files)| files.iter());
            let found: Vec<String> = found.map(|path| file_name(path)).collect();
            let problem = format!(
                "the split `{split}` is there in several formats, {}; take all but one away",
                shown_names(found.iter().map(String::as_str))
            );
            return Err(Error::layout(folder, problem));
        }
    };
    Ok(Source {
        path: folder.into(),
        format,
        content: Content::Files(files),
        name: last_two_names(&folder.join(split)),
    })
}

/// The splits of a folder. They are in it, else in its `data`, else in a folder for each split,
/// there or in the folder of the one configuration.
fn splits(folder: &Path) -> Result<BTreeMap<String, Parts>, Error> {
    let below = |folder: &Path| -> Result<BTreeMap<String, Parts>, Error> {
        let mut splits = files_by_split(folder)?;
        for inner in entries(folder, Path::is_dir)? {
            let parts = numbered_files(&inner)?;
            if !parts.is_empty() {
                splits.entry(file_name(&inner)).or_insert(parts);
            }
        }
        Ok(splits)
    };
    let own = numbered_files(folder)?;
    if !own.is_empty() {
        return Ok(BTreeMap::from([(file_name(folder), own)]));
    }
    let found = below(folder)?;
    if !found.is_empty() {
        return Ok(found);
    }
    let mut configurations = Vec::new();
    for inner in entries(folder, Path::is_dir)? {
        let found = below(&inner)?;
        if !found.is_empty() {
            configurations.push((inner, found));
        }
    }
    let is_usual = |inner: &Path| matches!(file_name(inner).as_str(), "data" | "default");
    if configurations.len() > 1 && configurations.iter().any(|(inner, _)| is_usual(inner)) {
        configurations.retain(|(inner, _)| is_usual(inner));
    }
    if configurations.len() > 1 {
        let names: Vec<String> = configurations
            .iter()
            .map(|(inner, _)| file_name(inner))
            .collect();
        let names = shown_names(names.iter().map(String::as_str));
        let problem = format!("there is data in several folders; name one of them: {names}");
        return Err(Error::layout(folder, problem));
    }
    Ok(configurations
        .pop()
        .map(|(_, found)| found)
        .unwrap_or_default())
}

/// The entries of a folder that `wanted` takes, sorted. Hidden ones are left out.
fn entries(folder: &Path, wanted: fn(&Path) -> bool) -> Result<Vec<PathBuf>, Error> {
    let failed = |e| files::Error::new("read", folder, e);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if wanted(&path) && !file_name(&path).starts_with('.') {
            entries.push(path);
        }
    }
    entries.sort();
    Ok(entries)
}

fn files_by_split(folder: &Path) -> Result<BTreeMap<String, Parts>, Error> {
    let mut splits: BTreeMap<String, Parts> = BTreeMap::new();
    for path in entries(folder, Path::is_file)? {
        let name = file_name(&path);
        match Format::of_name(&name) {
            Some((format, stem)) if !DESCRIPTIONS.contains(&stem) && number(stem).is_none() => {
                let split = part(stem).map_or(stem, |(split, _)| split);
                let files = splits
                    .entry(split.into())
                    .or_default()
                    .entry(format)
                    .or_default();
                files.push(path);
            }
            _ => {}
        }
    }
    Ok(splits)
}

/// The files of a folder that are named by numbers, as the hub's converter and Spark name them.
fn numbered_files(folder: &Path) -> Result<Parts, Error> {
    let mut numbered = Vec::new();
    for path in entries(folder, Path::is_file)? {
        if let Some((format, stem)) = Format::of_name(&file_name(&path))
            && let Some(number) = number(stem)
        {
            numbered.push((number, format, path));
        }
    }
    // By number: Dask writes `part.10` behind `part.9`.
    numbered.sort();
    let mut parts = Parts::new();
    for (_, format, path) in numbered {
        parts.entry(format).or_default().push(path);
    }
    Ok(parts)
}

fn is_number(stem: &str) -> bool {
    !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_digit())
}

/// The number of a file without the count of files: `0000`, and what Spark, pyarrow and Dask write:
/// `part-00000-<job>.c000.snappy`, `part-0`, `part.0`.
fn number(stem: &str) -> Option<u64> {
    let of_part = stem
        .strip_prefix("part")
        .and_then(|rest| rest.strip_prefix(['-', '.', '_']));
    let digits = match of_part {
        Some(rest) => rest.split(['-', '.', '_']).next()?,
        None => stem,
    };
    let is_part_of_counted = of_part.is_some() && part(stem).is_some();
    (is_number(digits) && !is_part_of_counted).then(|| digits.parse().ok())?
}

/// The files of a split in the order of their rows, when none is missing.
fn whole(folder: &Path, split: &str, files: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let stem = |path: &PathBuf| {
        let name = file_name(path);
        Format::of_name(&name).map_or(name.clone(), |(_, stem)| stem.to_string())
    };
    let stems: Vec<String> = files.iter().map(stem).collect();
    let mut parts: Vec<((usize, usize), &PathBuf)> = Vec::new();
    for (stem, path) in stems.iter().zip(files) {
        if let Some((_, number)) = part(stem) {
            parts.push((number, path));
        }
    }
    parts.sort();
    let numbers: Vec<_> = parts.iter().map(|(number, _)| *number).collect();
    if let Some(problem) = incomplete(&numbers) {
        return Err(Error::layout(
            folder,
            format!("the parts of `{split}`: {problem}"),
        ));
    }
    // Nothing can be missing from a whole file, or from files that are numbered without their
    // count.
    if parts.is_empty() && (files.len() == 1 || stems.iter().all(|stem| number(stem).is_some())) {
        return Ok(files.to_vec());
    }
    if parts.len() < files.len() {
        let names: Vec<String> = files.iter().map(|path| file_name(path)).collect();
        let problem = format!(
            "the split `{split}` is there twice, {}; take all but one away",
            shown_names(names.iter().map(String::as_str))
        );
        return Err(Error::layout(folder, problem));
    }
    Ok(parts.into_iter().map(|(_, path)| path.clone()).collect())
}

/// The split of a part, its number from 0, and the number of parts, as in `train-00000-of-00002`.
/// Older releases of `datasets` end the name with a fingerprint of 16 digits.
fn part(stem: &str) -> Option<(&str, (usize, usize))> {
    let number = |text: &str| is_number(text).then(|| text.parse().ok())?;
    let (split, rest) = stem.rsplit_once("-of-")?;
    let (split, index) = split.rsplit_once('-')?;
    let is_fingerprint =
        |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let count = rest
        .split_once('-')
        .filter(|(_, end)| is_fingerprint(end))
        .map_or(rest, |(count, _)| count);
    Some((split, (number(index)?, number(count)?)))
}

/// The reason why these sorted parts are not all parts of one split, each once.
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
    let found = parts.len();
    (found != count).then(|| format!("{found} files for {count} parts; expected one for each"))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = Input::open(path)?.whole()?;
    // Windows' editors put a byte order mark in front.
    let json = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(json))
        .map_err(|e| Error::layout(path, e.to_string()))
}

/// Whether `name` is a file's name and leads nowhere else.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// `<folder>-<name>`, which is the same for all forms of the path.
fn last_two_names(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let normal = |part| match part {
        Component::Normal(name) => Some(std::ffi::OsStr::to_string_lossy(name)),
        _ => None,
    };
    let names: Vec<_> = path.components().filter_map(normal).collect();
    names[names.len().saturating_sub(2)..].join("-")
}
