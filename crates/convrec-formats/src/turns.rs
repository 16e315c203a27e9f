//! Turns as files write them: roles of several schemas, and content as text or as parts.

use convrec_core::{Role, Turn};
use serde_json::{Map, Value};

use crate::fields::{CONTENT, ROLE, broken_list, elements, first, found};
use crate::literal;
use crate::row::Problem;

/// The turns of a conversation. A text that is no list is one turn of the user.
///
/// # Errors
/// The field that is no turn.
pub(crate) fn turns(value: &Value, field: &str) -> Result<Vec<Turn>, Problem> {
    let values = match (elements(value), value) {
        (Some(values), _) => values,
        (None, Value::String(text)) => match broken(text) {
            Some(problem) => return Err(Problem::new(field, problem)),
            None => return Ok(vec![Turn::user(text.as_str())]),
        },
        (None, other) => {
            let problem = format!("found {}; expected a list of turns, or text", found(other));
            return Err(Problem::new(field, problem));
        }
    };
    let turn = |(at, value)| turn(value, &format!("{field}[{at}]"));
    values.iter().enumerate().map(turn).collect()
}

/// The reason why this text, which begins as a list of turns or as one turn, is no list. A user may
/// write other things in braces.
pub(crate) fn broken(text: &str) -> Option<String> {
    let is_turn = |inner: &str| {
        let name = inner.trim_start().trim_start_matches(['"', '\'']);
        let names = ROLE.iter().chain(CONTENT);
        names.into_iter().any(|known| {
            let rest = name.strip_prefix(known);
            rest.is_some_and(|rest| rest.starts_with(['"', '\'']))
        })
    };
    match text.trim_start().strip_prefix('{') {
        Some(inner) if !is_turn(inner) => None,
        Some(_) if literal::parse(text).is_some() => Some(
            "found one object as text; expected a list of turns: put `[` and `]` around".into(),
        ),
        _ => broken_list(text),
    }
}

fn turn(value: &Value, field: &str) -> Result<Turn, Problem> {
    let Value::Object(fields) = value else {
        let problem = format!(
            "found {}; expected a turn: an object with `role` and `content`",
            found(value)
        );
        return Err(Problem::new(field, problem));
    };
    from_fields(fields, field)
}

/// The turn of an object with a role and a content.
pub(crate) fn from_fields(fields: &Map<String, Value>, field: &str) -> Result<Turn, Problem> {
    let path = |name: &str| {
        if field.is_empty() {
            name.to_string()
        } else {
            format!("{field}.{name}")
        }
    };
    let Some((name, role)) = first(fields, ROLE) else {
        let problem = format!(
            "there is no role; expected `role`, found {}",
            found_fields(fields)
        );
        return Err(Problem::new(field, problem));
    };
    let known = role.as_str().and_then(self::role);
    let role = known.ok_or_else(|| {
        let expected = "expected user (human, seeker), assistant (gpt, model, bot, recommender), \
                        system (developer) or tool (function)";
        Problem::new(path(name), format!("found {}; {expected}", found(role)))
    })?;
    match first(fields, CONTENT) {
        Some((name, value)) => Ok(Turn {
            role,
            content: content(value, &path(name))?,
        }),
        // The content of an assistant that calls a tool may be missing.
        None if role == Role::Assistant => Ok(Turn::assistant("")),
        None => {
            let problem = "it is null or missing; expected text";
            Err(Problem::new(path("content"), problem))
        }
    }
}

fn found_fields(fields: &Map<String, Value>) -> String {
    found(&Value::Object(fields.clone()))
}

/// The role of this name, in any case of letters. Tools count as the system, as neither person said
/// their output and no prompt shows it.
fn role(name: &str) -> Option<Role> {
    Some(match name.trim().to_lowercase().as_str() {
        "user" | "human" | "seeker" => Role::User,
        "assistant" | "gpt" | "chatgpt" | "model" | "bot" | "recommender" => Role::Assistant,
        "system" | "developer" | "tool" | "function" | "ipython" | "observation" => Role::System,
        _ => return None,
    })
}

