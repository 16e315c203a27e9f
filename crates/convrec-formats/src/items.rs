//! Items as files name them: pairs, structs and text.

use convrec_core::Item;
use serde_json::Value;

use crate::fields::{TITLE, YEAR, broken_list, elements, first, found, split, text};
use crate::row::Problem;
use crate::year::{without_year, year};

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
        (None, Value::String(text)) => match broken_list(text) {
            Some(problem) => return Err(Problem::new(field, problem)),
            None => names_of(text).into_iter().map(Value::String).collect(),
        },
        (None, Value::Object(fields)) if first(fields, TITLE).is_some() => vec![value.clone()],
        (None, other) => {
            let problem = format!("found {}; expected a list of items", found(other));
            return Err(Problem::new(field, problem));
        }
    };
    let item = |(at, value)| item(value, &format!("{field}[{at}]"), names);
    values.iter().enumerate().map(item).collect()
}

/// The items of a cell: with `|` or a line end between two, or with `;` or `,` where each ends in
/// its year. Titles hold `;` and `,` too.
fn names_of(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in split(text, &['\n', '|']) {
        match dated(&line) {
            Some(several) => names.extend(several),
            None => names.push(line),
        }
    }
    names
}

/// The items of a line that all end in a year, `None` where one does not.
fn dated(line: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut start = 0;
    let ends = line.match_indices([';', ',']).map(|(at, _)| at);
    for end in ends.chain([line.len()]) {
        let name = line[start..end].trim();
        if ends_in_year(name) {
            names.push(name.to_string());
            start = end + 1;
        }
    }
    (start > line.len()).then_some(names)
}

/// Looks at the end alone, so that the time of a line with many marks stays linear.
fn ends_in_year(name: &str) -> bool {
    let tail = &name[name.floor_char_boundary(name.len().saturating_sub(40))..];
    Item::split_line(tail).1.is_some()
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
            Ok(Item::new(without_year(title, year), year))
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
            Ok(Item::new(without_year(title, year), year))
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
            json!("[array(['Heat', 1995], dtype=object) array(['Up', None], dtype=object)]"),
            json!("['Heat (1995)' 'Up']"),
            json!("Heat (1995)\r\nUp\r\n"),
            json!([["Heat (1995)", 1995], ["Up", null]]),
            json!([{"title": "Heat (1995)", "year": 1995}, "Up"]),
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
    fn cells_of_several_names_are_split_where_that_is_clear() {
        let all = |text: &str| -> Vec<String> {
            let items = items(&json!(text), "seen", Names::TitleAndYear).unwrap();
            items.iter().map(ToString::to_string).collect()
        };
        for (text, names) in [
            (
                "Heat (1995);Alien (1979)",
                &["Heat (1995)", "Alien (1979)"][..],
            ),
            (
                "Heat (1995), Alien (1979)",
                &["Heat (1995)", "Alien (1979)"],
            ),
            (
                "Heat (1995)\nAlien (1979)",
                &["Heat (1995)", "Alien (1979)"],
            ),
            (
                "Thing, The (1982), Steins;Gate (2011)",
                &["Thing, The (1982)", "Steins;Gate (2011)"],
            ),
            ("Thing, The (1982)", &["Thing, The (1982)"]),
            ("Me, You, Us", &["Me, You, Us"]),
            ("Heat (1995), the film", &["Heat (1995), the film"]),
        ] {
            assert_eq!(all(text), names, "{text}");
        }
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
            (
                json!("[['Heat', 1995], ['Alien', 19"),
                "seen",
                "begins as a list that does not end, it may be cut",
            ),
            (
                json!("['Heat (1995)' 'Up' ... 'Jaws']"),
                "seen",
                "none from character 21 on, `... 'Jaws']`",
            ),
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
