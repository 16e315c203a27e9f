//! The answer, whole or piece by piece.

use axum::Json;
use axum::response::{IntoResponse, Response};
use convrec_policy::Written;
use convrec_text::TextTokenizer;
use serde_json::{Map, Value, json};

use super::super::{new_id, now, sse, stop};
use super::{Ready, Shown};
use crate::refusal::Refusal;
use crate::state::{State, refused};
use crate::worker::Event;

pub(super) async fn whole(ready: Ready) -> Result<Response, Refusal> {
    let groups = ready.deployment.write(ready.parts).await?;
    let tokenizer = &ready.deployment.language.tokenizer;
    let (mut choices, mut received) = (vec![], 0);
    for (p, group) in ready.prompt_of.iter().zip(&groups) {
        for written in group {
            received += written.completion.tokens.len();
            let mut choice = ready.shown.choice(tokenizer, written);
            choice["index"] = choices.len().into();
            if ready.shown.token_ids {
                choice["prompt_token_ids"] = json!(*ready.prompts[*p]);
            }
            choices.push(choice);
        }
    }
    let sent: usize = ready.prompts.iter().map(|prompt| prompt.len()).sum();
    Ok(Json(json!({
        "id": new_id("cmpl"), "object": "text_completion", "created": now(), "model": ready.shown.name,
        "choices": choices, "usage": usage(sent, received),
    }))
    .into_response())
}

