//! The answer that comes whole.

use axum::Json;
use axum::response::{IntoResponse, Response};
use convrec_text::TextTokenizer;
use serde_json::{Value, json};

use super::super::choices::{Content, item, items};
use super::super::{new_id, now};
use super::Ready;
use crate::refusal::Refusal;
use crate::state::State;

pub(super) async fn whole(state: &State, mut ready: Ready) -> Result<Response, Refusal> {
    let parts = ready.request.take().into_iter().collect();
    let written = ready.deployment.write(parts).await?;
    let (mut choices, mut received) = (vec![], 0);
    for (index, written) in written.iter().flatten().enumerate() {
        let completion = &written.completion;
        received += completion.tokens.len();
        state.metrics.lists.inc();
        let mut content = Content::new(ready.json.clone(), ready.stops.clone());
        let mut shown = vec![];
        let found = items(&ready.list, &ready.shelf, written);
        for (place, ranked) in found.iter().enumerate() {
            let item = item(&ready.shelf, place + 1, ranked);
            if content.push(&item).is_some() {
                shown.push(item);
            }
        }
        if completion.ended {
            content.close();
        }
        let reason = finish_reason(completion.ended || content.is_over());
        let logprobs = ready.logprobs.then(|| {
            let tokens = completion.tokens.iter().zip(&completion.log_probs);
            let tokenizer = &ready.deployment.language.tokenizer;
            let one = |((token, log_prob), top): ((&u32, &f32), &Vec<(u32, f32)>)| {
                let mut shown = log_probability(tokenizer, *token, *log_prob);
                let top = top
                    .iter()
                    .map(|(token, p)| log_probability(tokenizer, *token, *p));
                shown["top_logprobs"] = top.collect();
                shown
            };
            let content: Vec<Value> = tokens.zip(&written.top).map(one).collect();
            json!({ "content": content, "refusal": null })
        });
        choices.push(json!({
            "index": index, "finish_reason": reason, "logprobs": logprobs, "items": shown,
            "message": { "role": "assistant", "content": content.text(), "refusal": null },
        }));
    }
    Ok(Json(json!({
        "id": new_id("chatcmpl"), "object": "chat.completion", "created": now(),
        "model": ready.name, "choices": choices, "usage": usage(ready.sent, received),
        "system_fingerprint": fingerprint(ready.deployment.version),
    }))
    .into_response())
}

pub(super) fn finish_reason(ended: bool) -> &'static str {
    match ended {
        true => "stop",
        false => "length",
    }
}

pub(super) fn usage(sent: usize, received: usize) -> Value {
    json!({ "prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received })
}

/// Another one for other weights or another catalog.
pub(super) fn fingerprint(version: u64) -> String {
    format!("v{version}")
}

/// A token with its log-probability.
pub(super) fn log_probability(tokenizer: &TextTokenizer, token: u32, log_prob: f32) -> Value {
    let bytes = tokenizer.token_bytes(token);
    json!({
        "token": String::from_utf8_lossy(bytes), "logprob": log_prob, "bytes": bytes,
        "top_logprobs": [],
    })
}
