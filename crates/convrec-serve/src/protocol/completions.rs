//! `POST /v1/completions`: what the policy writes behind prompts, for trainers that sample
//! elsewhere.

mod answer;

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Extension, Request as HttpRequest, State as Shared};
use axum::response::Response;
use convrec_policy::{Constraint, Request, Writer};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::params::{Seed, StreamOptions, check_model, nothing_else, sampling};
use super::stop::{Stop, Watch};
use crate::asked::{Asked, AskedQuota, Name, Only};
use crate::config::Limits;
use crate::deployment::Deployment;
use crate::http::body;
use crate::http::guard::Client;
use crate::listing::ListConstraint;
use crate::object::Object;
use crate::refusal::Refusal;
use crate::state::State;

/// The fields that are known; all others are refused, as they may mean what is not done here.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct Asking {
    model: Option<String>,
    prompt: Prompts,
    /// What no list may hold; where it is there, be it empty, lists cannot leave the catalog.
    seen: Option<Vec<Name>>,
    exclude: Option<Vec<Name>>,
    only: Option<Only>,
    quotas: Option<Vec<Object<AskedQuota>>>,
    n_items: Option<usize>,
    n: Option<usize>,
    best_of: Option<usize>,
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
    seed: Option<Seed>,
    stop: Option<Stop>,
    logprobs: Option<usize>,
    stop_token_ids: Option<Vec<u32>>,
    return_token_ids: Option<bool>,
    return_tokens_as_token_ids: Option<bool>,
    echo: Option<bool>,
    suffix: Option<String>,
    stream: Option<bool>,
    stream_options: Option<Object<StreamOptions>>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    logit_bias: Option<Value>,
    /// The one token that ends a completion is always asked for.
    #[serde(rename = "ignore_eos")]
    _ignore_eos: Option<bool>,
    #[serde(rename = "user")]
    _user: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a text, a list of token ids, or a list of one of these"
)]
enum Prompts {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    Several(Vec<Vec<u32>>),
}

/// The largest number of likely tokens that are shown.
const MOST_TOP: usize = 20;

/// The largest number of likely tokens in an answer.
const MOST_SHOWN: usize = 500_000;

/// The largest number of items that the completions of a request keep out of their lists.
const MOST_NAMED: usize = 2_000_000;

/// How an answer is shown.
#[derive(Debug, Clone)]
struct Shown {
    logprobs: Option<usize>,
    token_ids: bool,
    tokens_as_ids: bool,
    stops: Vec<String>,
    end: u32,
    usage: bool,
    name: String,
}

/// A request that can be answered.
struct Ready {
    deployment: Arc<Deployment>,
    prompts: Vec<Arc<[u32]>>,
    /// Each with the prompt that it is of, in the order of the choices.
    parts: Vec<Request<'static>>,
    prompt_of: Vec<usize>,
    shown: Shown,
}

/// Writes on behind prompts.
pub(crate) async fn answer(
    Shared(state): Shared<Arc<State>>,
    Extension(client): Extension<Client>,
    http: HttpRequest,
) -> Result<Response, Refusal> {
    let asking: Asking = body::json(http, &state.config.limits).await?;
    check_model(asking.model.as_deref(), &state.config.name)?;
    let stream = asking.stream == Some(true);
    let reading = state.clone();
    let ready = state.read(move || asking.ready(&reading, client)).await?;
    match stream {
        true => answer::streamed(&state, ready).await,
        false => answer::whole(ready).await,
    }
}

