//! Tables with one turn a row: rows of one conversation become one row.

use std::collections::HashSet;
use std::iter::Peekable;

use serde_json::{Map, Value};

use crate::error::Place;
use crate::fields::{CONTENT, DIALOG, ID, MESSAGES, ROLE, TURN, first, text};
use crate::row::{RawRow, Row, RowError};
use convrec_core::shown;

/// The rows, with the turns of each conversation put together where a row holds one turn: where the
/// first row has a role and no conversation.
///
/// Rows with the same id must lie together, in the order of the turns or with their numbers. Other
/// fields, as the ground truth, may stand in any of these rows.
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
        let mut rows = vec![value];
        let is_next = |row: &Row| {
            let next = row.as_ref().ok().and_then(self::id);
            next.as_ref() == Some(&id)
        };
        while let Some(Ok(row)) = self.rows.next_if(is_next) {
            rows.push(row.value);
        }
        let (mut turns, mut fields) = (Vec::new(), Map::new());
        if let Err(why) = sort_turns(&mut rows) {
            problem.get_or_insert(why);
        }
        for row in rows {
            if let Err(why) = add(row, &mut turns, &mut fields) {
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

/// The number of a turn in the first of these columns that has one in every row.
fn turn_numbers(rows: &[Value]) -> Option<(&'static str, Vec<i64>)> {
    let number = |value: &Value| -> Option<i64> {
        let text = match value {
            Value::String(text) => text.trim().to_string(),
            other => other.as_number()?.to_string(),
        };
        text.strip_suffix(".0").unwrap_or(&text).parse().ok()
    };
    TURN.iter().find_map(|name| {
        let numbers: Option<Vec<i64>> = rows.iter().map(|row| number(row.get(*name)?)).collect();
        // A column that never changes numbers something else.
        let numbers = numbers.filter(|all| all.iter().any(|one| *one != all[0]))?;
        Some((*name, numbers))
    })
}

/// Puts rows with numbers of turns into their order. A user and an assistant may share a number
/// where the rows lie in order already: some tables count exchanges.
fn sort_turns(rows: &mut Vec<Value>) -> Result<(), String> {
    let Some((name, numbers)) = turn_numbers(rows) else {
        return Ok(());
    };
    let is_sorted = numbers.is_sorted();
    let mut numbered: Vec<(i64, Value)> = numbers.into_iter().zip(std::mem::take(rows)).collect();
    numbered.sort_by_key(|(number, _)| *number);
    let role = |row: &Value| first(row.as_object()?, ROLE).map(|(_, role)| role.clone());
    let twice = numbered.windows(2).find(|pair| {
        pair[0].0 == pair[1].0 && (!is_sorted || role(&pair[0].1) == role(&pair[1].1))
    });
    if let Some(pair) = twice {
        let number = pair[0].0;
        return Err(format!(
            "two turns of this conversation have the number {number} in `{name}`; expected a \
             number of its own for each"
        ));
    }
    rows.extend(numbered.into_iter().map(|(_, row)| row));
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
    fn turns_with_numbers_are_put_in_order() {
        let numbered = |name: &str, rows: &[(&str, Value)]| -> Result<String, String> {
            let row = |(role, number): &(&str, Value)| {
                let content = number.to_string();
                json!({"id": "a", "role": role, "content": content, name: number})
            };
            let read = read(rows.iter().map(row).collect()).remove(0)?;
            let text = |turn: &Value| turn["content"].as_str().unwrap_or("").to_string();
            let turns = read["messages"].as_array().unwrap().iter().map(text);
            Ok(turns.collect::<Vec<String>>().join(" "))
        };
        let rows = [
            ("user", json!(10)),
            ("assistant", json!(9)),
            ("user", json!(1)),
        ];
        for name in ["turn", "turn_id", "position"] {
            assert_eq!(numbered(name, &rows), Ok("1 9 10".into()));
        }
        // Exchanges in order, and what is no number of a turn.
        let [one, two] = [json!(1), json!(2)];
        for (rows, order) in [
            (
                [
                    ("user", one.clone()),
                    ("assistant", one.clone()),
                    ("user", two.clone()),
                ],
                "1 1 2",
            ),
            (
                [
                    ("user", two.clone()),
                    ("assistant", two.clone()),
                    ("user", two.clone()),
                ],
                "2 2 2",
            ),
            (
                [
                    ("user", two.clone()),
                    ("assistant", json!(null)),
                    ("user", one.clone()),
                ],
                "2 null 1",
            ),
        ] {
            assert_eq!(numbered("turn", &rows), Ok(order.into()));
        }
        for rows in [
            [
                ("user", one.clone()),
                ("user", one.clone()),
                ("user", two.clone()),
            ],
            [("user", two), ("assistant", one.clone()), ("user", one)],
        ] {
            let problem = numbered("turn", &rows).unwrap_err();
            assert!(problem.contains("two turns of this conversation have the number 1 in `turn`"));
        }
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
