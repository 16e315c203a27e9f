use serde::Deserialize;
use serde_json::Value;

use crate::completion::counted;
use crate::response::{self, Chance, Unusable};
use crate::usage::Tokens;

/// One sampled completion of T tokens, at least 1.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledCompletion {
    /// The tokens, with the end token where the completion ended.
    pub tokens: Vec<u32>,
    /// The log-probability of each token under the distribution that the server reports, in nats. T
    /// numbers.
    pub log_probs: Vec<f32>,
    /// Whether the end token was drawn. Otherwise the completion was cut, or another token ended
    /// it.
    pub ended: bool,
}

#[derive(Deserialize)]
struct Response {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<usize>,
    token_ids: Option<Vec<u32>>,
    prompt_token_ids: Option<Vec<u32>>,
    logprobs: Option<LogProbs>,
    /// The token or text that ended it, under vLLM's name or SGLang's.
    #[serde(alias = "matched_stop")]
    stop_reason: Option<Value>,
}

impl Choice {
    /// Whether token ids are those of `logprobs.content` alone.
    fn is_content(&self) -> bool {
        let logprobs = self.logprobs.as_ref();
        self.token_ids.is_none() && logprobs.is_some_and(|logprobs| logprobs.content.is_some())
    }
}

/// Refuses completions of `logprobs.content` that lack tokens, or may.
fn check_whole(completions: &[SampledCompletion], counted: Option<u64>) -> Result<(), Unusable> {
    let problem = match (completions, counted) {
        ([one], Some(counted)) if one.tokens.len() as u64 == counted => return Ok(()),
        ([one], Some(counted)) => format!(
            "field `logprobs.content`: {} tokens of {counted}, as `usage` says; expected all: \
             llama.cpp leaves out those that end inside of a character, so it cannot sample such \
             completions for training",
            one.tokens.len()
        ),
        ([_], None) => "field `usage.completion_tokens`: missing; expected the number of tokens, \
                        by which those of `logprobs.content` are checked"
            .into(),
        _ => "field `logprobs.content` of several completions: their tokens cannot be counted; \
              expected `completions.separate = true` for llama.cpp's server"
            .into(),
    };
    Err(Unusable {
        problem,
        chance: Chance::Never,
    })
}

#[derive(Deserialize)]
struct LogProbs {
    token_logprobs: Option<Vec<Option<f32>>>,
    tokens: Option<Vec<String>>,
    /// As llama.cpp's server sends them. A token that ends inside of a character is left out; the
    /// usage counts it.
    content: Option<Vec<Content>>,
}

#[derive(Deserialize)]
struct Content {
    id: Option<u32>,
    logprob: Option<f32>,
}

impl LogProbs {
    /// The token ids and their log-probabilities, as far as they are there.
    fn read(self) -> (Option<Vec<u32>>, Option<Vec<f32>>) {
        if let Some(content) = self.content {
            let ids = content.iter().map(|token| token.id).collect();
            return (ids, content.iter().map(|token| token.logprob).collect());
        }
        let id = |name: &String| name.strip_prefix("token_id:")?.parse().ok();
        let ids = self.tokens.and_then(|names| names.iter().map(id).collect());
        let log_probs = self
            .token_logprobs
            .and_then(|log_probs| log_probs.into_iter().collect());
        (ids, log_probs)
    }
}

/// The part of the request that the answer must fit.
pub(crate) struct Asked<'a> {
    pub prompt: &'a [u32],
    pub n: usize,
    pub end_token: u32,
}

