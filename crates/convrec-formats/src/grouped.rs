//! Tables with one turn a row: rows of one conversation become one row.

use std::collections::HashSet;
use std::iter::Peekable;

use serde_json::{Map, Value};

use crate::error::Place;
use crate::fields::{CONTENT, DIALOG, ID, MESSAGES, ROLE, first, text};
use crate::row::{RawRow, Row, RowError};
use convrec_core::shown;

/// The rows, with the turns of each conversation put together where a row holds one turn: where the
/// first row has a role and no conversation.
///
/// Rows with the same id must lie together, in the order of the turns. Other fields, as the ground
/// truth, may stand in any of these rows.
pub(crate) fn grouped<'a>(
    rows: impl Iterator<Item = Row> + 'a,
) -> Box<dyn Iterator<Item = Row> + 'a> {
    let mut rows = rows.peekable();
    let is_turn = |row: &Row| match row {
        Ok(RawRow {
            value: Value::Object(fields),
            ..
        }) => {
            let has = |names: &[&str]| names.iter().any(|name| fields.contains_key(*name));
            has(ROLE) && has(CONTENT) && !has(DIALOG) && !has(MESSAGES)
        }
        _ => false,
    };
    if !rows.peek().is_some_and(is_turn) {
        return Box::new(rows);
    }
    Box::new(Groups {
        rows,
        known: HashSet::new(),
        spoilt: None,
    })
}

struct Groups<I: Iterator> {
    rows: Peekable<I>,
    known: HashSet<String>,
    /// Where a bad row stood right before the next row: it may be a turn of that conversation.
    spoilt: Option<Place>,
}

impl<I: Iterator<Item = Row>> Iterator for Groups<I> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let row = match self.rows.next()? {
            Ok(row) => row,
            Err(RowError::Bad(place, problem)) => {
                self.spoilt = Some(place.clone());
                return Some(Err(RowError::Bad(place, problem)));
            }
            Err(fatal) => return Some(Err(fatal)),
        };
        let Some(id) = id(&row) else {
            self.spoilt = Some(row.place.clone());
            let problem = "the turn has no `id`; expected the id of its conversation";
            return Some(Err(RowError::Bad(row.place, problem.into())));
        };
        Some(self.group(id, row))
    }
}

impl<I: Iterator<Item = Row>> Groups<I> {
    /// The conversation whose first turn is `row`.
    fn group(&mut self, id: String, row: RawRow) -> Row {
        let RawRow { place, value } = row;
        let mut problem = self.spoilt.take().map(|at| broken(&at));
        let (mut turns, mut fields) = (Vec::new(), Map::new());
        if let Err(why) = add(value, &mut turns, &mut fields) {
            problem.get_or_insert(why);
        }
        let is_next = |row: &Row| {
            let next = row.as_ref().ok().and_then(self::id);
            next.as_ref() == Some(&id)
        };
        while let Some(Ok(row)) = self.rows.next_if(is_next) {
            if let Err(why) = add(row.value, &mut turns, &mut fields) {
                problem.get_or_insert(why);
            }
        }
        if let Some(Err(RowError::Bad(at, _))) = self.rows.peek() {
            problem.get_or_insert(broken(at));
        }
        let name = shown(&id);
        if !self.known.insert(id) {
            problem.get_or_insert(format!(
                "the turns of `{name}` do not lie together; sort the rows by `id` and turn"
            ));
        }
        if let Some(problem) = problem {
            return Err(RowError::Bad(place, problem));
        }
        fields.insert("messages".into(), Value::Array(turns));
        let value = Value::Object(fields);
        Ok(RawRow { place, value })
    }
}

fn broken(at: &Place) -> String {
    format!(
        "the row beside it is bad ({}), and may be a turn of this conversation",
        at.at
    )
}

fn id(row: &RawRow) -> Option<String> {
    let (name, id) = first(row.value.as_object()?, ID)?;
    text(id, name).ok()
}

