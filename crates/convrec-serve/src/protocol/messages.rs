//! The turns of a conversation, as OpenAI's clients write them.

use convrec_core::{Role, Turn};
use serde::Deserialize;

use crate::config::Limits;
use crate::object::Object;
use crate::refusal::Refusal;

/// One of `messages`. Fields that are not known here mean nothing to a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(expecting = "an object")]
pub(crate) struct Message {
    role: String,
    content: Option<Content>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a text, or a list of text parts")]
enum Content {
    Text(String),
    Parts(Vec<Object<Part>>),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(expecting = "an object")]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(alias = "refusal")]
    text: Option<String>,
}

/// The turns of the user and the assistant. Instructions are left out: the model has its own.
pub(crate) fn turns(messages: Vec<Object<Message>>, limits: &Limits) -> Result<Vec<Turn>, Refusal> {
    if messages.len() > limits.turns {
        let problem = format!(
            "{} turns; expected at most {}",
            messages.len(),
            limits.turns
        );
        return Err(Refusal::field("messages", problem));
    }
    let (mut turns, mut characters) = (vec![], 0);
    for (place, Object(message)) in messages.into_iter().enumerate() {
        let field = format!("messages[{place}]");
        let role = match message.role.as_str() {
            "system" | "developer" => None,
            "user" => Some(Role::User),
            "assistant" => Some(Role::Assistant),
            other => {
                let shown: String = other.chars().take(50).collect();
                let problem = format!("`{shown}`; expected system, developer, user or assistant");
                return Err(Refusal::field(&format!("{field}.role"), problem));
            }
        };
        let content = match message.content {
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => texts(parts, &field)?,
            None if role == Some(Role::Assistant) => String::new(),
            None => {
                return Err(Refusal::field(
                    &format!("{field}.content"),
                    "expected a text",
                ));
            }
        };
        characters += content.chars().count();
        if characters > limits.characters {
            let problem = format!("expected at most {} characters", limits.characters);
            return Err(Refusal::field("messages", problem));
        }
        turns.extend(role.map(|role| Turn { role, content }));
    }
    match turns.last() {
        Some(turn) if turn.role == Role::User => Ok(turns),
        _ => Err(Refusal::field(
            "messages",
            "expected turns of which the last one is the user's",
        )),
    }
}

fn texts(parts: Vec<Object<Part>>, field: &str) -> Result<String, Refusal> {
    let mut texts = vec![];
    for (place, Object(part)) in parts.into_iter().enumerate() {
        match (part.kind.as_str(), part.text) {
            ("text" | "input_text" | "refusal", Some(text)) => texts.push(text),
            (kind, _) => {
                let shown: String = kind.chars().take(50).collect();
                let problem = format!("a part of type `{shown}`; expected `text` alone");
                return Err(Refusal::field(
                    &format!("{field}.content[{place}]"),
                    problem,
                ));
            }
        }
    }
    Ok(texts.join("\n"))
}