impl Asked<'_> {
    /// Reads the n completions, in the order of their `index`, and their tokens.
    pub fn read(&self, bytes: &[u8]) -> Result<(Vec<SampledCompletion>, Tokens), Unusable> {
        let Response { choices, usage } = response::parse(bytes)?;
        if choices.len() != self.n {
            return Err(format!(
                "field `choices`: {} entries; expected {}, as `n` says",
                choices.len(),
                self.n
            )
            .into());
        }
        let is_content = choices.iter().any(Choice::is_content);
        let mut completions: Vec<Option<SampledCompletion>> = vec![None; self.n];
        for (place, choice) in choices.into_iter().enumerate() {
            let index = choice.index.unwrap_or(place);
            let slot = completions.get_mut(index).filter(|slot| slot.is_none());
            let slot = slot.ok_or(format!(
                "field `choices[{place}].index`: {index}, twice or not below {}",
                self.n
            ))?;
            *slot = Some(self.completion(choice, place)?);
        }
        let completions: Vec<SampledCompletion> = completions.into_iter().flatten().collect();
        if is_content {
            check_whole(&completions, counted(&usage, "completion_tokens"))?;
        }
        let received = completions
            .iter()
            .map(|completion| completion.tokens.len() as u64)
            .sum();
        let tokens = Tokens {
            input: counted(&usage, "prompt_tokens").unwrap_or(self.prompt.len() as u64),
            output: counted(&usage, "completion_tokens").unwrap_or(received),
        };
        Ok((completions, tokens))
    }

    fn completion(&self, choice: Choice, place: usize) -> Result<SampledCompletion, Unusable> {
        let Choice {
            token_ids,
            prompt_token_ids,
            logprobs,
            stop_reason,
            ..
        } = choice;
        // The text has no place in it, so that equal faults have equal texts.
        let lasting = |problem: &str| Unusable {
            problem: problem.into(),
            chance: Chance::Never,
        };
        if prompt_token_ids.is_some_and(|prompt| prompt != self.prompt) {
            return Err(lasting(
                "field `prompt_token_ids`: other tokens than were sent; expected a server that \
                 changes no prompt",
            ));
        }
        let (named, log_probs) = logprobs.map_or((None, None), LogProbs::read);
        let tokens: Vec<u32> = token_ids.or(named).ok_or_else(|| {
            lasting(
                "fields `token_ids`, `logprobs.tokens` and `logprobs.content`: no token ids; \
                 expected a server that knows `return_token_ids` or \
                 `return_tokens_as_token_ids`, as vLLM and SGLang in recent versions, or \
                 llama.cpp's",
            )
        })?;
        let log_probs = log_probs.ok_or_else(|| {
            lasting(
                "field `logprobs.token_logprobs`: missing or null; expected a number for each \
                 token",
            )
        })?;
        let (n, found) = (tokens.len(), log_probs.len());
        if n == 0 || n != found {
            let problem = format!(
                "field `choices[{place}].logprobs.token_logprobs`: {found} numbers for {n} tokens; \
                 expected one each"
            );
            return Err(problem.into());
        }
        let ended = tokens.last() == Some(&self.end_token);
        if !ended && stop_reason.and_then(|reason| reason.as_u64()) == Some(self.end_token.into()) {
            return Err(lasting(
                "field `token_ids`: without the end token that ended it; expected a server that \
                 keeps it",
            ));
        }
        Ok(SampledCompletion {
            tokens,
            log_probs,
            ended,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ASKED: Asked<'_> = Asked {
        prompt: &[1, 2],
        n: 2,
        end_token: 9,
    };

    fn read(choices: Value) -> Result<(Vec<SampledCompletion>, Tokens), (String, bool)> {
        let read = ASKED.read(&serde_json::to_vec(&json!({ "choices": choices })).unwrap());
        read.map_err(|Unusable { problem, chance }| (problem, chance == Chance::Never))
    }

    #[test]
    fn both_ways_to_send_token_ids_are_read() {
        let new = json!({
            "index": 1, "token_ids": [5, 9], "prompt_token_ids": [1, 2], "stop_reason": 9,
            "logprobs": { "token_logprobs": [-0.5, -0.25], "tokens": [" film", ""] },
        });
        let old = json!({ "index": 0, "logprobs": { "token_logprobs": [-1, 0], "tokens": ["token_id:7", "token_id:8"] } });
        let (found, tokens) = read(json!([new, old])).unwrap();
        let expected = [
            SampledCompletion {
                tokens: vec![7, 8],
                log_probs: vec![-1.0, 0.0],
                ended: false,
            },
            SampledCompletion {
                tokens: vec![5, 9],
                log_probs: vec![-0.5, -0.25],
                ended: true,
            },
        ];
        assert_eq!(
            (found.as_slice(), tokens),
            (
                &expected[..],
                Tokens {
                    input: 2,
                    output: 4
                }
            )
        );
    }

    /// What llama.cpp's server (release b10434) answered, shortened.
    #[test]
    fn tokens_of_llama_cpp_are_read_where_none_is_left_out() {
        let one = Asked { n: 1, ..ASKED };
        let answer = |content: &Value, counted: Value| {
            let choice = json!({ "text": "", "index": 0, "finish_reason": "stop",
                "logprobs": { "content": content } });
            let usage = json!({ "completion_tokens": counted, "prompt_tokens": 2 });
            serde_json::to_vec(&json!({ "choices": [choice], "usage": usage })).unwrap()
        };
        let content = json!([
            { "id": 28, "token": ",", "bytes": [44], "logprob": -1.5,
              "top_logprobs": [{ "id": 284, "token": " and", "logprob": -1.0 }] },
            { "id": 9, "token": "", "bytes": [], "logprob": -0.5 },
        ]);
        let (found, tokens) = one.read(&answer(&content, json!(2))).unwrap();
        assert_eq!(
            (&found[0].tokens, &found[0].log_probs, tokens.output),
            (&vec![28, 9], &vec![-1.5, -0.5], 2)
        );
        assert!(found[0].ended);
        for (content, counted, part) in [
            (&content, json!(3), "2 tokens of 3"),
            (&content, json!(null), "`usage.completion_tokens`: missing"),
            (
                &json!([{ "token": ",", "logprob": -1.5 }]),
                json!(1),
                "no token ids",
            ),
            (
                &json!([{ "id": 28, "prob": 0.5 }]),
                json!(1),
                "missing or null",
            ),
            (&json!([]), json!(0), "0 numbers for 0 tokens"),
        ] {
            let problem = one.read(&answer(content, counted)).unwrap_err().problem;
            assert!(problem.contains(part), "{problem}");
        }
        // The usage is that of one completion.
        let choice = json!({ "logprobs": { "content": content } });
        let (problem, lasting) = read(json!([choice, choice])).unwrap_err();
        assert!(
            problem.contains("`completions.separate = true`") && lasting,
            "{problem}"
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let choice = |change: Value| {
            let mut choice = json!({ "token_ids": [5], "logprobs": { "token_logprobs": [-0.5] } });
            choice
                .as_object_mut()
                .unwrap()
                .extend(change.as_object().unwrap().clone());
            json!([choice, { "token_ids": [5], "logprobs": { "token_logprobs": [-0.5] } }])
        };
        assert!(read(choice(json!({}))).is_ok());
        for (choices, part, lasting) in [
            (json!([]), "field `choices`: 0 entries; expected 2", false),
            (
                choice(json!({ "index": 1 })),
                "`choices[1].index`: 1, twice",
                false,
            ),
            (
                choice(json!({ "index": 2 })),
                "`choices[0].index`: 2, twice or not below 2",
                false,
            ),
            (
                choice(json!({ "token_ids": null })),
                "fields `token_ids`, `logprobs.tokens` and `logprobs.content`: no token ids",
                true,
            ),
            (
                choice(json!({ "token_ids": [] })),
                "1 numbers for 0 tokens",
                false,
            ),
            (
                choice(json!({ "token_ids": [5, 6] })),
                "`choices[0].logprobs.token_logprobs`: 1 numbers for 2",
                false,
            ),
            (
                choice(json!({ "logprobs": null })),
                "`logprobs.token_logprobs`: missing",
                true,
            ),
            (
                choice(json!({ "logprobs": { "token_logprobs": [null] } })),
                "`logprobs.token_logprobs`: missing",
                true,
            ),
            (
                choice(json!({ "prompt_token_ids": [0, 1, 2] })),
                "`prompt_token_ids`: other tokens",
                true,
            ),
            (
                choice(json!({ "matched_stop": 9 })),
                "without the end token",
                true,
            ),
            (
                json!([{ "token_ids": "5" }]),
                "JSON of another shape",
                false,
            ),
        ] {
            let (problem, found) = read(choices).unwrap_err();
            assert!(problem.contains(part) && found == lasting, "{problem}");
        }
        // Another stop token does not end a list of ours, and neither does a stop text.
        let (found, _) = read(choice(json!({ "stop_reason": "\n" }))).unwrap();
        assert!(!found[0].ended);
    }
}