fn usage(sent: usize, received: usize) -> Value {
    json!({ "prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received })
}

impl Shown {
    fn choice(&self, tokenizer: &TextTokenizer, written: &Written) -> Value {
        let completion = &written.completion;
        let tokens = &completion.tokens;
        let (text, reason) = self.text(tokenizer, tokens, completion.ended);
        let at_end = completion.ended && tokens.last() == Some(&self.end);
        let mut choice = json!({
            "text": text, "logprobs": null, "finish_reason": reason,
            "stop_reason": at_end.then_some(self.end),
        });
        if let Some(k) = self.logprobs {
            choice["logprobs"] = self.logprobs(tokenizer, tokens, &completion.log_probs);
            if k > 1 {
                let top = written.top.iter().map(|top| {
                    let pairs = top
                        .iter()
                        .map(|(token, p)| (self.token(tokenizer, *token), (*p).into()));
                    Value::Object(pairs.collect::<Map<_, _>>())
                });
                choice["logprobs"]["top_logprobs"] = top.collect();
            }
        }
        if self.token_ids {
            choice["token_ids"] = json!(tokens);
        }
        choice
    }

    /// The text without what ended it, and why it ended.
    fn text(
        &self,
        tokenizer: &TextTokenizer,
        tokens: &[u32],
        ended: bool,
    ) -> (String, &'static str) {
        let at_end = ended && tokens.last() == Some(&self.end);
        let mut text = tokenizer.decode(&tokens[..tokens.len() - usize::from(at_end)]);
        if let Some(end) = stop::find(&text, 0, &self.stops) {
            text.truncate(end);
        }
        (text, if ended { "stop" } else { "length" })
    }

    fn token(&self, tokenizer: &TextTokenizer, token: u32) -> String {
        match self.tokens_as_ids {
            true => format!("token_id:{token}"),
            false => tokenizer.decode_with_specials(&[token]),
        }
    }

    fn logprobs(&self, tokenizer: &TextTokenizer, tokens: &[u32], log_probs: &[f32]) -> Value {
        let names: Vec<String> = tokens
            .iter()
            .map(|token| self.token(tokenizer, *token))
            .collect();
        json!({ "tokens": names, "token_logprobs": log_probs, "top_logprobs": null })
    }
}

/// A choice that is being written.
#[derive(Default)]
struct Open {
    tokens: Vec<u32>,
    /// Bytes of the text that were told.
    told: usize,
}

pub(super) async fn streamed(state: &State, mut ready: Ready) -> Result<Response, Refusal> {
    let parts = std::mem::take(&mut ready.parts);
    // The first choice of each part.
    let firsts: Vec<usize> = parts
        .iter()
        .scan(0, |next, part| {
            *next += part.writers.len();
            Some(*next - part.writers.len())
        })
        .collect();
    let choices = parts.iter().map(|part| part.writers.len()).sum();
    let mut open: Vec<Open> = (0..choices).map(|_| Open::default()).collect();
    let (mut left, mut received, mut is_over) = (parts.len(), 0, false);
    let sent: usize = ready.prompts.iter().map(|prompt| prompt.len()).sum();
    let frame = json!({
        "id": new_id("cmpl"), "object": "text_completion", "created": now(), "model": ready.shown.name,
    });
    let metrics = state.metrics.clone();
    let mut started = Some(std::time::Instant::now());
    let events = sse::begun(ready.deployment.worker.send(parts, true)).await?;
    let answer = sse::response(events, vec![], move |event| {
        if is_over {
            return vec![];
        }
        let shown = &ready.shown;
        let tokenizer = &ready.deployment.language.tokenizer;
        let chunk = |choice: Value| {
            let mut chunk = frame.clone();
            chunk["choices"] = json!([choice]);
            sse::data(&chunk)
        };
        let failed = |refusal: Refusal| vec![sse::failed(&refusal), sse::done()];
        match event {
            Some(Event::Progress {
                part,
                writer,
                tokens,
                log_probs,
            }) => {
                if let Some(started) = started.take() {
                    metrics.first.observe(started.elapsed().as_secs_f64());
                }
                let index = firsts[part] + writer;
                let piece = open[index].piece(tokenizer, shown, &tokens, false);
                let logprobs = shown
                    .logprobs
                    .map(|_| shown.logprobs(tokenizer, &tokens, &log_probs));
                let mut choice = json!({ "index": index, "text": piece, "logprobs": logprobs, "finish_reason": null });
                if shown.token_ids {
                    choice["token_ids"] = json!(tokens);
                }
                vec![chunk(choice)]
            }
            Some(Event::Done { part, written }) => {
                let mut pieces = vec![];
                for (writer, written) in written.iter().enumerate() {
                    let (index, completion) = (firsts[part] + writer, &written.completion);
                    received += completion.tokens.len();
                    let rest = &completion.tokens[open[index].tokens.len()..];
                    let from = completion.log_probs.len() - rest.len();
                    let logprobs = shown
                        .logprobs
                        .map(|_| shown.logprobs(tokenizer, rest, &completion.log_probs[from..]));
                    let reason = if completion.ended { "stop" } else { "length" };
                    let text = open[index].piece(tokenizer, shown, rest, true);
                    let mut choice = json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": reason });
                    if shown.token_ids {
                        choice["token_ids"] = json!(rest);
                    }
                    pieces.push(chunk(choice));
                }
                left -= 1;
                if left == 0 {
                    is_over = true;
                    if shown.usage {
                        let mut chunk = frame.clone();
                        chunk["choices"] = json!([]);
                        chunk["usage"] = usage(sent, received);
                        pieces.push(sse::data(&chunk));
                    }
                    pieces.push(sse::done());
                }
                pieces
            }
            other => {
                is_over = true;
                match other {
                    Some(Event::Refused(problem)) => failed(refused(&problem)),
                    Some(Event::Expired) => failed(Refusal::late()),
                    _ => failed(Refusal::dead()),
                }
            }
        }
    });
    Ok(answer)
}

impl Open {
    /// The text of these tokens, as far as it is sure to be shown.
    fn piece(
        &mut self,
        tokenizer: &TextTokenizer,
        shown: &Shown,
        tokens: &[u32],
        is_last: bool,
    ) -> String {
        self.tokens.extend(tokens);
        let at_end = self.tokens.last() == Some(&shown.end);
        let (text, _) = shown.text(tokenizer, &self.tokens, at_end);
        let longest = shown.stops.iter().map(String::len).max().unwrap_or(0);
        let mut sure = text.len();
        if !is_last {
            // What may be the beginning of a stop text, or part of a letter.
            let letters = text.trim_end_matches('\u{fffd}').len();
            sure = letters.min((text.len() + 1).saturating_sub(longest.max(1)));
            while !text.is_char_boundary(sure) {
                sure -= 1;
            }
        }
        let from = self.told.min(sure);
        self.told = self.told.max(sure);
        text.get(from..sure).unwrap_or_default().to_string()
    }
}
