//! Scored conversations in files, so that several processes or machines may score parts of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use convrec_catalog::Catalog;
use convrec_core::Example;
use convrec_core::files::{self, write_atomic};
use convrec_core::hash::{sha256, sha256_file};
use convrec_core::jsonl::{self, Check};
use ndarray::{Array2, Axis, concatenate};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::scored::Row;
use super::{Failure, PipelineConfig, Scored};

/// One of the parts into which the conversations are cut, counted from 1 and written `2/8`.
///
/// ```
/// use convrec_demonstrations::Shard;
///
/// let shard: Shard = "2/3".parse()?;
/// assert_eq!(shard.range(10), 3..6);
/// assert_eq!(
///     "4/3".parse::<Shard>().unwrap_err(),
///     "`4/3`; expected a part and the number of parts, as in `2/8`"
/// );
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    part: usize,
    of: usize,
}

impl Shard {
    /// The places of its conversations among `n`. Parts follow each other and differ by one in size
    /// at most.
    pub fn range(self, n: usize) -> Range<usize> {
        // The product of two large numbers needs u128.
        let bound = |part: usize| (part as u128 * n as u128 / self.of as u128) as usize;
        bound(self.part - 1)..bound(self.part)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<usize>().ok().filter(|&number| number > 0);
        let parts = text
            .split_once('/')
            .and_then(|(part, of)| Some((number(part)?, number(of)?)));
        match parts {
            Some((part, of)) if part <= of => Ok(Self { part, of }),
            _ => Err(format!(
                "`{text}`; expected a part and the number of parts, as in `2/8`"
            )),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
}

/// The origin of scored conversations. Parts are put together only where their origins are equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The settings of the pipeline.
    pub config: PipelineConfig,
    /// Everything else that decides the scores, by name: hashes of the catalog and of the
    /// conversations, the teacher, the judge, the embedder.
    pub inputs: BTreeMap<String, String>,
}

impl Origin {
    /// The origin of conversations that are scored with these settings and services.
    ///
    /// # Panics
    /// Never, as plain data can be written as JSON.
    #[must_use]
    pub fn new(
        config: PipelineConfig,
        catalog: &Catalog,
        examples: &[Example],
        services: &[(&'static str, String)],
    ) -> Self {
        // It is a hash of hashes, so that rows need not be in memory twice.
        fn hash<'a, T: Serialize + 'a>(rows: impl Iterator<Item = &'a T>) -> String {
            let row =
                |row: &T| sha256(&serde_json::to_vec(row).expect("plain data can be written"));
            sha256(rows.map(row).collect::<String>().as_bytes())
        }
        let mut inputs = BTreeMap::from([
            (
                "catalog_sha256".to_string(),
                hash(catalog.iter().map(|(_, item)| item)),
            ),
            ("conversations_sha256".to_string(), hash(examples.iter())),
        ]);
        inputs.extend(
            services
                .iter()
                .map(|(role, name)| (role.to_string(), name.clone())),
        );
        Self { config, inputs }
    }

    /// Checks that parts of this origin have the inputs and settings of now.
    ///
    /// # Errors
    /// [`OriginError`] with the first difference.
    pub fn check(&self, now: &Self) -> Result<(), OriginError> {
        if self.config != now.config {
            return Err(OriginError::Config);
        }
        let differs =
            |(name, _): &(&String, &String)| self.inputs.get(*name) != now.inputs.get(*name);
        match now.inputs.iter().find(differs) {
            None => Ok(()),
            Some((name, expected)) => Err(OriginError::Input {
                name: name.clone(),
                found: self
                    .inputs
                    .get(name)
                    .cloned()
                    .unwrap_or_else(|| "none".into()),
                expected: expected.clone(),
            }),
        }
    }
}

/// Parts were made from other inputs or settings than those of now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// The settings of the pipeline differ.
    #[error(
        "the parts were made with other settings of the pipeline; give the same --config and flags"
    )]
    Config,
    /// An input differs.
    #[error("{name} of the parts is {found}, here it is {expected}; give the same options")]
    Input {
        /// The name of the input.
        name: String,
        /// The value of the parts.
        found: String,
        /// The value of now.
        expected: String,
    },
}

/// The reason why parts cannot be written, read or put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A line of `rows.jsonl` is bad.
    #[error(transparent)]
    Line(#[from] jsonl::Error),
    /// A file differs from what was written.
    #[error("{path}: {problem}; score the part again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The fault.
        problem: String,
    },
    /// A part is missing, or one is there twice.
    #[error("{0}")]
    Incomplete(String),
    /// The parts are of different runs.
    #[error(
        "{one} and {other} differ in {field}: {left} and {right}; score them with the same settings"
    )]
    Different {
        /// A part's folder.
        one: PathBuf,
        /// Another part's folder.
        other: PathBuf,
        /// The field in which they differ.
        field: String,
        /// The value of the one.
        left: String,
        /// The value of the other.
        right: String,
    },
}