impl Asking {
    fn ready(self, state: &State, client: Client) -> Result<Ready, Refusal> {
        let deployment = state.current();
        let limits = &state.config.limits;
        self.check()?;
        let constraint = self.constraint(&deployment, limits)?;
        let prompts = self.prompts(&deployment, limits)?;
        let n = self.n.unwrap_or(1);
        if n == 0 || n.saturating_mul(prompts.len()) > limits.completions {
            let most = limits.completions;
            let problem =
                format!("{n}; expected at least 1, and at most {most} completions of all prompts");
            return Err(Refusal::field("n", problem));
        }
        self.check_memory(n * prompts.len(), constraint.is_some())?;
        let (end, others) = self.ends(&deployment);
        let stops = Stop::texts(self.stop)?;
        let sampling = sampling(
            self.temperature.unwrap_or(1.0),
            self.top_p,
            self.top_k,
            self.min_p,
        )?;
        let shown = Shown {
            logprobs: self.logprobs,
            token_ids: self.return_token_ids == Some(true),
            tokens_as_ids: self.return_tokens_as_token_ids == Some(true),
            stops: stops.clone(),
            end,
            usage: self
                .stream_options
                .and_then(|options| options.include_usage)
                == Some(true),
            name: state.config.name.clone(),
        };
        let seed = Seed::number(self.seed);
        let asked = self.max_tokens;
        let (mut parts, mut prompt_of) = (vec![], vec![]);
        for (p, prompt) in prompts.iter().enumerate() {
            let max_new_tokens = max_tokens(asked, prompt, &deployment, constraint.as_ref())?;
            // As many side by side as there is room for; each has its own stream of numbers.
            let side = state.config.engine.rows;
            let room = state.config.engine.tokens.saturating_sub(prompt.len());
            let side = side.min((room / max_new_tokens).max(1));
            for first in (0..n).step_by(side) {
                let writer = |g: usize| {
                    writer(
                        seed.wrapping_add(p as u64),
                        g,
                        constraint.as_ref(),
                        &stops,
                        &others,
                        &deployment,
                    )
                };
                prompt_of.push(p);
                parts.push(Request {
                    prompt: Cow::Owned(prompt.to_vec()),
                    sampling,
                    max_new_tokens,
                    end_token: end,
                    writers: (first..n.min(first + side)).map(writer).collect(),
                    search: None,
                    top: self.logprobs.filter(|k| *k > 1).unwrap_or(0),
                    client: client.0,
                    deadline: Some(state.deadline()),
                });
            }
        }
        Ok(Ready {
            deployment,
            prompts,
            parts,
            prompt_of,
            shown,
        })
    }

    /// Whether what is not done here is asked for in earnest.
    fn check(&self) -> Result<(), Refusal> {
        nothing_else(
            self.frequency_penalty,
            self.presence_penalty,
            self.logit_bias.as_ref(),
        )?;
        if let Some(k) = self.logprobs.filter(|k| *k > MOST_TOP) {
            let problem = format!("{k}; expected at most {MOST_TOP}");
            return Err(Refusal::field("logprobs", problem));
        }
        if self.logprobs.is_some_and(|k| k > 1) && self.stream == Some(true) {
            return Err(Refusal::field(
                "logprobs",
                "above 1; expected 0 or 1 in a stream",
            ));
        }
        if self.echo == Some(true) {
            return Err(Refusal::field("echo", "true; expected false"));
        }
        if self
            .suffix
            .as_ref()
            .is_some_and(|suffix| !suffix.is_empty())
        {
            return Err(Refusal::field("suffix", "expected none"));
        }
        let n = self.n.unwrap_or(1);
        match self.best_of.filter(|best| *best != n) {
            Some(best) => Err(Refusal::field(
                "best_of",
                format!("{best}; expected {n}, as `n`"),
            )),
            None => Ok(()),
        }
    }

    /// Whether an answer of so many completions is not too large to be held.
    fn check_memory(&self, completions: usize, is_constrained: bool) -> Result<(), Refusal> {
        let named = [&self.seen, &self.exclude].map(|names| names.as_ref().map_or(0, Vec::len));
        let named: usize = named.iter().sum();
        if is_constrained && completions.saturating_mul(named) > MOST_NAMED {
            let problem = format!(
                "{completions} completions with {named} items of `seen` and `exclude`; expected at \
                 most {MOST_NAMED} in all"
            );
            return Err(Refusal::field("n", problem));
        }
        let top = self.logprobs.filter(|k| *k > 1).unwrap_or(0);
        let tokens = completions.saturating_mul(self.max_tokens.unwrap_or(1));
        if tokens.saturating_mul(top) > MOST_SHOWN {
            let problem = format!(
                "{top} for each of up to {tokens} tokens; expected at most {MOST_SHOWN} in all"
            );
            return Err(Refusal::field("logprobs", problem));
        }
        Ok(())
    }

    fn constraint(
        &self,
        deployment: &Deployment,
        limits: &Limits,
    ) -> Result<Option<ListConstraint>, Refusal> {
        let is_free = self.seen.is_none()
            && self.exclude.is_none()
            && self.only.is_none()
            && self.quotas.is_none()
            && self.n_items.is_none();
        if is_free {
            return Ok(None);
        }
        let shelf = deployment.shelf.as_ref();
        let Some(shelf) = shelf.filter(|shelf| shelf.task.is_constrained()) else {
            let problem = "a list from a catalog; expected a server with a catalog, whose lists are constrained";
            return Err(Refusal::field("seen", problem));
        };
        let asked = Asked {
            seen: self.seen.clone().unwrap_or_default(),
            exclude: self.exclude.clone().unwrap_or_default(),
            only: self.only.clone(),
            quotas: self.quotas.clone().unwrap_or_default(),
            n: self.n_items,
            n_field: "n_items",
        };
        asked.check(limits)?;
        asked.completion(shelf)
    }

