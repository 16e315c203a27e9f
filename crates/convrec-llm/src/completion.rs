use convrec_services::ChatRequest;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model_settings::{ChatSettings, MaxTokensField};
use crate::response::{self, Chance, Unusable};
use crate::usage::Tokens;

/// The body of a request to `chat/completions`.
pub(crate) fn body(settings: &ChatSettings, request: &ChatRequest) -> Value {
    let mut body = json!({ "model": settings.model, "messages": request.turns });
    let max_tokens = match settings.max_tokens_field {
        MaxTokensField::MaxTokens => "max_tokens",
        MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
    };
    body[max_tokens] = request.max_tokens.into();
    if let Some(temperature) = settings.temperature {
        body["temperature"] = temperature.into();
    }
    if let Some(seed) = settings.seed {
        body["seed"] = seed.into();
    }
    for (name, value) in &settings.extra_body {
        body[name] = value.clone();
    }
    body
}

/// The answer of a chat model.
#[derive(Debug, PartialEq)]
pub(crate) struct Completion {
    pub text: String,
    pub finish: Option<String>,
    pub tokens: Tokens,
}

#[derive(Deserialize)]
struct Response {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Value,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Content>,
    /// The field where OpenAI puts the text of a refusal.
    refusal: Option<String>,
    /// The reasoning of the model, which is no part of its answer. vLLM and OpenRouter call the
    /// field `reasoning`, too.
    #[serde(default, alias = "reasoning")]
    reasoning_content: Value,
}

/// The text of a message, whole or in parts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Value>),
}

impl Content {
    /// The text; parts that hold reasoning, images or calls of tools are none of it.
    fn text(self) -> String {
        let part = |part: &Value| {
            let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
            let text = part.as_str().or_else(|| part.get("text")?.as_str());
            text.filter(|_| ["text", "output_text"].contains(&kind))
                .map(str::to_string)
        };
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => parts.iter().filter_map(part).collect(),
        }
    }
}

impl Completion {
    /// Reads the body of an answer to a request of `sent` bytes. A refusal is an answer.
    pub fn read(bytes: &[u8], sent: usize) -> Result<Self, Unusable> {
        let Response { choices, usage } = response::parse(bytes)?;
        let choice = choices
            .into_iter()
            .next()
            .ok_or("no choice in the answer".to_string())?;
        let finish = choice.finish_reason.as_str().map(str::to_string);
        let message = choice.message;
        let reasoned = message.reasoning_content.as_str().is_some_and(said);
        let text = message
            .content
            .map(Content::text)
            .filter(|text| said(text))
            .or_else(|| message.refusal.filter(|text| said(text)))
            .ok_or_else(|| empty(finish.as_deref(), reasoned))?;
        let tokens = Tokens {
            input: counted(&usage, "prompt_tokens").unwrap_or_else(|| Tokens::in_text(sent)),
            output: counted(&usage, "completion_tokens")
                .unwrap_or_else(|| Tokens::in_text(text.len())),
        };
        Ok(Self {
            text,
            finish,
            tokens,
        })
    }
}

fn said(text: &str) -> bool {
    !text.trim().is_empty()
}

/// The error about a message without a text, and whether asking again may help.
fn empty(finish: Option<&str>, reasoned: bool) -> Unusable {
    let problem = match (End::of(finish), reasoned) {
        (Some(End::Cut), true) => {
            "an empty message: the tokens were used up by reasoning (`finish_reason` says that it \
             was cut)"
        }
        (Some(End::Cut), false) => {
            "an empty message that was cut at the limit of tokens (`finish_reason`)"
        }
        (Some(End::Filtered), _) => {
            "an empty message that a content filter stopped (`finish_reason`)"
        }
        (None, true) => "an empty message beside reasoning",
        (None, false) => "an empty message",
    };
    let chance = match End::of(finish) {
        Some(_) => Chance::Elsewhere,
        None => Chance::AtOnce,
    };
    Unusable {
        problem: problem.into(),
        chance,
    }
}

/// The end of an answer that is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It was cut at the limit of tokens.
    Cut,
    /// A content filter stopped it.
    Filtered,
}

impl End {
    /// Reads `finish_reason`, as OpenAI, Anthropic, Mistral and Google write it; `None` where the
    /// answer is whole or nothing is known.
    pub fn of(finish: Option<&str>) -> Option<Self> {
        const CUT: [&str; 3] = ["length", "max_tokens", "model_length"];
        const FILTERED: [&str; 5] = [
            "content_filter",
            "safety",
            "recitation",
            "prohibited_content",
            "blocklist",
        ];
        let finish = finish?.to_ascii_lowercase();
        if CUT.contains(&finish.as_str()) {
            Some(Self::Cut)
        } else {
            FILTERED
                .contains(&finish.as_str())
                .then_some(Self::Filtered)
        }
    }
}