const ABOUT: &str = "shard.json";
const ROWS: &str = "rows.jsonl";
const QUERIES: &str = "queries.safetensors";

/// `shard.json`, which is written last. A part that has it is whole.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    shard: Shard,
    origin: Origin,
    /// SHA-256 of the other files.
    files: BTreeMap<String, String>,
}

/// A line of `rows.jsonl`: a conversation, and its row or the problem.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    example: Cow<'a, Example>,
    row: Option<Cow<'a, Row>>,
    problem: Option<String>,
}

impl Check for Line<'_> {
    fn check(&self) -> Result<(), (&'static str, String)> {
        match (&self.row, &self.problem) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            _ => Err(("row", "expected either a `row` or a `problem`".into())),
        }
    }
}

impl Scored<'_> {
    /// Writes these conversations as a part of a run, into a folder: `rows.jsonl`,
    /// `queries.safetensors`, `shard.json`.
    ///
    /// # Errors
    /// [`ShardError::File`] when a file cannot be written. A part that was there before is then no
    /// part any more.
    pub fn write(&self, folder: &Path, shard: Shard, origin: &Origin) -> Result<(), ShardError> {
        let about = folder.join(ABOUT);
        match std::fs::remove_file(&about) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(files::Error::new("replace", about, e).into());
            }
            _ => {}
        }
        write_atomic(folder.join(ROWS), |out| {
            for line in self.lines() {
                serde_json::to_writer(&mut *out, &line)?;
                out.write_all(b"\n")?;
            }
            Ok(())
        })?;
        let bytes: Vec<u8> = self.queries.iter().flat_map(|x| x.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, self.queries.shape().to_vec(), &bytes)
            .expect("as many bytes as numbers");
        let tensors = safetensors::serialize([("queries", view)], None)
            .expect("a tensor of f32 can be written");
        write_atomic(folder.join(QUERIES), |out| out.write_all(&tensors))?;
        let hash = |name: &str| {
            Ok::<_, files::Error>((name.to_string(), sha256_file(&folder.join(name))?))
        };
        let files = BTreeMap::from([hash(ROWS)?, hash(QUERIES)?]);
        let text = serde_json::to_string_pretty(&About {
            shard,
            origin: origin.clone(),
            files,
        });
        write_atomic(about, |out| {
            out.write_all(text.map_err(io::Error::from)?.as_bytes())
        })?;
        Ok(())
    }

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut rows = self.rows.iter().peekable();
        let mut failures = self.failures.iter().peekable();
        self.examples
            .iter()
            .enumerate()
            .map(move |(place, example)| {
                let row = rows.next_if(|row| row.example == place).map(Cow::Borrowed);
                let problem = row.is_none().then(|| {
                    let failure = failures.next_if(|failure| failure.id == example.id);
                    failure.map_or_else(|| "not selected".into(), |failure| failure.problem.clone())
                });
                Line {
                    example: Cow::Borrowed(example),
                    row,
                    problem,
                }
            })
    }
}

