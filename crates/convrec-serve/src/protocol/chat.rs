//! `POST /v1/chat/completions`: a list for a conversation.

mod answer;
mod streamed;

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Extension, Request as HttpRequest, State as Shared};
use axum::response::Response;
use convrec_policy::{Request, Writer};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::messages::{self, Message};
use super::params::{Seed, StreamOptions, check_model, nothing_else, sampling};
use super::response_format::{JsonList, ResponseFormat};
use super::stop::Stop;
use crate::asked::{Asked, AskedQuota, List, Name, Only};
use crate::deployment::{Deployment, Shelf};
use crate::http::body;
use crate::http::guard::Client;
use crate::object::Object;
use crate::refusal::Refusal;
use crate::state::State;

/// The fields that are known; others are refused, as OpenAI refuses them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct Asking {
    model: Option<String>,
    messages: Vec<Object<Message>>,
    seen: Option<Vec<Name>>,
    exclude: Option<Vec<Name>>,
    only: Option<Only>,
    quotas: Option<Vec<Object<AskedQuota>>>,
    n_items: Option<usize>,
    n: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
    seed: Option<Seed>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    stop: Option<Stop>,
    stream: Option<bool>,
    stream_options: Option<Object<StreamOptions>>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    logit_bias: Option<Value>,
    response_format: Option<Object<ResponseFormat>>,
    tool_choice: Option<Value>,
    function_call: Option<Value>,
    // What says nothing about a list.
    #[serde(rename = "tools")]
    _tools: Option<IgnoredAny>,
    #[serde(rename = "functions")]
    _functions: Option<IgnoredAny>,
    #[serde(rename = "parallel_tool_calls")]
    _parallel_tool_calls: Option<IgnoredAny>,
    #[serde(rename = "user")]
    _user: Option<IgnoredAny>,
    #[serde(rename = "metadata")]
    _metadata: Option<IgnoredAny>,
    #[serde(rename = "store")]
    _store: Option<IgnoredAny>,
    #[serde(rename = "service_tier")]
    _service_tier: Option<IgnoredAny>,
    #[serde(rename = "safety_identifier")]
    _safety_identifier: Option<IgnoredAny>,
    #[serde(rename = "prompt_cache_key")]
    _prompt_cache_key: Option<IgnoredAny>,
    #[serde(rename = "reasoning_effort")]
    _reasoning_effort: Option<IgnoredAny>,
    #[serde(rename = "verbosity")]
    _verbosity: Option<IgnoredAny>,
    #[serde(rename = "modalities")]
    _modalities: Option<IgnoredAny>,
    #[serde(rename = "prediction")]
    _prediction: Option<IgnoredAny>,
}

/// The largest number of likely tokens that are shown, as in OpenAI's protocol.
const MOST_TOP: usize = 20;

/// A request that can be answered.
struct Ready {
    deployment: Arc<Deployment>,
    shelf: Arc<Shelf>,
    list: List,
    /// Until it is sent.
    request: Option<Request<'static>>,
    /// Tokens of the prompt.
    sent: usize,
    n: usize,
    json: Option<JsonList>,
    stops: Vec<String>,
    logprobs: bool,
    name: String,
}

/// Answers a conversation.
pub(crate) async fn answer(
    Shared(state): Shared<Arc<State>>,
    Extension(client): Extension<Client>,
    http: HttpRequest,
) -> Result<Response, Refusal> {
    let asking: Asking = body::json(http, &state.config.limits).await?;
    check_model(asking.model.as_deref(), &state.config.name)?;
    let stream = asking.stream == Some(true);
    let usage = asking
        .stream_options
        .as_ref()
        .and_then(|options| options.include_usage)
        == Some(true);
    let reading = state.clone();
    let ready = state.read(move || asking.ready(&reading, client)).await?;
    match stream {
        true => streamed::response(&state, ready, usage).await,
        false => answer::whole(&state, ready).await,
    }
}

