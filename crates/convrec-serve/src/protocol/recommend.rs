//! `POST /v1/recommend`: items with probabilities, under constraints.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Extension, Request as HttpRequest, State as Shared};
use axum::response::sse::Event as Sent;
use axum::response::{IntoResponse, Response};
use convrec_policy::{Request, Writer, Written};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;

use super::choices::{item, items};
use super::messages::{self, Message};
use super::params::{Seed, check_model, sampling};
use super::several::{self, Several};
use super::{new_id, sse, why_not};
use crate::asked::{Asked, AskedQuota, List, Name, Only};
use crate::deployment::{Deployment, Shelf};
use crate::http::body;
use crate::http::guard::Client;
use crate::listing::ListReader;
use crate::object::Object;
use crate::refusal::Refusal;
use crate::state::{State, refused};
use crate::worker::Event;

/// A conversation, and what its list may hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct Asking {
    model: Option<String>,
    messages: Vec<Object<Message>>,
    seen: Option<Vec<Name>>,
    exclude: Option<Vec<Name>>,
    only: Option<Only>,
    quotas: Option<Vec<Object<AskedQuota>>>,
    n: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    seed: Option<Seed>,
    /// How many other items are shown at each rank.
    alternatives: Option<usize>,
    num_return_sequences: Option<usize>,
    num_beams: Option<usize>,
    without_replacement: Option<bool>,
    stream: Option<bool>,
}

/// The largest number of other items at a rank.
const MOST_ALTERNATIVES: usize = 10;

struct Ready {
    deployment: Arc<Deployment>,
    shelf: Arc<Shelf>,
    list: List,
    alternatives: usize,
    several: bool,
    client: u64,
    deadline: Instant,
    /// Tokens that an item can have at most.
    longest: usize,
}

/// Answers a conversation with items.
pub(crate) async fn answer(
    Shared(state): Shared<Arc<State>>,
    Extension(client): Extension<Client>,
    http: HttpRequest,
) -> Result<Response, Refusal> {
    let asking: Asking = body::json(http, &state.config.limits).await?;
    check_model(asking.model.as_deref(), &state.config.name)?;
    let stream = asking.stream == Some(true);
    let reading = state.clone();
    let (ready, request) = state.read(move || asking.ready(&reading, client)).await?;
    match stream {
        true => ready.streamed(&state, request).await,
        false => ready.whole(&state, request).await,
    }
}

impl Asking {
    fn ready(self, state: &State, client: Client) -> Result<(Ready, Request<'static>), Refusal> {
        let deployment = state.current();
        let shelf = deployment.shelf()?.clone();
        let alternatives = self.alternatives.unwrap_or(0);
        if alternatives > MOST_ALTERNATIVES {
            let problem = format!("{alternatives}; expected at most {MOST_ALTERNATIVES}");
            return Err(Refusal::field("alternatives", problem));
        }
        let several = Several::new(
            self.num_return_sequences,
            self.num_beams,
            self.without_replacement,
        );
        if several.is_asked() && (alternatives > 0 || self.stream == Some(true)) {
            let problem = "there are none with several lists, which come whole";
            let field = if alternatives > 0 {
                "alternatives"
            } else {
                "stream"
            };
            return Err(Refusal::field(field, problem));
        }
        let asked = Asked {
            seen: self.seen.unwrap_or_default(),
            exclude: self.exclude.unwrap_or_default(),
            only: self.only,
            quotas: self.quotas.unwrap_or_default(),
            n: self.n,
            n_field: "n",
        };
        asked.check(&state.config.limits)?;
        let turns = messages::turns(self.messages, &state.config.limits)?;
        let list = asked.list(turns, &shelf)?;
        let longest = shelf.task.longest_list();
        let longest = longest.unwrap_or(deployment.language.format.max_new_tokens);
        let deadline = state.deadline();
        let seed = Seed::number(self.seed);
        let temperature = self.temperature.unwrap_or(several.usual_temperature());
        let writer = Writer {
            constraint: list
                .constraint
                .clone()
                .map(|constraint| Box::new(constraint) as Box<_>),
            ..Writer::new(seed, 0)
        };
        let request = Request {
            prompt: Cow::Owned(list.sample.prompt.clone()),
            sampling: sampling(temperature, self.top_p, None, None)?,
            max_new_tokens: longest,
            end_token: deployment.end_token,
            writers: vec![writer],
            search: None,
            // One of them is the item's own.
            top: if alternatives > 0 {
                alternatives + 1
            } else {
                0
            },
            client: client.0,
            deadline: Some(deadline),
        };
        let request = match several.is_asked() {
            true => several.put(request, &list, seed, state)?,
            false => request,
        };
        let ready = Ready {
            deployment,
            shelf,
            list,
            alternatives,
            several: several.is_asked(),
            client: client.0,
            deadline,
            longest,
        };
        Ok((ready, request))
    }
}

