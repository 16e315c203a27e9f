//! `task.json`: the form of a model's prompts and lists.

use convrec_text::{ChatFormat, ListFormat, PromptFormat};
use serde::{Deserialize, Serialize};

use crate::evaluate::Decoding;

/// Lists that are decoded side by side. It bounds memory and changes no result.
const ROWS: usize = 96;
/// The longest list that a model may be asked for.
const MOST_RANKS: usize = 1000;
/// The largest number of tokens in any other field.
const MOST_TOKENS: usize = 1 << 20;

/// The form of prompts and lists: the content of `task.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskFormat {
    /// The form of the prompt and the list.
    #[serde(flatten)]
    pub prompts: Prompts,
    /// N, the number of items in a list; 1 to 1000.
    pub n_ranks: usize,
    /// The number of tokens after which a list is cut; 1 to 2^20.
    pub max_new_tokens: usize,
}

/// The two kinds of prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Prompts {
    /// Special tokens mark the parts: for a small policy that is trained from nothing.
    #[serde(rename = "prompt")]
    Marked(PromptFormat),
    /// The model's chat template writes the turns: for a pretrained chat model.
    #[serde(rename = "chat")]
    Chat(ChatFormat),
}

impl TaskFormat {
    /// The format of a chat model without a `task.json`: 20 items, at most 1024 tokens.
    #[must_use]
    pub fn chat() -> Self {
        Self {
            prompts: Prompts::Chat(ChatFormat::default()),
            n_ranks: 20,
            max_new_tokens: 1024,
        }
    }

    /// Greedy decoding of lists in this format, as in the evaluation of a policy.
    #[must_use]
    pub fn greedy(&self) -> Decoding {
        Decoding::greedy(self.max_new_tokens, ROWS)
    }

    /// The form of items.
    pub fn list(&mut self) -> &mut ListFormat {
        match &mut self.prompts {
            Prompts::Marked(format) => &mut format.list,
            Prompts::Chat(format) => &mut format.list,
        }
    }

    /// Whether the prompts are those of a chat model.
    #[must_use]
    pub fn is_chat(&self) -> bool {
        matches!(self.prompts, Prompts::Chat(_))
    }

    /// Reads the text of a `task.json`. The error names the fault.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        const FIELDS: [&str; 4] = ["prompt", "chat", "n_ranks", "max_new_tokens"];
        let text = text.trim_start_matches('\u{feff}');
        let value: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let map = value.as_object().ok_or("expected a JSON object")?;
        if let Some(field) = map.keys().find(|field| !FIELDS.contains(&field.as_str())) {
            let known = FIELDS.join(", ");
            return Err(format!("unknown field `{field}`, expected some of {known}"));
        }
        if map.contains_key("prompt") == map.contains_key("chat") {
            let expected =
                "expected one of the fields `prompt` (small policies) and `chat` (chat models)";
            return Err(expected.into());
        }
        let read: Result<Self, _> = serde_path_to_error::deserialize(value);
        let format = read.map_err(|e| match e.path().to_string().as_str() {
            "." => e.inner().to_string(),
            field => format!("field `{field}`: {}", e.inner()),
        })?;
        format.check()?;
        Ok(format)
    }

    /// Checks the sizes, as nothing may allocate without bound.
    fn check(&self) -> Result<(), String> {
        let (dialog, seen) = match &self.prompts {
            Prompts::Marked(format) => (format.max_dialog_tokens, format.max_seen),
            Prompts::Chat(format) => (format.max_dialog_tokens, format.max_seen),
        };
        let rules = [
            ("n_ranks", self.n_ranks, 1, MOST_RANKS),
            ("max_new_tokens", self.max_new_tokens, 1, MOST_TOKENS),
            ("max_dialog_tokens", dialog, 0, MOST_TOKENS),
            ("max_seen", seen, 0, MOST_TOKENS),
        ];
        let wrong = rules
            .iter()
            .find(|(_, n, least, most)| !(least..=most).contains(&n));
        wrong.map_or(Ok(()), |(field, found, least, most)| {
            Err(format!(
                "field `{field}`: found {found}, expected {least} to {most}"
            ))
        })
    }
}