    fn prompts(
        &self,
        deployment: &Deployment,
        limits: &Limits,
    ) -> Result<Vec<Arc<[u32]>>, Refusal> {
        let tokenizer = &deployment.language.tokenizer;
        let encode = |text: &String| {
            let tokens = tokenizer.encode_with_specials(text);
            tokens
                .map(Arc::from)
                .map_err(|e| Refusal::field("prompt", e))
        };
        let texts: &[String] = match &self.prompt {
            Prompts::Text(text) => std::slice::from_ref(text),
            Prompts::Texts(texts) => texts,
            _ => &[],
        };
        let characters: usize = texts.iter().map(|text| text.chars().count()).sum();
        if characters > limits.characters {
            let problem = format!(
                "{characters} characters; expected at most {}",
                limits.characters
            );
            return Err(Refusal::field("prompt", problem));
        }
        let prompts: Vec<Arc<[u32]>> = match &self.prompt {
            Prompts::Text(_) | Prompts::Texts(_) => {
                texts.iter().map(encode).collect::<Result<_, _>>()?
            }
            Prompts::Tokens(tokens) => vec![tokens.as_slice().into()],
            Prompts::Several(several) => several
                .iter()
                .map(|tokens| tokens.as_slice().into())
                .collect(),
        };
        if prompts.is_empty() || prompts.iter().any(|prompt| prompt.is_empty()) {
            return Err(Refusal::field(
                "prompt",
                "empty; expected at least one token",
            ));
        }
        let known = deployment.shape().vocab_size;
        let mut tokens = prompts.iter().flat_map(|prompt| prompt.iter());
        match tokens.find(|token| **token as usize >= known) {
            Some(token) => {
                let problem = format!("token {token}; expected tokens below {known}");
                Err(Refusal::field("prompt", problem))
            }
            None => Ok(prompts),
        }
    }

    /// The token that ends a completion, and others that do as well.
    fn ends(&self, deployment: &Deployment) -> (u32, Vec<u32>) {
        match self.stop_token_ids.as_deref() {
            None | Some([]) => (deployment.end_token, vec![]),
            Some([end, others @ ..]) => (*end, others.to_vec()),
        }
    }
}

fn max_tokens(
    asked: Option<usize>,
    prompt: &[u32],
    deployment: &Deployment,
    constraint: Option<&ListConstraint>,
) -> Result<usize, Refusal> {
    let positions = deployment.shape().max_position_embeddings;
    let left = positions.saturating_sub(prompt.len());
    let usual = deployment.language.format.max_new_tokens;
    let longest = deployment
        .shelf
        .as_ref()
        .and_then(|shelf| shelf.task.longest_list());
    let longest = longest
        .filter(|_| constraint.is_some())
        .unwrap_or(usize::MAX);
    // Nothing is kept for tokens that a list cannot have.
    let max_tokens = asked.unwrap_or(usual.min(left)).min(longest);
    if max_tokens == 0 || max_tokens > left {
        let problem = format!(
            "{max_tokens} behind a prompt of {} tokens; expected at least 1, and together at most {positions}, \
             the positions of the model",
            prompt.len()
        );
        return Err(Refusal::field("max_tokens", problem));
    }
    Ok(max_tokens)
}

fn writer(
    seed: u64,
    g: usize,
    constraint: Option<&ListConstraint>,
    stops: &[String],
    ends: &[u32],
    deployment: &Arc<Deployment>,
) -> Writer<'static> {
    let boxed = |constraint: &ListConstraint| Box::new(constraint.clone()) as Box<dyn Constraint>;
    let (deployment, ends) = (deployment.clone(), ends.to_vec());
    let stop = (!stops.is_empty() || !ends.is_empty()).then(|| {
        let bytes = move |token: u32| deployment.language.tokenizer.token_bytes(token).to_vec();
        let mut watch = Watch::new(stops, bytes);
        let stop = move |token: u32| watch.ends(token) || ends.contains(&token);
        Box::new(stop) as Box<dyn FnMut(u32) -> bool + Send>
    });
    Writer {
        constraint: constraint.map(boxed),
        stop,
        ..Writer::new(seed, g as u64)
    }
}
