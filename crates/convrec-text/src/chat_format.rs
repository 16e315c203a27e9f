//! Prompts of pretrained chat models: what they are asked.

use convrec_core::{Item, Role, Turn};
use minijinja::{Environment, UndefinedBehavior, Value};
use serde::{Deserialize, Serialize};

use crate::chat::{ChatError, ChatTemplate};
use crate::list::ListFormat;
use crate::prompter::{Prompter, Prompts};
use crate::tokenizer::{TextTokenizer, TokenizerError};

/// How a conversation becomes the prompt of a chat model: one message with the conversation and
/// what is wanted, written by the model's own template. The completion is item lines, then the
/// token by which the template ends a turn.
///
/// ```
/// use convrec_core::{Item, Turn};
/// use convrec_text::{ChatFormat, ChatTemplate, TextTokenizer, TrainConfig};
///
/// // In earnest, both are loaded from the model's folder.
/// let special_tokens = vec!["<|start|>".into(), "<|end|>".into()];
/// let config = TrainConfig { vocab_size: 300, special_tokens, ..TrainConfig::default() };
/// let tokenizer = TextTokenizer::train(["I loved Heat (1995)", "Alien (1979)\n"].iter(), &config)?;
/// let template = ChatTemplate::new(
///     "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}\
///      {% if add_generation_prompt %}<|start|>assistant\n{% endif %}",
/// )?;
///
/// let format = ChatFormat {
///     system: String::new(),
///     instruction: "{{ dialog }}\nName {{ n }} films{% if seen %}, but not {{ seen | join('; ') }}{% endif %}.".into(),
///     ..ChatFormat::default()
/// };
/// let prompter = format.prompter(&tokenizer, &template, 10)?;
///
/// let prompt = prompter.prompt(&[Turn::user("I loved Heat (1995)")], &[Item::new("Heat", 1995)])?;
/// assert_eq!(
///     tokenizer.decode_with_specials(&prompt),
///     "<|start|>user\nUser: I loved Heat (1995)\nName 10 films, but not Heat (1995).<|end|>\n<|start|>assistant\n"
/// );
/// let completion = prompter.completion(&[Item::new("Alien", 1979)])?;
/// assert_eq!(tokenizer.decode_with_specials(&completion), "Alien (1979)\n<|end|>");
/// # Ok::<(), convrec_text::ChatError>(())
/// ```
///
/// What people write stays text: a special token that is spelled in a turn or a title is not one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatFormat {
    /// The system message. Where it is empty there is none, which some templates ask for, and
    /// others fill in.
    pub system: String,
    /// The user's message, in Jinja: of `dialog`, the turns, each begun by `User: ` or `Assistant:
    /// ` on a line of its own; `n`, the number of items wanted; `seen`, the names of items
    /// mentioned.
    pub instruction: String,
    /// At most about this many tokens of dialog. Older turns are left out whole; of a last turn
    /// that is longer still, the end is kept.
    pub max_dialog_tokens: usize,
    /// At most this many seen items; those mentioned first are left out.
    pub max_seen: usize,
    /// How items are written. The instruction should ask for this.
    pub list: ListFormat,
}

impl Default for ChatFormat {
    /// Asks for titles with their years, one a line; 1,024 tokens of dialog and 16 seen items.
    fn default() -> Self {
        let instruction = "Somebody who looks for a recommendation has this conversation with you:\n\n{{ dialog }}\n\n\
            What do you recommend? Answer with {{ n }} different titles that were not mentioned, the most fitting first, each \
            on a line of its own and with its year, as in `Title (Year)`. Write nothing else.\
            {% if seen %}\nAlready known: {{ seen | join('; ') }}{% endif %}";
        Self {
            system: "You recommend what people will like, from what they say.".into(),
            instruction: instruction.into(),
            max_dialog_tokens: 1024,
            max_seen: 16,
            list: ListFormat::default(),
        }
    }
}