impl Asking {
    fn ready(self, state: &State, client: Client) -> Result<Ready, Refusal> {
        let deployment = state.current();
        let shelf = deployment.shelf()?.clone();
        self.check()?;
        let logprobs = self.logprobs == Some(true);
        let top = self.top_logprobs.unwrap_or(0);
        let limits = &state.config.limits;
        let json = ResponseFormat::list(self.response_format)?;
        let at_most = json.as_ref().and_then(|json| json.at_most);
        let asked = Asked {
            seen: self.seen.unwrap_or_default(),
            exclude: self.exclude.unwrap_or_default(),
            only: self.only,
            quotas: self.quotas.unwrap_or_default(),
            // A schema may ask for fewer than the model writes, or more.
            n: match self.n_items {
                Some(n) => Some(at_most.map_or(n, |most| n.min(most))),
                None => at_most.map(|most| most.min(shelf.task.n_ranks())),
            },
            n_field: "n_items",
        };
        asked.check(limits)?;
        let turns = messages::turns(self.messages, limits)?;
        let list = asked.list(turns, &shelf)?;
        let at_least = json.as_ref().map_or(0, |json| json.at_least);
        if list.n < at_least {
            let problem = format!("`minItems` of {at_least}; expected at most {}", list.n);
            return Err(Refusal::field("response_format", problem));
        }
        let longest = shelf.task.longest_list();
        let longest = longest.unwrap_or(deployment.language.format.max_new_tokens);
        let most = self.max_completion_tokens.or(self.max_tokens);
        if most == Some(0) {
            return Err(Refusal::field("max_tokens", "0; expected at least 1"));
        }
        let n = self.n.unwrap_or(1);
        let rows = state.config.engine.rows;
        if n == 0 || n > rows {
            return Err(Refusal::field("n", format!("{n}; expected 1 to {rows}")));
        }
        let seed = Seed::number(self.seed);
        let writer = |g: usize| Writer {
            constraint: list
                .constraint
                .clone()
                .map(|constraint| Box::new(constraint) as Box<_>),
            ..Writer::new(seed, g as u64)
        };
        let request = Request {
            prompt: Cow::Owned(list.sample.prompt.clone()),
            // A list is the most likely one, where the client does not say otherwise.
            sampling: sampling(
                self.temperature.unwrap_or(0.0),
                self.top_p,
                self.top_k,
                self.min_p,
            )?,
            max_new_tokens: most.map_or(longest, |most| most.min(longest)),
            end_token: deployment.end_token,
            writers: (0..n).map(writer).collect(),
            search: None,
            top,
            client: client.0,
            deadline: Some(state.deadline()),
        };
        Ok(Ready {
            shelf,
            sent: list.sample.prompt.len(),
            list,
            request: Some(request),
            n,
            json,
            stops: Stop::texts(self.stop)?,
            logprobs,
            name: state.config.name.clone(),
            deployment,
        })
    }

    /// Whether what is not done here is asked for in earnest.
    fn check(&self) -> Result<(), Refusal> {
        nothing_else(
            self.frequency_penalty,
            self.presence_penalty,
            self.logit_bias.as_ref(),
        )?;
        for (field, choice) in [
            ("tool_choice", &self.tool_choice),
            ("function_call", &self.function_call),
        ] {
            let is_free = |choice: &Value| choice.is_null() || choice == "auto" || choice == "none";
            if !choice.as_ref().is_none_or(is_free) {
                let problem = "expected auto or none: a list is written, and no tool is called";
                return Err(Refusal::field(field, problem));
            }
        }
        let top = self.top_logprobs.unwrap_or(0);
        if top > MOST_TOP || top > 0 && self.logprobs != Some(true) {
            let problem = format!("{top}; expected at most {MOST_TOP}, with `logprobs`");
            return Err(Refusal::field("top_logprobs", problem));
        }
        if top > 0 && self.stream == Some(true) {
            let problem = "expected 0 in a stream, or an answer that comes whole";
            return Err(Refusal::field("top_logprobs", problem));
        }
        Ok(())
    }
}
