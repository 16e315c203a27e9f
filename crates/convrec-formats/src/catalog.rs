//! Catalogs, whatever they come in.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use convrec_core::jsonl::{self, Check};
use convrec_core::{CatalogItem, files, year};
use serde::Deserialize;

use crate::error::{At, Error, LeftOut, Place, Rows};
use crate::{csv, pickle};

/// What happens to rows that can be no item: a blank title, a year that is none, the title *and*
/// year of an earlier row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BadRows {
    /// They are errors.
    Refuse,
    /// They are left out and reported in [`Rows::left_out`]. Items then have other places than in
    /// the file.
    LeaveOut,
}

/// A row of a catalog file before it is judged.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CatalogRow {
    /// The title; may still be blank.
    pub title: String,
    /// The year, `None` where it is unknown; or why what is written is no year.
    #[serde(default = "unknown", deserialize_with = "year::lenient")]
    pub year: Result<Option<i32>, String>,
    /// Genres, most telling first.
    #[serde(default)]
    pub genres: Vec<String>,
    /// Free text about the item.
    #[serde(default)]
    pub metadata: String,
}

fn unknown() -> Result<Option<i32>, String> {
    Ok(None)
}

impl Check for CatalogRow {
    /// What is wrong with a row is judged where all formats meet.
    fn check(&self) -> Result<(), (&'static str, String)> {
        Ok(())
    }
}

/// Reads the catalog file at `path`: JSON lines (`.jsonl`), CSV (`.csv`), or a pickled list of
/// `(title, year)` (`.pkl`, `.pickle`).
///
/// The id of an item is its place among the items that are returned, from 0. Where rows are left
/// out it is not the place in the file any more: files that count lines (TREC's qrels) then belong
/// to another catalog.
///
/// Items without a year and items that share a title are as good as others. The same title and year
/// twice is a mistake.
///
/// # Errors
/// When the file cannot be read or is damaged: no JSON, rows of too few columns, opcodes that are
/// not data; with [`BadRows::Refuse`] at the first row that can be no item; and when there is no
/// item at all. The error names the file, the line (or row, or byte) and the field.
pub fn read_catalog_items(
    path: impl AsRef<Path>,
    bad: BadRows,
) -> Result<Rows<CatalogItem>, Error> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let open = || File::open(path).map_err(|e| files::Error::new("read", path, e));
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    match &*extension {
        "jsonl" | "json" => {
            let rows = jsonl::rows(BufReader::new(open()?), &name);
            let row = |row: Result<_, jsonl::Error>| {
                let (line, row) = row?;
                Ok((Place::new(&name, At::Line(line)), row))
            };
            judge(rows.map(row), path, bad)
        }
        "csv" => judge(csv::items(open()?, &name)?, path, bad),
        "pkl" | "pickle" => {
            let bytes = std::fs::read(path).map_err(|e| files::Error::new("read", path, e))?;
            judge(pickle::items(&bytes, &name)?.into_iter().map(Ok), path, bad)
        }
        _ => Err(Error::layout(
            path,
            "expected a catalog `.jsonl`, `.csv` or `.pkl`",
        )),
    }
}

fn judge(
    rows: impl Iterator<Item = Result<(Place, CatalogRow), Error>>,
    path: &Path,
    bad: BadRows,
) -> Result<Rows<CatalogItem>, Error> {
    let mut places: HashMap<(String, Option<i32>), Place> = HashMap::new();
    let mut read = Rows {
        rows: Vec::new(),
        left_out: Vec::new(),
    };
    for (index, row) in rows.enumerate() {
        let (place, row) = row?;
        match item(row, &place, &mut places) {
            Ok(item) => read.rows.push(item),
            Err((place, problem)) => match bad {
                BadRows::Refuse => {
                    return Err(Error::bad(
                        place,
                        format!("{problem}; mend the row, or have such rows left out"),
                    ));
                }
                BadRows::LeaveOut => read.left_out.push(LeftOut {
                    row: index,
                    place,
                    why: problem,
                }),
            },
        }
    }
    if read.rows.is_empty() {
        return Err(Error::layout(
            path,
            "there is no item; expected at least one",
        ));
    }
    Ok(read)
}

fn item(
    row: CatalogRow,
    place: &Place,
    places: &mut HashMap<(String, Option<i32>), Place>,
) -> Result<CatalogItem, (Place, String)> {
    let CatalogRow {
        title,
        year,
        genres,
        metadata,
    } = row;
    if title.trim().is_empty() {
        return Err((place.field("title"), "blank; expected text".into()));
    }
    let year = year.map_err(|problem| (place.field("year"), problem))?;
    let item = CatalogItem {
        title,
        year,
        genres,
        metadata,
    };
    if let Some(earlier) = places.insert((item.title.clone(), year), place.clone()) {
        let at = match earlier.at {
            At::Line(line) => format!("line {line}"),
            At::Row(row) => format!("row {row}"),
            At::Byte(byte) => format!("byte {byte}"),
        };
        return Err((
            place.clone(),
            format!("`{}` is the item of {at} again", item.item()),
        ));
    }
    Ok(item)
}