/// A count of the field `usage`, where the server has one.
pub(crate) fn counted(usage: &Value, field: &str) -> Option<u64> {
    usage.get(field).and_then(Value::as_u64)
}

#[cfg(test)]
mod tests {
    use convrec_core::Turn;

    use super::*;

    #[test]
    fn a_body_holds_what_is_set_and_nothing_else() {
        let request = ChatRequest {
            turns: vec![Turn::user("a\u{0}b")],
            max_tokens: 7,
        };
        let mut settings = ChatSettings {
            model: "m".into(),
            ..ChatSettings::default()
        };
        let messages = json!([{ "role": "user", "content": "a\u{0}b" }]);
        assert_eq!(
            body(&settings, &request),
            json!({ "model": "m", "messages": messages, "max_tokens": 7 })
        );
        settings.temperature = Some(0.5);
        settings.seed = Some(3);
        settings.max_tokens_field = MaxTokensField::MaxCompletionTokens;
        settings.extra_body.insert("top_p".into(), 0.9.into());
        let expected = json!({
            "model": "m", "messages": messages, "max_completion_tokens": 7, "temperature": 0.5, "seed": 3, "top_p": 0.9,
        });
        assert_eq!(body(&settings, &request), expected);
    }

    #[test]
    fn answers_are_read_leniently_but_not_made_up() {
        let read = |json: Value| {
            Completion::read(&serde_json::to_vec(&json).unwrap(), 30).map_err(|e| e.problem)
        };
        let message = |message: Value| read(json!({ "choices": [{ "message": message }] }));
        // Three bytes count as a token where the server does not count.
        let tokens = Tokens {
            input: 10,
            output: 2,
        };
        let hello = Completion {
            text: "hello".into(),
            finish: None,
            tokens,
        };
        assert_eq!(message(json!({ "content": "hello" })).as_ref(), Ok(&hello));
        assert_eq!(
            message(json!({ "content": null, "refusal": "hello" })).as_ref(),
            Ok(&hello)
        );
        let parts = json!([
            { "type": "reasoning", "text": "hm" },
            { "type": "text", "text": "hel" },
            { "type": "image_url", "image_url": "x" },
            "lo",
        ]);
        assert_eq!(
            message(json!({ "content": parts, "reasoning_content": "hm" })).as_ref(),
            Ok(&hello)
        );
        for nothing in [
            json!({ "content": null }),
            json!({ "content": [] }),
            json!({ "content": " " }),
            json!({}),
        ] {
            assert_eq!(message(nothing), Err("an empty message".into()));
        }
        assert_eq!(
            read(json!({ "choices": [] })),
            Err("no choice in the answer".into())
        );
        assert_eq!(
            read(json!({ "error": "x" })),
            Err("JSON of another shape".into())
        );
        let counted = json!({
            "choices": [{ "message": { "content": "hello" }, "finish_reason": "length" }],
            "usage": { "prompt_tokens": 5, "completion_tokens": "many" },
        });
        let expected = Completion {
            finish: Some("length".into()),
            tokens: Tokens {
                input: 5,
                output: 2,
            },
            ..hello
        };
        assert_eq!(read(counted), Ok(expected));
    }

    #[test]
    fn an_empty_message_says_what_took_its_place() {
        let read = |finish: &str, reasoning: Value| {
            let message = json!({ "content": "", "reasoning_content": reasoning });
            let choice = json!({ "message": message, "finish_reason": finish });
            Completion::read(json!({ "choices": [choice] }).to_string().as_bytes(), 1).unwrap_err()
        };
        let cut = read("length", "hm".into());
        assert!(cut.problem.contains("used up by reasoning") && cut.chance == Chance::Elsewhere);
        assert!(read("length", Value::Null).problem.contains("was cut"));
        assert!(
            read("content_filter", Value::Null)
                .problem
                .contains("a content filter")
        );
        assert_eq!(
            read("stop", "hm".into()).problem,
            "an empty message beside reasoning"
        );
        assert_eq!(read("stop", Value::Null).chance, Chance::AtOnce);
    }

    #[test]
    fn answers_that_are_nearly_json_are_read() {
        let choice = |content: &str, rest: &str| {
            format!(r#"{{"choices": [{{"message": {{"content": "{content}"}}{rest}}}]}}"#)
        };
        let text = |body: String| Completion::read(body.as_bytes(), 1).unwrap().text;
        assert_eq!(text("\u{feff}".to_string() + &choice("hi", "")), "hi");
        assert_eq!(
            text(choice("hi", r#", "logprobs": NaN, "finish_reason": null"#)),
            "hi"
        );
        assert_eq!(text(choice(r"Up \ud83d (2009)", "")), "Up \u{fffd} (2009)");
        assert_eq!(
            text(choice(r"Up \ud83d\ude00 (2009)", "")),
            "Up \u{1f600} (2009)"
        );
    }
}