impl Scored<'static> {
    /// Puts the parts of a run together, in any order. The result comes with the origin of the
    /// parts.
    ///
    /// # Errors
    /// [`ShardError::Incomplete`] when a part is missing or there twice, [`ShardError::Damaged`]
    /// when a file is damaged, [`ShardError::Different`] when parts are of different runs.
    pub fn merge(folders: &[PathBuf]) -> Result<(Self, Origin), ShardError> {
        let mut parts = Vec::with_capacity(folders.len());
        for folder in folders {
            parts.push((folder, read_about(folder)?));
        }
        parts.sort_by_key(|(_, about)| about.shard.part);
        check_parts(&parts)?;
        let mut merged = Scored {
            examples: Cow::Owned(vec![]),
            rows: vec![],
            queries: Array2::zeros((0, 0)),
            failures: vec![],
        };
        let mut queries = Vec::with_capacity(parts.len());
        for (folder, about) in &parts {
            check_files(folder, about)?;
            queries.push(merged.read_part(folder)?);
        }
        let views: Vec<_> = queries.iter().map(|part| part.view()).collect();
        merged.queries = concatenate(Axis(0), &views).map_err(|e| {
            let problem = format!("queries of parts do not fit together ({e})");
            ShardError::Damaged {
                path: folders[0].join(QUERIES),
                problem,
            }
        })?;
        Ok((merged, parts.swap_remove(0).1.origin))
    }

    /// Adds the rows of a part, and gives its queries.
    fn read_part(&mut self, folder: &Path) -> Result<Array2<f32>, ShardError> {
        let first_row = self.rows.len();
        let examples = self.examples.to_mut();
        let path = folder.join(ROWS);
        let file = files::open_data(&path)?;
        let mut lines = jsonl::rows::<Line<'static>, _>(file, &path.display().to_string());
        // A part of few conversations may have no row, which a reader of data takes for a mistake.
        let empty = std::fs::metadata(&path).is_ok_and(|file| file.len() == 0);
        while let Some(line) = lines.next().filter(|_| !empty) {
            let (_, line) = line?;
            match (line.row, line.problem) {
                (Some(row), _) => self.rows.push(Row {
                    example: examples.len(),
                    ..row.into_owned()
                }),
                (None, problem) => self.failures.push(Failure {
                    id: line.example.id.clone(),
                    problem: problem.unwrap_or_default(),
                }),
            }
            examples.push(line.example.into_owned());
        }
        let path = folder.join(QUERIES);
        let damaged = |problem: String| ShardError::Damaged {
            path: path.clone(),
            problem,
        };
        let bytes = files::read_bytes(&path, files::LARGEST_DATA)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        let tensor = tensors
            .tensor("queries")
            .map_err(|e| damaged(e.to_string()))?;
        let numbers: Vec<f32> = tensor
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
            .collect();
        let rows = self.rows.len() - first_row;
        match *tensor.shape() {
            [n, width] if n == rows && tensor.dtype() == Dtype::F32 => {
                Ok(Array2::from_shape_vec((n, width), numbers)
                    .expect("as many numbers as the shape says"))
            }
            ref shape => Err(damaged(format!(
                "queries of shape {shape:?}; expected f32, a row for each of {rows}"
            ))),
        }
    }
}

fn read_about(folder: &Path) -> Result<About, ShardError> {
    let path = folder.join(ABOUT);
    let text = files::read_text(&path)?;
    let problem = |e: serde_json::Error| ShardError::Damaged {
        path: path.clone(),
        problem: e.to_string(),
    };
    serde_json::from_str(&text).map_err(problem)
}

fn check_parts(parts: &[(&PathBuf, About)]) -> Result<(), ShardError> {
    let Some((one, first)) = parts.first() else {
        return Err(ShardError::Incomplete(
            "no parts; name their folders".into(),
        ));
    };
    let json =
        |about: &About| serde_json::json!({ "parts": about.shard.of, "origin": about.origin });
    for (other, about) in &parts[1..] {
        if let Some((field, left, right)) = difference("", &json(first), &json(about)) {
            let [one, other] = [one, other].map(|folder| folder.to_path_buf());
            return Err(ShardError::Different {
                one,
                other,
                field,
                left,
                right,
            });
        }
    }
    for pair in parts.windows(2) {
        if pair[0].1.shard.part == pair[1].1.shard.part {
            let [one, other] = [&pair[0], &pair[1]].map(|(folder, _)| folder.display());
            let text = format!(
                "{one} and {other} are both part {}; leave one out",
                pair[0].1.shard
            );
            return Err(ShardError::Incomplete(text));
        }
    }
    let there: Vec<usize> = parts.iter().map(|(_, about)| about.shard.part).collect();
    let missing: Vec<String> = (1..=first.shard.of)
        .filter(|part| !there.contains(part))
        .map(|part| format!("{part}/{}", first.shard.of))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ShardError::Incomplete(format!(
        "part {} is missing; score it, or name its folder too",
        missing.join(", ")
    )))
}

fn check_files(folder: &Path, about: &About) -> Result<(), ShardError> {
    for (name, hash) in &about.files {
        let path = folder.join(name);
        if &sha256_file(&path)? != hash {
            let problem = "not the file that was written (its SHA-256 differs)".into();
            return Err(ShardError::Damaged { path, problem });
        }
    }
    Ok(())
}

/// The first field in which two values differ, with both values.
fn difference(
    path: &str,
    left: &serde_json::Value,
    right: &serde_json::Value,
) -> Option<(String, String, String)> {
    if let (Some(a), Some(b)) = (left.as_object(), right.as_object()) {
        let null = serde_json::Value::Null;
        let below = |key: &String| {
            if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            }
        };
        return a.keys().chain(b.keys()).find_map(|key| {
            difference(
                &below(key),
                a.get(key).unwrap_or(&null),
                b.get(key).unwrap_or(&null),
            )
        });
    }
    (left != right).then(|| (path.to_string(), left.to_string(), right.to_string()))
}