/// Text, or parts of which each is text.
fn content(value: &Value, field: &str) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let part = |(at, part): (usize, &Value)| match part {
                Value::String(text) => Ok(text.clone()),
                Value::Object(fields) if fields.get("text").is_some_and(Value::is_string) => {
                    Ok(fields["text"].as_str().unwrap_or("").to_string())
                }
                other => {
                    let kind = other.get("type").unwrap_or(other);
                    let problem =
                        format!("found a part of {}; expected parts of text", found(kind));
                    Err(Problem::new(format!("{field}[{at}]"), problem))
                }
            };
            parts.iter().enumerate().map(part).collect()
        }
        other => {
            let problem = format!("found {}; expected text", found(other));
            Err(Problem::new(field, problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_forms_of_turns_are_read() {
        let expected = [Turn::user("hi"), Turn::assistant("yo"), Turn::user("so?")];
        for value in [
            json!([
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "yo"},
                {"role": "user", "content": "so?"}
            ]),
            json!([
                {"from": "human", "value": "hi"},
                {"from": "gpt", "value": "yo"},
                {"from": "Human", "value": "so?"}
            ]),
            json!({"role": ["user", "bot", "user"], "content": ["hi", "yo", "so?"]}),
            json!([
                {"role": "SEEKER", "text": "hi"},
                {"role": "RECOMMENDER", "text": "yo"},
                {"role": "user", "content": [
                    {"type": "text", "text": "so"},
                    {"type": "text", "text": "?", "image": null}
                ]}
            ]),
            json!(
                "[{'role': 'user', 'content': 'hi'}, {'role': 'model', 'content': 'yo'}, \
                 {'role': 'user', 'content': 'so?'}]"
            ),
        ] {
            assert_eq!(turns(&value, "dialog").unwrap(), expected, "{value}");
        }
        let tool = json!([{"role": "developer", "content": "x"}, {"role": "tool", "content": "y"},
            {"role": "assistant", "content": null}]);
        let roles: Vec<Role> = turns(&tool, "dialog")
            .unwrap()
            .iter()
            .map(|turn| turn.role)
            .collect();
        assert_eq!(roles, [Role::System, Role::System, Role::Assistant]);
        assert_eq!(
            turns(&json!("[no list"), "dialog").unwrap(),
            [Turn::user("[no list")]
        );
    }

    #[test]
    fn broken_lists_of_turns_are_no_text() {
        for (text, part) in [
            (
                "[{'role': 'user', 'content': 'I don't know'}]",
                "begins as a list and is none from character 37 on, `t know'}]`",
            ),
            ("[{'role': 'user', 'content': 'I like", "may be cut"),
            (r#" [ {"role": "user", "content": "x""#, "may be cut"),
            (r#"{"role": "user", "content": "x"}"#, "one object as text"),
            (r#"{"role": "user", "con"#, "may be cut"),
            ("[['user', 'hi'", "may be cut"),
        ] {
            let problem = turns(&json!(text), "dialog").unwrap_err();
            assert_eq!(problem.field, "dialog");
            assert!(
                problem.problem.contains(part),
                "{problem:?} does not say {part}"
            );
        }
        for text in [
            "[laughs] hi",
            "[[laughs]] hi",
            "{'a': 1} is what?",
            "(sighs",
            "array",
            "[",
        ] {
            assert_eq!(turns(&json!(text), "dialog"), Ok(vec![Turn::user(text)]));
        }
    }

    #[test]
    fn what_is_no_turn_is_named() {
        for (value, field, part) in [
            (
                json!([{"role": "owl", "content": ""}]),
                "d[0].role",
                "found `owl`; expected user (human",
            ),
            (
                json!([{"role": 1, "content": ""}]),
                "d[0].role",
                "the number 1",
            ),
            (
                json!([{"content": ""}]),
                "d[0]",
                "there is no role; expected `role`, found an object with the fields `content`",
            ),
            (
                json!([{"role": "user", "content": null}]),
                "d[0].content",
                "null or missing; expected text",
            ),
            (
                json!([{"role": "user", "content": 7}]),
                "d[0].content",
                "the number 7; expected text",
            ),
            (
                json!([{"role": "user", "content": [{"type": "image"}]}]),
                "d[0].content[0]",
                "a part of `image`",
            ),
            (json!(["hi"]), "d[0]", "found `hi`; expected a turn"),
            (json!(7), "d", "the number 7; expected a list of turns"),
        ] {
            let problem = turns(&value, "d").unwrap_err();
            assert_eq!(problem.field, field);
            assert!(
                problem.problem.contains(part),
                "{problem:?} does not say {part}"
            );
        }
    }
}