impl Ready {
    fn about(&self, state: &State) -> Value {
        let catalog = self.shelf.task.catalog();
        let aliases = catalog.aliases();
        let seen = self
            .list
            .sample
            .seen
            .iter()
            .filter(|id| !aliases.contains(id));
        let seen = seen.map(|id| json!({ "id": id.0, "name": catalog[*id].item().to_string() }));
        json!({
            "id": new_id("rec"), "object": "recommendation", "model": state.config.name,
            "version": self.deployment.version, "seen": seen.collect::<Vec<_>>(),
        })
    }

    async fn alternatives(&self, written: &Written) -> Result<Vec<Vec<Value>>, Refusal> {
        let (longest, end) = (self.longest, self.deployment.end_token);
        let (client, deadline) = (self.client, self.deadline);
        let request = |prompt: Vec<u32>, constraint| {
            why_not::end_of_item(prompt, constraint, longest, end, client, deadline)
        };
        let (deployment, n) = (&self.deployment, self.alternatives);
        why_not::alternatives(deployment, &self.shelf, &self.list, written, n, &request).await
    }

    async fn whole(self, state: &State, request: Request<'static>) -> Result<Response, Refusal> {
        let written = self.deployment.write(vec![request]).await?;
        let mut answer = self.about(state);
        if self.several {
            let written = written.first().map_or(&[][..], Vec::as_slice);
            let lists = several::lists(&self.list, &self.shelf, written);
            state.metrics.lists.inc_by(lists.len() as u64);
            answer["items"] = lists
                .first()
                .map_or(json!([]), |list| list["items"].clone());
            answer["lists"] = lists.into();
            return Ok(Json(answer).into_response());
        }
        state.metrics.lists.inc();
        let mut found = vec![];
        if let Some(written) = written.first().and_then(|group| group.first()) {
            let ranked = items(&self.list, &self.shelf, written);
            let ranked = ranked.iter().enumerate();
            found.extend(ranked.map(|(place, ranked)| item(&self.shelf, place + 1, ranked)));
            if self.alternatives > 0 {
                let others = self.alternatives(written).await?;
                for (item, others) in found.iter_mut().zip(others) {
                    item["alternatives"] = others.into();
                }
            }
        }
        answer["items"] = found.into();
        Ok(Json(answer).into_response())
    }

    /// Events `about`, `item` for each rank, `alternatives` where they are asked for, and `done`.
    async fn streamed(
        self,
        state: &Arc<State>,
        request: Request<'static>,
    ) -> Result<Response, Refusal> {
        let named = |name: &str, value: &Value| sse::data(value).event(name);
        let first = vec![named("about", &self.about(state))];
        let (metrics, started) = (state.metrics.clone(), Instant::now());
        let mut events = sse::begun(self.deployment.worker.send(vec![request], true)).await?;
        // The alternatives are asked of the model when the list is there, so a task sees to both.
        let (sender, receiver) = unbounded_channel();
        tokio::spawn(async move {
            let mut reader = self.list.constraint.clone().map(ListReader::new);
            let mut told = 0;
            loop {
                let event = tokio::select! {
                    event = events.recv() => event,
                    () = sender.closed() => return,
                };
                let tell = |event: Sent| sender.send(event).unwrap_or_default();
                match event {
                    Some(Event::Progress {
                        tokens, log_probs, ..
                    }) => {
                        let reader = reader.as_mut();
                        let found = reader.map(|reader| reader.read(&tokens, &log_probs));
                        for ranked in found.unwrap_or_default() {
                            if told == 0 {
                                metrics.first.observe(started.elapsed().as_secs_f64());
                            }
                            told += 1;
                            tell(named("item", &item(&self.shelf, told, &ranked)));
                        }
                    }
                    Some(Event::Done { written, .. }) => {
                        metrics.lists.inc();
                        let Some(written) = written.first() else {
                            return;
                        };
                        let found = items(&self.list, &self.shelf, written);
                        for (place, ranked) in found.iter().enumerate().skip(told) {
                            tell(named("item", &item(&self.shelf, place + 1, ranked)));
                        }
                        if self.alternatives > 0 {
                            match self.alternatives(written).await {
                                Ok(ranks) => {
                                    tell(named("alternatives", &json!({ "ranks": ranks })))
                                }
                                Err(problem) => tell(named("error", &problem.body())),
                            }
                        }
                        tell(named("done", &json!({})));
                        return;
                    }
                    Some(Event::Refused(problem)) => {
                        return tell(named("error", &refused(&problem).body()));
                    }
                    Some(Event::Expired) => return tell(named("error", &Refusal::late().body())),
                    None => return tell(named("error", &Refusal::dead().body())),
                }
            }
        });
        Ok(sse::forwarded(receiver, first))
    }
}
