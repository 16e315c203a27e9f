use convrec_services::ChatRequest;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model_settings::{ChatSettings, MaxTokensField};
use crate::response;
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

/// What a chat model answered.
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
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    /// Where OpenAI puts the text of a model that would rather not.
    refusal: Option<String>,
}

impl Completion {
    /// Reads the body of an answer to a request of `sent` bytes. A refusal is an answer.
    pub fn read(bytes: &[u8], sent: usize) -> Result<Self, String> {
        let Response { choices, usage } = response::parse(bytes)?;
        let choice = choices
            .into_iter()
            .next()
            .ok_or("no choice in the answer")?;
        let Message { content, refusal } = choice.message;
        let said = |text: &String| !text.trim().is_empty();
        let text = content
            .filter(said)
            .or_else(|| refusal.filter(said))
            .ok_or("an empty message")?;
        let tokens = Tokens {
            input: counted(&usage, "prompt_tokens").unwrap_or_else(|| Tokens::in_text(sent)),
            output: counted(&usage, "completion_tokens")
                .unwrap_or_else(|| Tokens::in_text(text.len())),
        };
        Ok(Self {
            text,
            finish: choice.finish_reason,
            tokens,
        })
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
        let read = |json: Value| Completion::read(&serde_json::to_vec(&json).unwrap(), 30);
        let message = |message: Value| read(json!({ "choices": [{ "message": message }] }));
        // Three bytes are a token where nobody counts.
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
        for nothing in [
            json!({ "content": null }),
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
}
