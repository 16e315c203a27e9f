//! `POST /v1/chat/completions`: a list for a conversation.

use convrec_core::{Example, Item, Role, Turn};
use serde::Deserialize;
use serde_json::{Value, json};

use super::completions::{Seen, check_model};
use super::engine::Engine;
use super::{Refusal, Served, bad_field, now};
use convrec_catalog::Mentions;

/// The fields that are known. The list is the most likely one, so those that say how to draw are
/// refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    model: Option<String>,
    /// The user's turns and ours; the last one is the user's.
    messages: Vec<Turn>,
    /// Items already seen, beside those that the conversation names in full.
    #[serde(default)]
    seen: Vec<Seen>,
    #[serde(default)]
    stream: bool,
    #[serde(rename = "user")]
    _user: Option<String>,
}

impl Request {
    /// The list as text and as items.
    pub fn answer(self, served: &Served, engine: &Engine) -> Result<Value, Refusal> {
        check_model(self.model.as_deref(), served)?;
        if self.stream {
            return Err(bad_field(
                "stream",
                "true; expected false, answers come whole",
            ));
        }
        let Some(task) = &served.task else {
            return Err(Refusal::bad(
                "this server has no catalog to recommend from; expected one with `--catalog`",
            ));
        };
        let turns = self.messages;
        if turns.last().is_none_or(|turn| turn.role != Role::User) {
            return Err(bad_field(
                "messages",
                "expected turns of which the last one is the user's",
            ));
        }
        if turns.iter().any(|turn| turn.role == Role::System) {
            return Err(bad_field(
                "messages",
                "a system's turn; expected the user's and the assistant's alone",
            ));
        }
        let catalog = task.catalog();
        let mentioned = Mentions::new(catalog).in_turns(&turns);
        let mut seen: Vec<Item> = mentioned.into_iter().map(|id| catalog[id].item()).collect();
        for id in Seen::items(&self.seen, task)? {
            let item = task.catalog()[id].item();
            if !seen.contains(&item) {
                seen.push(item);
            }
        }
        let example = Example {
            id: "asked-1".into(),
            dialog: turns,
            seen,
            ground_truth: vec![],
        };
        let sample = task
            .sample(&example)
            .map_err(|e| Refusal::bad(e.to_string()))?;
        let (sent, positions) = (sample.prompt.len(), served.config.max_position_embeddings);
        if sent + served.language.format.max_new_tokens > positions {
            let problem = format!(
                "{sent} tokens; expected fewer, as the model has {positions} positions for it and the list"
            );
            return Err(bad_field("messages", problem));
        }
        let found = engine.recommend(sample)?;
        let items = found.list.iter().map(|id| (id, task.catalog()[*id].item()));
        let items: Vec<(u32, Item)> = items.map(|(id, item)| (id.0, item)).collect();
        let line = |(rank, (_, item)): (usize, &(u32, Item))| format!("{}. {item}", rank + 1);
        let text = items
            .iter()
            .enumerate()
            .map(line)
            .collect::<Vec<_>>()
            .join("\n");
        let items: Vec<Value> = items
            .iter()
            .map(|(id, item)| json!({ "id": id, "title": item.title, "year": item.year }))
            .collect();
        let received = found.answer.segments.ranks.len();
        let created = now();
        Ok(json!({
            "id": format!("chatcmpl-{created}"), "object": "chat.completion", "created": created, "model": served.name,
            "choices": [{
                "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop", "items": items,
            }],
            "usage": { "prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received },
        }))
    }
}
