//! `POST /v1/completions`.

use convrec_core::ItemId;
use convrec_policy::{Completion, Sampling};
use convrec_train::Task;
use serde::Deserialize;
use serde_json::{Value, json};

use super::engine::{Draw, Engine, Settings};
use super::{Refusal, Served, bad_field, now};

/// Completions that one request may ask for.
const MOST: usize = 4096;

/// The fields that are known; all others are refused, as they may mean what is not done here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    model: Option<String>,
    prompt: Prompts,
    /// What no list may hold; where it is there, be it empty, lists cannot leave the catalog.
    seen: Option<Vec<Seen>>,
    n: Option<usize>,
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    min_p: Option<f32>,
    seed: Option<u64>,
    logprobs: Option<u32>,
    stop_token_ids: Option<Vec<u32>>,
    #[serde(default)]
    return_token_ids: bool,
    #[serde(default)]
    return_tokens_as_token_ids: bool,
    /// The one token that ends a completion is always asked for.
    #[serde(default, rename = "ignore_eos")]
    _ignore_eos: bool,
    #[serde(default)]
    stream: bool,
    #[serde(rename = "user")]
    _user: Option<String>,
}

#[derive(Deserialize)]
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

/// An item of the catalog.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected an item's place in the catalog, or its name as in `Heat (1995)`"
)]
pub(super) enum Seen {
    Place(u32),
    Name(String),
}

impl Seen {
    /// The catalog items that are meant.
    ///
    /// # Errors
    /// When one is not in the catalog; the nearest items are named.
    pub fn items(all: &[Self], task: &Task) -> Result<Vec<ItemId>, Refusal> {
        let catalog = task.catalog();
        let items = |seen: &Self| match seen {
            Self::Place(place) if (*place as usize) < catalog.len() => Ok(vec![ItemId(*place)]),
            Self::Place(place) => Err(bad_field(
                "seen",
                format!("{place}; expected a place below {}", catalog.len()),
            )),
            Self::Name(name) => catalog
                .named(name)
                .map_err(|e| bad_field("seen", e.to_string())),
        };
        let all: Result<Vec<Vec<ItemId>>, Refusal> = all.iter().map(items).collect();
        Ok(all?.concat())
    }
}

/// Whether enough is left for a list.
pub(super) fn check_left(seen: &[ItemId], task: &Task) -> Result<(), Refusal> {
    let mut distinct = seen.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let left = task.catalog().len() - distinct.len();
    if left < task.n_ranks() {
        return Err(bad_field(
            "seen",
            format!(
                "leaves {left} items; expected at least {}, those of a list",
                task.n_ranks()
            ),
        ));
    }
    Ok(())
}

