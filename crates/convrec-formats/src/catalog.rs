//! Catalogs of any format.

use std::collections::HashMap;
use std::path::Path;

use convrec_core::{CatalogItem, Item};
use serde_json::{Map, Value};

use crate::error::{At, Error};
use crate::fields::{
    DATE, GENRES, METADATA, TITLE, YEAR, broken_list, elements, first, found, is_missing, split,
    text,
};
use crate::records::{Current, ReadOptions, Records};
use crate::row::Problem;
use crate::source::Source;
use crate::year::{of_date, without_year, year};

/// Reads the catalog at `path`.
///
/// [`Source::find`] lists the supported files and folders. Each row is an object with these fields,
/// a pair `[title, year]`, or text as `Heat (1995)`:
///
/// | field | other names | |
/// |---|---|---|
/// | `title` | `name`, `movie_title` | required, not blank |
/// | `year` | `release_year` | see [the crate](crate#years) |
/// | `release_date` | | its year, where neither `year` nor the title has one |
/// | `genres` | `genre` | a list, or text with `\|`, `;` or `,` between two |
/// | `metadata` | `description`, `overview`, `plot` | text |
///
/// A title that ends in the year of its row, as in `Heat (1995)` beside 1995, is read without it.
/// Fields that are null or missing are empty, and the genre `(no genres listed)` is none.
///
/// The id of an item is its place among the returned items, from 0. Skipping a row moves the ids
/// behind it, so files that count the lines of the catalog no longer fit.
///
/// Items may share a title. A row is bad when its title is blank, when its year is no year, and
/// when it has the title *and* year of an earlier row.
///
/// # Errors
/// - [`Error::BadRows`] when rows are bad and `options` refuses them, or when no row is good.
/// - [`Error::File`], [`Error::Damaged`], [`Error::Layout`], [`Error::Feature`] as in
///   [`Source::find`] and the readers of the formats.
pub fn read_catalog(
    path: impl AsRef<Path>,
    options: &ReadOptions,
) -> Result<Records<CatalogItem>, Error> {
    Source::find(path, options.split.as_deref())?.catalog(options.bad_rows)
}

/// A function that makes an item of each row, and remembers the items before it.
pub(crate) fn interpreter() -> impl FnMut(Current) -> Result<CatalogItem, Problem> {
    let mut places: HashMap<(String, Option<i32>), At> = HashMap::new();
    move |current| {
        let item = item(&current.row.value)?;
        let key = (item.title.clone(), item.year);
        match places.get(&key) {
            Some(earlier) => {
                let problem = format!("`{}` is the item of {earlier} again", item.item());
                Err(Problem::new("", problem))
            }
            None => {
                places.insert(key, current.row.place.at);
                Ok(item)
            }
        }
    }
}

fn item(row: &Value) -> Result<CatalogItem, Problem> {
    let fields = match row {
        Value::Object(fields) => fields,
        Value::Array(pair) if pair.len() == 2 => return from_pair(&pair[0], &pair[1]),
        Value::String(text) if Item::split_line(text.trim()).1.is_some() => {
            let Item { title, year } = Item::from_line(text.trim());
            return from_pair(&title.into(), &year.into());
        }
        other => {
            let problem = match other {
                Value::Array(values) => format!("found a list of {}", values.len()),
                other => format!("found {}", found(other)),
            };
            let expected = "expected an item: an object with a `title`, `[title, year]`, or text \
                            as `Heat (1995)`";
            return Err(Problem::new("", format!("{problem}; {expected}")));
        }
    };
    let Some((name, title)) = first(fields, TITLE) else {
        return Err(without_title(row, fields));
    };
    let title = not_blank(title, name)?;
    let bad = |name, problem| Problem::new(name, problem);
    let year = match (first(fields, YEAR), first(fields, DATE)) {
        (Some((name, value)), _) => year(value).map_err(|problem| bad(name, problem))?,
        // A film can be released in a later year than its title tells.
        (None, Some((name, value))) if Item::split_line(&title).1.is_none() => {
            of_date(value).map_err(|problem| bad(name, problem))?
        }
        _ => None,
    };
    Ok(CatalogItem {
        title: without_year(title, year),
        year,
        genres: match first(fields, GENRES) {
            None => Vec::new(),
            Some((name, value)) => genres(value, name)?,
        },
        metadata: match first(fields, METADATA) {
            None => String::new(),
            Some((name, value)) => metadata(value, name)?,
        },
    })
}

fn from_pair(title: &Value, year: &Value) -> Result<CatalogItem, Problem> {
    let year = self::year(year).map_err(|problem| Problem::new("year", problem))?;
    Ok(CatalogItem {
        title: without_year(not_blank(title, "title")?, year),
        year,
        genres: Vec::new(),
        metadata: String::new(),
    })
}

fn without_title(row: &Value, fields: &Map<String, Value>) -> Problem {
    match TITLE.iter().find(|name| fields.contains_key(**name)) {
        Some(name) => Problem::new(*name, "blank; expected text"),
        None => Problem::new("", format!("there is no `title`; found {}", found(row))),
    }
}

fn not_blank(title: &Value, field: &str) -> Result<String, Problem> {
    let title = text(title, field)?;
    if title.trim().is_empty() {
        return Err(Problem::new(field, "blank; expected text"));
    }
    Ok(title)
}

