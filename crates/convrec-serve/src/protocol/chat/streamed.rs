//! The answer that comes item by item.

use std::time::Instant;

use axum::response::Response;
use axum::response::sse::Event as Sent;
use serde_json::{Value, json};

use super::super::choices::{Content, item, items};
use super::super::{new_id, now, sse};
use super::Ready;
use super::answer::{fingerprint, finish_reason, log_probability, usage};
use crate::listing::ListReader;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::state::{State, refused};
use crate::worker::Event;

/// A choice that is being written.
struct Open {
    /// None where lists are unconstrained: they are read when they are there.
    reader: Option<ListReader>,
    content: Content,
    items: usize,
    /// Tokens that came.
    tokens: usize,
    /// What is to be said of tokens that came and are in no chunk yet.
    logprobs: Vec<Value>,
}

struct Stream {
    ready: Ready,
    choices: Vec<Open>,
    frame: Value,
    with_usage: bool,
    received: usize,
    is_over: bool,
    started: Option<Instant>,
    metrics: Metrics,
}

pub(super) async fn response(
    state: &State,
    mut ready: Ready,
    with_usage: bool,
) -> Result<Response, Refusal> {
    let frame = json!({
        "id": new_id("chatcmpl"), "object": "chat.completion.chunk", "created": now(),
        "model": ready.name, "system_fingerprint": fingerprint(ready.deployment.version),
    });
    let open = |_| Open {
        reader: ready.list.constraint.clone().map(ListReader::new),
        content: Content::new(ready.json.clone(), ready.stops.clone()),
        items: 0,
        tokens: 0,
        logprobs: vec![],
    };
    let choices: Vec<Open> = (0..ready.n).map(open).collect();
    let parts = ready.request.take().into_iter().collect();
    let started = Some(Instant::now());
    let events = sse::begun(ready.deployment.worker.send(parts, true)).await?;
    let mut stream = Stream {
        ready,
        choices,
        frame,
        with_usage,
        received: 0,
        is_over: false,
        started,
        metrics: state.metrics.clone(),
    };
    let first = (0..stream.choices.len())
        .map(|index| {
            let content = stream.choices[index].content.opening().to_string();
            stream.chunk(
                index,
                json!({ "role": "assistant", "content": content }),
                None,
                None,
            )
        })
        .collect();
    Ok(sse::response(events, first, move |event| {
        stream.pieces(event)
    }))
}

impl Stream {
    /// A chunk of a choice, with what is to be said of its tokens.
    fn chunk(
        &mut self,
        index: usize,
        delta: Value,
        reason: Option<&str>,
        item: Option<Value>,
    ) -> Sent {
        let mut chunk = self.frame.clone();
        let mut choice = json!({ "index": index, "delta": delta, "finish_reason": reason });
        if let Some(item) = item {
            choice["items"] = json!([item]);
        }
        let logprobs = std::mem::take(&mut self.choices[index].logprobs);
        if !logprobs.is_empty() {
            choice["logprobs"] = json!({ "content": logprobs });
        }
        chunk["choices"] = json!([choice]);
        if self.with_usage {
            chunk["usage"] = Value::Null;
        }
        sse::data(&chunk)
    }

    fn pieces(&mut self, event: Option<Event>) -> Vec<Sent> {
        if self.is_over {
            return vec![];
        }
        match event {
            Some(Event::Progress {
                writer,
                tokens,
                log_probs,
                ..
            }) => self.progress(writer, &tokens, &log_probs),
            Some(Event::Done { written, .. }) => self.end(&written),
            Some(Event::Refused(problem)) => self.fail(&refused(&problem)),
            Some(Event::Expired) => self.fail(&Refusal::late()),
            None => self.fail(&Refusal::dead()),
        }
    }

    fn fail(&mut self, refusal: &Refusal) -> Vec<Sent> {
        self.is_over = true;
        vec![sse::failed(refusal), sse::done()]
    }

    /// Keeps what is to be said of tokens, where a client asks for it.
    fn came(&mut self, index: usize, tokens: &[u32], log_probs: &[f32]) {
        let tokenizer = &self.ready.deployment.language.tokenizer;
        let open = &mut self.choices[index];
        open.tokens += tokens.len();
        if self.ready.logprobs {
            let pairs = tokens.iter().zip(log_probs);
            let said = pairs.map(|(token, p)| log_probability(tokenizer, *token, *p));
            open.logprobs.extend(said);
        }
    }

    fn progress(&mut self, index: usize, tokens: &[u32], log_probs: &[f32]) -> Vec<Sent> {
        self.came(index, tokens, log_probs);
        let open = &mut self.choices[index];
        let found = match &mut open.reader {
            Some(reader) => reader.read(tokens, log_probs),
            None => vec![],
        };
        let mut pieces = vec![];
        for ranked in &found {
            let open = &mut self.choices[index];
            open.items += 1;
            let item = item(&self.ready.shelf, open.items, ranked);
            if let Some(content) = open.content.push(&item) {
                pieces.push(self.chunk(index, json!({ "content": content }), None, Some(item)));
            }
        }
        if let (false, Some(started)) = (pieces.is_empty(), self.started) {
            self.metrics.first.observe(started.elapsed().as_secs_f64());
            self.started = None;
        }
        pieces
    }

    fn end(&mut self, written: &[convrec_policy::Written]) -> Vec<Sent> {
        self.is_over = true;
        let mut pieces = vec![];
        for (index, written) in written.iter().enumerate() {
            self.metrics.lists.inc();
            self.received += written.completion.tokens.len();
            let found = items(&self.ready.list, &self.ready.shelf, written);
            // What was not told yet.
            let (tokens, log_probs) = (&written.completion.tokens, &written.completion.log_probs);
            let came = self.choices[index].tokens.min(tokens.len());
            self.came(index, &tokens[came..], &log_probs[came..]);
            let told = self.choices[index].items;
            for (place, ranked) in found.iter().enumerate().skip(told) {
                let item = item(&self.ready.shelf, place + 1, ranked);
                if let Some(content) = self.choices[index].content.push(&item) {
                    pieces.push(self.chunk(index, json!({ "content": content }), None, Some(item)));
                }
            }
            let ended = written.completion.ended;
            if let Some(content) = ended.then(|| self.choices[index].content.close()).flatten() {
                pieces.push(self.chunk(index, json!({ "content": content }), None, None));
            }
            let reason = finish_reason(ended || self.choices[index].content.is_over());
            pieces.push(self.chunk(index, json!({}), Some(reason), None));
        }
        if self.with_usage {
            let mut chunk = self.frame.clone();
            chunk["choices"] = json!([]);
            chunk["usage"] = usage(self.ready.sent, self.received);
            pieces.push(sse::data(&chunk));
        }
        pieces.push(sse::done());
        pieces
    }
}