impl ChatFormat {
    /// This format with a model's tokenizer and template, asking for `n` items.
    ///
    /// # Errors
    /// When the instruction is not Jinja, reads what there is not or leaves the dialog out; the
    /// template refuses such messages; or it ends a turn with no token of the tokenizer.
    pub fn prompter(
        &self,
        tokenizer: &TextTokenizer,
        template: &ChatTemplate,
        n: usize,
    ) -> Result<Prompter, ChatError> {
        let mut instruction = Environment::new();
        instruction.set_undefined_behavior(UndefinedBehavior::Strict);
        instruction
            .add_template_owned(INSTRUCTION, self.instruction.clone())
            .map_err(ChatError::Instruction)?;
        let prompts = ChatPrompts {
            format: self.clone(),
            template: template.clone(),
            instruction,
            n,
        };
        const PROBE: &str = "what is said here";
        if !prompts.message(PROBE, &[])?.contains(PROBE) {
            return Err(ChatError::NoDialog);
        }
        prompts.prompt(tokenizer, &[Turn::user(PROBE)], &[Item::new(PROBE, None)])?;
        Ok(Prompter::new(
            tokenizer,
            self.list,
            template.end_of_turn(tokenizer)?,
            Prompts::Chat(prompts.into()),
        ))
    }
}

const INSTRUCTION: &str = "instruction";

/// Writes the prompts of a [`ChatFormat`].
#[derive(Debug)]
pub(crate) struct ChatPrompts {
    format: ChatFormat,
    template: ChatTemplate,
    instruction: Environment<'static>,
    n: usize,
}

impl ChatPrompts {
    pub(crate) fn prompt(
        &self,
        tokenizer: &TextTokenizer,
        dialog: &[Turn],
        seen: &[Item],
    ) -> Result<Vec<u32>, ChatError> {
        let dialog = self.dialog(tokenizer, dialog)?;
        let seen = &seen[seen.len().saturating_sub(self.format.max_seen)..];
        let mut messages = vec![];
        if !self.format.system.is_empty() {
            messages.push(Turn {
                role: Role::System,
                content: self.format.system.clone(),
            });
        }
        messages.push(Turn::user(self.message(&dialog, seen)?));
        self.template.encode(tokenizer, &messages, true)
    }

    fn message(&self, dialog: &str, seen: &[Item]) -> Result<String, ChatError> {
        let seen: Vec<String> = seen.iter().map(Item::to_string).collect();
        let values = [
            ("dialog", Value::from(dialog)),
            ("n", self.n.into()),
            ("seen", seen.into()),
        ];
        let render = || {
            self.instruction
                .get_template(INSTRUCTION)?
                .render(Value::from_pairs(values))
        };
        render().map_err(ChatError::Instruction)
    }

    /// The latest turns that fit. Those of [`Role::System`] are left out: the instruction has their
    /// place.
    fn dialog(&self, tokenizer: &TextTokenizer, turns: &[Turn]) -> Result<String, TokenizerError> {
        let mut left = self.format.max_dialog_tokens;
        let mut lines = vec![];
        for turn in turns.iter().rev() {
            let speaker = match turn.role {
                Role::System => continue,
                Role::User => "User",
                Role::Assistant => "Assistant",
            };
            let line = format!("{speaker}: {}", turn.content);
            let ids = tokenizer.encode(&line)?;
            if ids.len() <= left {
                left -= ids.len();
                lines.push(line);
                continue;
            }
            if lines.is_empty() && left > 0 {
                lines.push(format!(
                    "{speaker}: {}",
                    end_of(&turn.content, tokenizer, &ids[ids.len() - left..])
                ));
            }
            break;
        }
        lines.reverse();
        Ok(lines.join("\n"))
    }
}

/// The end of `text` that its last tokens stand for, whole characters only.
fn end_of<'a>(text: &'a str, tokenizer: &TextTokenizer, last: &[u32]) -> &'a str {
    let bytes: usize = last.iter().map(|&id| tokenizer.token_bytes(id).len()).sum();
    &text[text.ceil_char_boundary(text.len().saturating_sub(bytes))..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TrainConfig;

    #[test]
    fn only_whole_characters_are_kept() {
        let tokenizer = TextTokenizer::train(
            ["a"].iter(),
            &TrainConfig {
                vocab_size: 263,
                ..Default::default()
            },
        )
        .unwrap();
        let text = "aé日";
        let ids = tokenizer.encode(text).unwrap();
        let ends: Vec<&str> = (0..=6)
            .map(|count| end_of(text, &tokenizer, &ids[6 - count..]))
            .collect();
        assert_eq!(ends, ["", "", "", "日", "日", "é日", text]);
    }
}
