//! Items as files name them: pairs, structs and text.

use convrec_core::Item;
use serde_json::Value;

use crate::fields::{TITLE, YEAR, elements, first, found, split, text};
use crate::row::Problem;
use crate::year::year;

/// What a text says about an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// A title and, in parentheses at the end, its year: `Heat (1995)`.
    TitleAndYear,
    /// A title alone. Whatever stands in parentheses is a part of it.
    Title,
}

/// The items of a list.
///
/// # Errors
/// The field that names no item.
pub(crate) fn items(value: &Value, field: &str, names: Names) -> Result<Vec<Item>, Problem> {
    let values = match (elements(value), value) {
        (Some(values), _) => values,
        (None, Value::String(text)) => split(text, &['|']).into_iter().map(Value::String).collect(),
        (None, Value::Object(fields)) if first(fields, TITLE).is_some() => vec![value.clone()],
        (None, other) => {
            let problem = format!("found {}; expected a list of items", found(other));
            return Err(Problem::new(field, problem));
        }
    };
    let item = |(at, value)| item(value, &format!("{field}[{at}]"), names);
    values.iter().enumerate().map(item).collect()
}

fn item(value: &Value, field: &str, names: Names) -> Result<Item, Problem> {
    match value {
        Value::String(text) => Ok(match names {
            Names::TitleAndYear => Item::from_line(text.trim()),
            Names::Title => Item::new(text.as_str(), None),
        }),
        Value::Array(pair) if pair.len() == 2 => {
            let title = text(&pair[0], &format!("{field}[0]"))?;
            let year = year(&pair[1]).map_err(|e| Problem::new(format!("{field}[1]"), e))?;
            Ok(Item::new(title, year))
        }
        Value::Object(fields) if first(fields, TITLE).is_some() => {
            let (name, title) = first(fields, TITLE).expect("just seen");
            let title = text(title, &format!("{field}.{name}"))?;
            let year = match first(fields, YEAR) {
                None => None,
                Some((name, value)) => {
                    year(value).map_err(|e| Problem::new(format!("{field}.{name}"), e))?
                }
            };
            Ok(Item::new(title, year))
        }
        other => {
            let problem = match other {
                Value::Array(values) => format!("found a list of {}", values.len()),
                other => format!("found {}", found(other)),
            };
            let expected = "expected an item: `[title, year]`, an object with `title` and `year`, \
                            or text as `Heat (1995)`";
            Err(Problem::new(field, format!("{problem}; {expected}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_forms_of_items_are_read() {
        let [heat, up] = [Item::new("Heat", 1995), Item::new("Up", None)];
        for value in [
            json!([["Heat", "1995"], ["Up", ""]]),
            json!([["Heat", 1995], ["Up", null]]),
            json!([{"title": "Heat", "year": 1995.0}, {"title": "Up"}]),
            json!({"title": ["Heat", "Up"], "year": [1995, null]}),
            json!(["Heat (1995)", "Up"]),
            json!([" Heat (1995) ", {"name": "Up", "release_year": null}]),
            json!("Heat (1995) | Up"),
            json!("[['Heat', 1995], ('Up', None)]"),
        ] {
            let read = items(&value, "seen", Names::TitleAndYear);
            assert_eq!(read, Ok(vec![heat.clone(), up.clone()]), "{value}");
        }
        for value in [json!(null), json!([]), json!(""), json!("[]")] {
            assert_eq!(items(&value, "seen", Names::TitleAndYear), Ok(vec![]));
        }
        // Titles alone keep what stands in parentheses, and a title may begin as a list does.
        let titles = items(&json!(["Heat (1995)"]), "seen_titles", Names::Title);
        assert_eq!(titles, Ok(vec![Item::new("Heat (1995)", None)]));
        let rec = items(&json!("[REC] (2007)"), "seen", Names::TitleAndYear);
        assert_eq!(rec, Ok(vec![Item::new("[REC]", 2007)]));
    }

    #[test]
    fn what_is_no_item_is_named() {
        for (value, field, part) in [
            (
                json!([["Heat"]]),
                "seen[0]",
                "a list of 1; expected an item",
            ),
            (
                json!([["Heat", true]]),
                "seen[0][1]",
                "found true; expected an integer",
            ),
            (
                json!([["A", "1"], ["B", "soon"]]),
                "seen[1][1]",
                "`soon` is no year",
            ),
            (
                json!([{"title": 7.5}]),
                "seen[0].title",
                "the number 7.5; expected text",
            ),
            (
                json!([{"film": "Heat"}]),
                "seen[0]",
                "an object with the fields `film`; expected an item",
            ),
            (
                json!(["Heat", 1995]),
                "seen[1]",
                "the number 1995; expected an item",
            ),
            (json!([null]), "seen[0]", "null; expected an item"),
            (json!(7), "seen", "the number 7; expected a list"),
        ] {
            let problem = items(&value, "seen", Names::TitleAndYear).unwrap_err();
            assert_eq!(problem.field, field);
            assert!(
                problem.problem.contains(part),
                "{problem:?} does not say {part}"
            );
        }
    }
}