impl Request {
    /// Draws what is asked for.
    pub fn answer(&self, served: &Served, engine: &Engine) -> Result<Value, Refusal> {
        check_model(self.model.as_deref(), served)?;
        let draw = self.draw(served)?;
        let (prompts, end) = (draw.prompts.clone(), draw.settings.end_token);
        let groups = engine.draw(draw)?;
        let tokens = |completion: &Completion| completion.tokens.len();
        let (sent, received): (usize, usize) = (
            prompts.iter().map(Vec::len).sum(),
            groups.iter().flatten().map(tokens).sum(),
        );
        let asked = prompts
            .iter()
            .zip(&groups)
            .flat_map(|(prompt, group)| group.iter().map(move |c| (prompt, c)));
        let choices = asked.enumerate().map(|(index, (prompt, completion))| {
            let mut choice = self.choice(served, completion, end);
            choice["index"] = index.into();
            if self.return_token_ids {
                choice["prompt_token_ids"] = json!(prompt);
            }
            choice
        });
        let choices: Vec<Value> = choices.collect();
        let created = now();
        Ok(json!({
            "id": format!("cmpl-{created}"), "object": "text_completion", "created": created, "model": served.name,
            "choices": choices,
            "usage": { "prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received },
        }))
    }

    fn draw(&self, served: &Served) -> Result<Draw, Refusal> {
        if self.stream {
            return Err(bad_field(
                "stream",
                "true; expected false, answers come whole",
            ));
        }
        if self.logprobs.is_some_and(|logprobs| logprobs > 1) {
            return Err(bad_field(
                "logprobs",
                "above 1; expected 0 or 1: only the drawn token's is there",
            ));
        }
        let seen = match (&self.seen, &served.task) {
            (None, _) => None,
            (Some(seen), Some(task)) if task.is_constrained() => {
                let mut seen = Seen::items(seen, task)?;
                seen.extend_from_slice(task.catalog().aliases());
                check_left(&seen, task)?;
                Some(seen)
            }
            _ => {
                return Err(bad_field(
                    "seen",
                    "a list from a catalog; expected a server with `--catalog`",
                ));
            }
        };
        let prompts = self.prompts(served)?;
        let settings = self.settings(served, seen.is_some(), &prompts)?;
        // Without a seed every request is another draw.
        Ok(Draw {
            settings,
            prompts,
            seen: seen.unwrap_or_default(),
            seed: self.seed.unwrap_or_else(rand::random),
        })
    }

    fn prompts(&self, served: &Served) -> Result<Vec<Vec<u32>>, Refusal> {
        let encode = |text: &String| {
            served
                .language
                .tokenizer
                .encode_with_specials(text)
                .map_err(|e| bad_field("prompt", e))
        };
        let prompts = match &self.prompt {
            Prompts::Text(text) => vec![encode(text)?],
            Prompts::Tokens(tokens) => vec![tokens.clone()],
            Prompts::Texts(texts) => texts.iter().map(encode).collect::<Result<_, _>>()?,
            Prompts::Several(several) => several.clone(),
        };
        if prompts.is_empty() || prompts.iter().any(Vec::is_empty) {
            return Err(bad_field("prompt", "empty; expected at least one token"));
        }
        let known = served.config.vocab_size;
        if let Some(token) = prompts
            .iter()
            .flatten()
            .find(|token| **token as usize >= known)
        {
            return Err(bad_field(
                "prompt",
                format!("token {token}; expected tokens below {known}"),
            ));
        }
        Ok(prompts)
    }

    fn settings(
        &self,
        served: &Served,
        constrained: bool,
        prompts: &[Vec<u32>],
    ) -> Result<Settings, Refusal> {
        let n = self.n.unwrap_or(1);
        if n == 0 || n.saturating_mul(prompts.len()) > MOST {
            return Err(bad_field(
                "n",
                format!("{n}; expected at least 1, and at most {MOST} completions of all prompts"),
            ));
        }
        let max_tokens = self
            .max_tokens
            .unwrap_or(served.language.format.max_new_tokens);
        let (longest, positions) = (
            prompts.iter().map(Vec::len).max().unwrap_or(0),
            served.config.max_position_embeddings,
        );
        if max_tokens == 0 || longest.saturating_add(max_tokens) > positions {
            let problem = format!(
                "{max_tokens} behind a prompt of {longest} tokens; expected at least 1, and together at most {positions}, \
                 the positions of the model"
            );
            return Err(bad_field("max_tokens", problem));
        }
        let end_token = match self.stop_token_ids.as_deref() {
            None | Some([]) => served.end_token,
            Some([end]) => *end,
            Some(_) => return Err(bad_field("stop_token_ids", "several tokens; expected one")),
        };
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(1.0),
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            ..Sampling::default()
        };
        sampling.check().map_err(|e| Refusal::bad(e.to_string()))?;
        Ok(Settings {
            sampling,
            n,
            max_tokens,
            end_token,
            constrained,
        })
    }

    fn choice(&self, served: &Served, completion: &Completion, end: u32) -> Value {
        let Completion {
            tokens, log_probs, ..
        } = completion;
        let ended = tokens.last() == Some(&end);
        let tokenizer = &served.language.tokenizer;
        let text = tokenizer.decode(&tokens[..tokens.len() - usize::from(ended)]);
        let mut choice = json!({
            "text": text, "logprobs": null,
            "finish_reason": if ended { "stop" } else { "length" }, "stop_reason": ended.then_some(end),
        });
        if self.logprobs.is_some() {
            let name = |token: &u32| match self.return_tokens_as_token_ids {
                true => format!("token_id:{token}"),
                false => tokenizer.decode_with_specials(&[*token]),
            };
            let names: Vec<String> = tokens.iter().map(name).collect();
            choice["logprobs"] =
                json!({ "tokens": names, "token_logprobs": log_probs, "top_logprobs": null });
        }
        if self.return_token_ids {
            choice["token_ids"] = json!(tokens);
        }
        choice
    }
}

/// Whether the model is the one that is served.
pub(super) fn check_model(asked: Option<&str>, served: &Served) -> Result<(), Refusal> {
    match asked.filter(|asked| *asked != served.name) {
        None => Ok(()),
        Some(asked) => {
            let message = format!(
                "field `model`: `{asked}` is not served here; expected `{}`",
                served.name
            );
            Err(Refusal {
                status: 404,
                message,
            })
        }
    }
}
