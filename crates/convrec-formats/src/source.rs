//! Data at a path: its files, their format, and the records that they hold.

use std::path::{Path, PathBuf};

use convrec_core::{BadRowPolicy, CatalogItem, Demonstration, Example};

use convrec_text::Years;

use crate::error::Error;
use crate::grouped::grouped;
use crate::input::Input;
use crate::records::{Records, collect};
use crate::row::{RawRow, Row, RowError, Rows, fatal, until_fatal, with_lower_names};
use crate::{catalog, conversations, csv, json, layout, pickle};

/// A format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Format {
    /// JSON lines, or one JSON array: `.jsonl`, `.json`, `.ndjson`.
    Json,
    /// A table as text with a header: `.csv`, `.tsv`.
    Csv,
    /// An Arrow stream or file: `.arrow`, `.feather`, `.ipc`. Needs the feature `arrow`.
    Arrow,
    /// `.parquet`, `.pq`. Needs the feature `parquet`.
    Parquet,
    /// A pickled list: `.pkl`, `.pickle`.
    Pickle,
}

impl Format {
    /// The format of a file name, and the name without the ending. Text may end in `.gz` too.
    #[must_use]
    pub fn of_name(name: &str) -> Option<(Self, &str)> {
        let unpacked = name.strip_suffix(".gz");
        let (stem, ending) = unpacked.unwrap_or(name).rsplit_once('.')?;
        let format = match ending.to_ascii_lowercase().as_str() {
            "jsonl" | "json" | "ndjson" => Self::Json,
            "csv" | "tsv" => Self::Csv,
            "arrow" | "feather" | "ipc" => Self::Arrow,
            "parquet" | "pq" => Self::Parquet,
            "pkl" | "pickle" => Self::Pickle,
            _ => return None,
        };
        let may_be_packed = matches!(format, Self::Json | Self::Csv);
        (unpacked.is_none() || may_be_packed).then_some((format, stem))
    }

    fn rows(self, input: Input) -> Rows {
        match self {
            Self::Json => json::rows(input),
            Self::Csv => csv::rows(input),
            Self::Pickle => pickle::rows(input),
            #[cfg(feature = "arrow")]
            Self::Arrow => crate::arrow::rows(input),
            #[cfg(not(feature = "arrow"))]
            Self::Arrow => fatal(Error::Feature {
                path: input.name,
                format: "Arrow",
                feature: "arrow",
            }),
            #[cfg(feature = "parquet")]
            Self::Parquet => crate::parquet::rows(input),
            #[cfg(not(feature = "parquet"))]
            Self::Parquet => fatal(Error::Feature {
                path: input.name,
                format: "parquet",
                feature: "parquet",
            }),
        }
    }
}

/// One split of a data set: the files that hold it.
#[derive(Debug, Clone)]
pub struct Source {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
    pub(crate) content: Content,
    /// The prefix of ids for rows without one: `<folder>-<split>`.
    pub(crate) name: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// In the order of their rows, at least one.
    Files(Vec<PathBuf>),
    Bytes(Vec<u8>),
}

impl Source {
    /// Finds the data at `path`.
    ///
    /// - A file with an ending of [`Format`].
    /// - A folder that `datasets` wrote with `save_to_disk`, of one split or of several.
    /// - A folder with the files of its splits: `train.jsonl`, `train-00000-of-00002.parquet`, ...
    /// - A folder that Spark, pyarrow or Dask wrote: `part-00000-<job>.snappy.parquet`, ...
    /// - A snapshot of a repository of the Hugging Face hub: such files in `data/`, or
    ///   `default/train/0000.parquet`.
    /// - Nothing at `folder/train`, which stands for the split `train` of one of these folders.
    ///
    /// A folder with several splits needs `split`. A file, and a folder of one split, take none.
    ///
    /// # Errors
    /// - [`Error::File`] when nothing is there, or something else than files and folders.
    /// - [`Error::Layout`] when no data is found, when `split` is needed or unknown, when parts are
    ///   missing, and when a description names files outside of the folder.
    pub fn find(path: impl AsRef<Path>, split: Option<&str>) -> Result<Self, Error> {
        layout::find(path.as_ref(), split)
    }

    /// Data in memory. `name` names it in errors and in the ids of rows.
    #[must_use]
    pub fn from_bytes(name: &str, format: Format, bytes: Vec<u8>) -> Self {
        Self {
            path: name.into(),
            format,
            content: Content::Bytes(bytes),
            name: name.into(),
        }
    }

    /// The format of the files.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The rows one after the other, before they are checked. A fatal error ends them.
    ///
    /// # Errors
    /// [`Error::Damaged`] where a row cannot be decoded. [`Error::File`] and [`Error::Feature`] as
    /// first row where the file cannot be read.
    pub fn raw_rows(&self) -> impl Iterator<Item = Result<RawRow, Error>> + '_ {
        let mut failed = false;
        self.rows().map_while(move |row| {
            let row = row.map_err(|error| match error {
                RowError::Fatal(error) => error,
                RowError::Bad(place, problem) => Error::damaged(place, problem),
            });
            let wanted = !std::mem::replace(&mut failed, row.is_err());
            wanted.then_some(row)
        })
    }

    fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        let files = match &self.content {
            Content::Files(files) => files.as_slice(),
            Content::Bytes(_) => &[],
        };
        let bytes = match &self.content {
            Content::Files(_) => None,
            Content::Bytes(bytes) => Some(bytes),
        };
        let files = files.iter().map(|path| Input::open(path));
        let bytes =
            bytes.map(|bytes| Ok(Input::bytes(&self.path.to_string_lossy(), bytes.clone())));
        let rows = |input: Result<Input, Error>| match input {
            Ok(input) => self.format.rows(input),
            Err(error) => fatal(error),
        };
        let rows = until_fatal(files.chain(bytes).flat_map(rows));
        rows.map(|row| row.map(with_lower_names))
    }

    /// The items of a catalog. See [`read_catalog`](crate::read_catalog).
    ///
    /// # Errors
    /// As [`read_catalog`](crate::read_catalog).
    pub fn catalog(&self, bad_rows: BadRowPolicy) -> Result<Records<CatalogItem>, Error> {
        collect(self.rows(), &self.path, bad_rows, catalog::interpreter())
    }

    /// The conversations. See [`read_conversations`](crate::read_conversations).
    ///
    /// # Errors
    /// As [`read_conversations`](crate::read_conversations).
    pub fn conversations(&self, bad_rows: BadRowPolicy) -> Result<Records<Example>, Error> {
        let examples = conversations::examples(&self.name);
        collect(grouped(self.rows()), &self.path, bad_rows, examples)
    }

    /// The demonstrations. See [`read_demonstrations`](crate::read_demonstrations).
    ///
    /// # Errors
    /// As [`read_demonstrations`](crate::read_demonstrations).
    pub fn demonstrations(
        &self,
        bad_rows: BadRowPolicy,
        years: Years,
    ) -> Result<Records<Demonstration>, Error> {
        let demonstrations = conversations::demonstrations(&self.name, years);
        collect(grouped(self.rows()), &self.path, bad_rows, demonstrations)
    }
}