fn genres(value: &Value, field: &str) -> Result<Vec<String>, Problem> {
    let values = match (elements(value), value) {
        (Some(values), _) => values,
        (None, Value::String(text)) => match broken_list(text) {
            Some(problem) => return Err(Problem::new(field, problem)),
            None => {
                let parts = split(text, &['|', ';', ',']);
                parts.into_iter().map(Value::String).collect()
            }
        },
        (None, other) => {
            let problem = format!("found {}; expected a list of texts, or text", found(other));
            return Err(Problem::new(field, problem));
        }
    };
    let mut genres = Vec::new();
    for (at, value) in values.iter().enumerate() {
        // The Movie Database writes each as an object with an id and a name.
        let named = value.as_object().and_then(|fields| fields.get("name"));
        match named.unwrap_or(value) {
            Value::Null => {}
            Value::String(genre) if is_missing(genre) => {}
            Value::String(genre) => genres.push(genre.clone()),
            other => {
                let problem = format!("found {}; expected text", found(other));
                return Err(Problem::new(format!("{field}[{at}]"), problem));
            }
        }
    }
    Ok(genres)
}

fn metadata(value: &Value, field: &str) -> Result<String, Problem> {
    match value {
        Value::String(text) if is_missing(text) => Ok(String::new()),
        Value::Array(values) => {
            let parts: Result<Vec<String>, Problem> = values
                .iter()
                .enumerate()
                .map(|(at, part)| text(part, &format!("{field}[{at}]")))
                .collect();
            Ok(parts?.join(", "))
        }
        other => text(other, field),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_forms_of_items_are_read() {
        let expected = |genres: &[&str], metadata: &str| CatalogItem {
            title: "Up".into(),
            year: Some(2009),
            genres: genres.iter().map(|genre| genre.to_string()).collect(),
            metadata: metadata.into(),
        };
        for (row, genres, metadata) in [
            (json!({"title": "Up", "year": 2009}), &[][..], ""),
            (json!(["Up", "2009"]), &[], ""),
            (json!("Up (2009)"), &[], ""),
            (
                json!({"title": "Up", "year": 2009, "genres": null, "metadata": null}),
                &[],
                "",
            ),
            (
                json!({"name": "Up", "release_year": 2009.0, "genre": "Comedy", "overview": "Nan"}),
                &["Comedy"],
                "",
            ),
            (
                json!({"title": "Up", "year": "2009", "genres": "Comedy|Drama"}),
                &["Comedy", "Drama"],
                "",
            ),
            (
                json!({"title": "Up", "year": "2009", "genres": "Comedy, Drama"}),
                &["Comedy", "Drama"],
                "",
            ),
            (
                json!({"title": "Up", "year": "2009", "genres": "['Comedy', 'Drama']"}),
                &["Comedy", "Drama"],
                "",
            ),
            (
                json!({"title": "Up (2009)", "year": 2009, "genres": "['Comedy' 'Drama']"}),
                &["Comedy", "Drama"],
                "",
            ),
            (json!(["Up (2009)", 2009]), &[], ""),
            (
                json!({"title": "Up", "release_date": "2009-05-28", "genres": "{'Comedy', 'A'}"}),
                &["Comedy", "A"],
                "",
            ),
            (
                json!({"title": "Up", "year": 2009, "release_date": "soon", "genres": "set()"}),
                &[],
                "",
            ),
            (
                json!({"title": "Up", "year": 2009, "genres": [{"name": "Comedy"}, null, "\\N"]}),
                &["Comedy"],
                "",
            ),
            (
                json!({"name": "Up", "year": 2009, "genre": "(no genres \
                    listed)", "plot": ["a", "b"]}),
                &[],
                "a, b",
            ),
            (
                json!({"title": "Up", "year": 2009, "genres": ["(no genres listed)"], "plot": "p"}),
                &[],
                "p",
            ),
        ] {
            assert_eq!(item(&row), Ok(expected(genres, metadata)), "{row}");
        }
        let dated = item(&json!({"title": "Heat (1994)", "release_date": "1995-12-15"})).unwrap();
        assert_eq!((dated.title.as_str(), dated.year), ("Heat (1994)", None));
        assert_eq!(
            item(&json!({"title": 1917, "year": 2019})).unwrap().title,
            "1917"
        );
    }

    #[test]
    fn what_is_no_item_is_named() {
        for (row, field, part) in [
            (json!({"title": " "}), "title", "blank"),
            (json!({"title": null}), "title", "blank"),
            (
                json!({"year": 1}),
                "",
                "there is no `title`; found an object with the fields `year`",
            ),
            (
                json!({"title": "Up", "year": "soon"}),
                "year",
                "`soon` is no year",
            ),
            (json!({"title": true}), "title", "found true; expected text"),
            (
                json!({"title": "Up", "genres": 7}),
                "genres",
                "the number 7; expected a list",
            ),
            (
                json!({"title": "Up", "genres": ["a", 3]}),
                "genres[1]",
                "the number 3; expected text",
            ),
            (
                json!({"title": "Up", "metadata": {}}),
                "metadata",
                "an object",
            ),
            (
                json!({"title": "Up", "genres": "['Horror', 'Sci"}),
                "genres",
                "begins as a list that does not end, it may be cut",
            ),
            (
                json!({"title": "Up", "release_date": "soon"}),
                "release_date",
                "found `soon`; expected a day",
            ),
            (json!(["Up"]), "", "a list of 1; expected an item"),
            (json!(["Up", []]), "year", "a list; expected an integer"),
            (json!([2, 3.5]), "year", "`3.5` is no year"),
            (json!("Up"), "", "`Up`; expected an item"),
        ] {
            let problem = item(&row).unwrap_err();
            assert_eq!(problem.field, field, "{row}");
            assert!(
                problem.problem.contains(part),
                "{problem:?} does not say {part}"
            );
        }
    }
}
