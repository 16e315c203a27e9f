//! Catalogs as CSV.

use std::io::Read;

use convrec_core::year;
use csv::{ErrorKind, ReaderBuilder, StringRecord};

use crate::catalog::CatalogRow;
use crate::error::{At, Error, Place};

/// The rows of a table with a header; `name` names the file in errors.
///
/// The column `title` must be there; `year`, `genres` (with `|` between two) and `metadata` may be.
/// Other columns are ignored. Separated by commas, with texts in double quotes where needed.
///
/// # Errors
/// Here, when the header has no `title` or one of these columns twice; and at a row that is no
/// UTF-8 or has more or fewer columns than the header: the error names the line.
pub fn items(
    reader: impl Read,
    name: &str,
) -> Result<impl Iterator<Item = Result<(Place, CatalogRow), Error>>, Error> {
    let mut reader = ReaderBuilder::new().from_reader(reader);
    let header = reader
        .headers()
        .map_err(|e| bad(&e, &StringRecord::new(), name))?
        .clone();
    let column = |column: &str| {
        let mut found = (0..header.len()).filter(|&at| header[at].trim() == column);
        match (found.next(), found.next()) {
            (at, None) => Ok(at),
            _ => Err(Error::bad(
                Place::new(name, At::Line(1)),
                format!("there are two columns `{column}`"),
            )),
        }
    };
    let [year, genres, metadata] = [column("year")?, column("genres")?, column("metadata")?];
    let Some(title) = column("title")? else {
        let found: Vec<&str> = header.iter().collect();
        let problem =
            format!("expected a header with a column `title`; found the columns {found:?}");
        return Err(Error::bad(Place::new(name, At::Line(1)), problem));
    };
    Ok(reader.into_records().map(move |record| {
        let record = record.map_err(|e| bad(&e, &header, name))?;
        let line = record
            .position()
            .map_or(0, |position| position.line() as usize);
        let cell = |column: Option<usize>| column.and_then(|at| record.get(at)).unwrap_or("");
        let genres = cell(genres)
            .split('|')
            .map(str::trim)
            .filter(|genre| !genre.is_empty());
        let row = CatalogRow {
            title: cell(Some(title)).into(),
            year: year::parse(cell(year)),
            genres: genres.map(Into::into).collect(),
            metadata: cell(metadata).into(),
        };
        Ok((Place::new(name, At::Line(line)), row))
    }))
}

fn bad(error: &csv::Error, header: &StringRecord, name: &str) -> Error {
    let line = error
        .position()
        .map_or(1, |position| position.line() as usize);
    let mut place = Place::new(name, At::Line(line));
    let problem = match error.kind() {
        ErrorKind::Utf8 { err, .. } => {
            place.field = header.get(err.field()).unwrap_or("").trim().into();
            format!(
                "byte {} of it is not UTF-8; expected UTF-8 text",
                err.valid_up_to() + 1
            )
        }
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!(
                "{len} columns; expected {expected_len}, as in the header. Texts with commas need double quotes"
            )
        }
        _ => error.to_string(),
    };
    Error::bad(place, problem)
}