/// Adds the turn of a row to the turns, and its other fields to those of the conversation.
fn add(row: Value, turns: &mut Vec<Value>, fields: &mut Map<String, Value>) -> Result<(), String> {
    let Value::Object(row) = row else {
        return Err("the row is no object".into());
    };
    let mut turn = Map::new();
    for (name, value) in row {
        if ROLE.contains(&name.as_str()) || CONTENT.contains(&name.as_str()) {
            turn.insert(name, value);
            continue;
        }
        match fields.get(&name) {
            Some(earlier) if !earlier.is_null() && !value.is_null() && *earlier != value => {
                // Columns that no conversation has, as the number of the turn, may differ.
                if crate::fields::is_of_conversation(&name) {
                    return Err(format!("the rows of this conversation differ in `{name}`"));
                }
            }
            Some(earlier) if !earlier.is_null() => {}
            _ => {
                fields.insert(name, value);
            }
        }
    }
    turns.push(Value::Object(turn));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::At;

    fn rows(values: Vec<Value>) -> Vec<Row> {
        let row = |(line, value)| {
            let place = Place::new("f", At::Line(line + 1));
            match value {
                Value::Null => Err(RowError::Bad(place, "bad".into())),
                value => Ok(RawRow { place, value }),
            }
        };
        values.into_iter().enumerate().map(row).collect()
    }

    fn read(values: Vec<Value>) -> Vec<Result<Value, String>> {
        let grouped = grouped(rows(values).into_iter());
        let read = grouped.map(|row| match row {
            Ok(row) => Ok(row.value),
            Err(RowError::Bad(place, problem)) => Err(format!("{place}: {problem}")),
            Err(RowError::Fatal(error)) => Err(error.to_string()),
        });
        read.collect()
    }

    fn turn(id: &str, content: &str) -> Value {
        json!({"id": id, "role": "user", "content": content})
    }

    #[test]
    fn turns_of_one_id_become_one_conversation() {
        let mut second = turn("a", "two");
        second["ground_truth"] = json!("Heat (1995)");
        second["turn"] = json!(2);
        let read = read(vec![turn("a", "one"), second, turn("b", "three")]);
        let turns = |texts: &[&str]| -> Vec<Value> {
            texts
                .iter()
                .map(|text| json!({"role": "user", "content": text}))
                .collect()
        };
        let first = json!({
            "id": "a", "messages": turns(&["one", "two"]), "ground_truth": "Heat (1995)", "turn": 2
        });
        assert_eq!(
            read,
            [
                Ok(first),
                Ok(json!({"id": "b", "messages": turns(&["three"])}))
            ]
        );
    }

    #[test]
    fn conversations_that_may_lack_a_turn_are_bad() {
        let good = |read: &[Result<Value, String>]| read.iter().filter(|row| row.is_ok()).count();
        let spoilt = read(vec![
            turn("a", "1"),
            Value::Null,
            turn("b", "2"),
            turn("c", "3"),
        ]);
        assert_eq!((spoilt.len(), good(&spoilt)), (4, 1));
        assert!(
            spoilt[0]
                .as_ref()
                .unwrap_err()
                .contains("line 1: the row beside it is bad (line 2)")
        );
        let apart = read(vec![turn("a", "1"), turn("b", "2"), turn("a", "3")]);
        assert!(
            apart[2]
                .as_ref()
                .unwrap_err()
                .contains("the turns of `a` do not lie together")
        );
        let mut other = turn("a", "2");
        (other["seen"], other["id"]) = (json!("Up"), json!("a"));
        let mut first = turn("a", "1");
        first["seen"] = json!("Heat");
        assert!(
            read(vec![first, other])[0]
                .as_ref()
                .unwrap_err()
                .contains("differ in `seen`")
        );
        let without = read(vec![json!({"role": "user", "content": "x"})]);
        assert!(
            without[0]
                .as_ref()
                .unwrap_err()
                .contains("the turn has no `id`")
        );
    }

    #[test]
    fn other_rows_stay_as_they_are() {
        let rows = vec![
            json!({"dialog": [], "role": 1, "content": 2}),
            json!({"role": "user", "content": ""}),
        ];
        assert_eq!(
            read(rows.clone()),
            rows.into_iter().map(Ok).collect::<Vec<_>>()
        );
    }
}
