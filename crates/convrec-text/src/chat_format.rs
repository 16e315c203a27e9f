//! The instructions in prompts of pretrained chat models.

use std::collections::BTreeMap;

use convrec_core::{Item, Role, Turn};
use minijinja::{Environment, UndefinedBehavior, Value};
use serde::{Deserialize, Serialize};

use crate::chat::{ChatError, ChatTemplate, OWN_VARIABLES};
use crate::list::ListFormat;
use crate::prompter::{ItemTokens, Prompter, WritePrompt};
use crate::tokenizer::{TextTokenizer, TokenizerError};

/// The settings by which a conversation becomes the prompt of a chat model. The prompt is one
/// message with the conversation and the instruction, written by the model's own template. The
/// completion is item lines, then the token by which the template ends a turn.
///
/// ```
/// use convrec_core::{Item, Turn};
/// use convrec_text::{ChatFormat, ChatTemplate, TextTokenizer, TrainConfig};
///
/// // Usually, both are loaded from the model's folder.
/// let special_tokens = vec!["<|start|>".into(), "<|end|>".into()];
/// let config = TrainConfig { vocab_size: 300, special_tokens, ..TrainConfig::default() };
/// let corpus = ["I loved Heat (1995)", "Alien (1979)\n"];
/// let tokenizer = TextTokenizer::train(corpus.iter(), &config)?;
/// let template = ChatTemplate::new(
///     "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}\
///      {% if add_generation_prompt %}<|start|>assistant\n{% endif %}",
/// )?;
///
/// let format = ChatFormat {
///     system: String::new(),
///     instruction: "{{ dialog }}\nName {{ n }} films, but not {{ seen | join('; ') }}.".into(),
///     ..ChatFormat::default()
/// };
/// let prompter = format.prompter(&tokenizer, &template, 10)?;
///
/// let heat = Item::new("Heat", 1995);
/// let prompt = prompter.prompt(&[Turn::user("I loved Heat (1995)")], &[heat])?;
/// assert_eq!(
///     tokenizer.decode_with_specials(&prompt),
///     "<|start|>user\nUser: I loved Heat (1995)\nName 10 films, but not Heat (1995).<|end|>\n\
///      <|start|>assistant\n"
/// );
/// let completion = prompter.completion(&[Item::new("Alien", 1979)])?;
/// assert_eq!(tokenizer.decode_with_specials(&completion), "Alien (1979)\n<|end|>");
/// # Ok::<(), convrec_text::ChatError>(())
/// ```
///
/// The text of turns stays text: a special token that is spelled in a turn or a title is not one.
///
/// A data set may hold whole prompts, as the paper's own data sets do. [`ChatFormat::verbatim`]
/// gives their turns to the template as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatFormat {
    /// The system message; empty for none. Some templates fill in their own where there is none.
    ///
    /// Where the template refuses a system message or leaves it out, the message stands in front of
    /// the first user's turn instead, with an empty line between.
    pub system: String,
    /// The user's message, in Jinja. It may use three variables. `dialog` is the turns, each begun
    /// by `User: ` or `Assistant: ` on a line of its own. `n` is the number of items, and `seen`
    /// the names of items mentioned.
    ///
    /// Where it is empty, the turns of the conversation are the messages, and nothing is added.
    pub instruction: String,
    /// The prompt holds at most about this many tokens of dialog. Older turns are left out whole.
    /// Of a last turn that is longer still, the end is kept.
    pub max_dialog_tokens: usize,
    /// The prompt names at most this many seen items. Those mentioned first are left out.
    pub max_seen: usize,
    /// The form of items. The instruction should ask for it.
    pub list: ListFormat,
    /// More variables of the template, such as `enable_thinking = false` (Qwen3).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub chat_template_kwargs: BTreeMap<String, serde_json::Value>,
    /// The day that templates take for today, as `2026-11-30`. Without one it is 26 July 2024, so
    /// that prompts are the same every day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
}

impl Default for ChatFormat {
    /// Asks for titles with their years, one a line; 1,024 tokens of dialog and 16 seen items.
    fn default() -> Self {
        let instruction = "Somebody who looks for a recommendation has this conversation with \
            you:\n\n{{ dialog }}\n\nWhat do you recommend? Answer with {{ n }} different titles \
            that were not mentioned, the most fitting first, each on a line of its own and with \
            its year, as in `Title (Year)`. Write nothing else.\
            {% if seen %}\nAlready known: {{ seen | join('; ') }}{% endif %}";
        Self {
            system: "You recommend what people will like, from what they say.".into(),
            instruction: instruction.into(),
            max_dialog_tokens: 1024,
            max_seen: 16,
            list: ListFormat::default(),
            chat_template_kwargs: BTreeMap::new(),
            date: None,
        }
    }
}

impl ChatFormat {
    /// The format of data whose conversations are whole prompts. The turns are the messages, and
    /// nothing is added. A prompt holds at most 2,048 tokens of them, as in the paper.
    ///
    /// With this, the authors' data gives the authors' prompts:
    ///
    /// ```
    /// use convrec_core::Turn;
    /// use convrec_text::{ChatFormat, ChatTemplate, TextTokenizer, TrainConfig};
    ///
    /// let tokenizer = TextTokenizer::train(["USER: hi\n"].iter(), &TrainConfig::default())?;
    /// let source = "{% for m in messages %}{{ m.content }}<eos>{% endfor %}";
    /// let template = ChatTemplate::new(source)?;
    /// let prompter = ChatFormat::verbatim().prompter(&tokenizer, &template, 20)?;
    ///
    /// let asked = "Pretend you are a movie recommender system.\nUSER: Like Heat?\n";
    /// let prompt = prompter.prompt(&[Turn::user(asked)], &[])?;
    /// assert_eq!(tokenizer.decode(&prompt), asked);
    /// # Ok::<(), convrec_text::ChatError>(())
    /// ```
    #[must_use]
    pub fn verbatim() -> Self {
        Self {
            system: String::new(),
            instruction: String::new(),
            max_dialog_tokens: 2048,
            max_seen: 0,
            ..Self::default()
        }
    }

    /// This format with a model's tokenizer and template, asking for `n` items.
    ///
    /// # Errors
    /// - [`ChatError::Instruction`] when the instruction is not Jinja or reads an unknown variable
    /// - [`ChatError::NoDialog`] when it leaves the dialog out
    /// - [`ChatError::Setting`] when another field is wrong
    /// - [`ChatError::NoEndOfTurn`] when the template ends a turn with no token of the tokenizer
    /// - the errors of [`Prompter::prompt`] when the template does not write such messages
    pub fn prompter(
        &self,
        tokenizer: &TextTokenizer,
        template: &ChatTemplate,
        n: usize,
    ) -> Result<Prompter, ChatError> {
        const PROBE: &str = "what is said here";
        let mut instruction = Environment::new();
        instruction.set_undefined_behavior(UndefinedBehavior::Strict);
        instruction.set_fuel(Some(INSTRUCTION_FUEL));
        instruction
            .add_template_owned(INSTRUCTION, self.instruction.clone())
            .map_err(ChatError::Instruction)?;
        let mut prompts = ChatPrompts {
            format: self.clone(),
            template: self.set(template.clone())?,
            instruction,
            n,
            folds_system: false,
        };
        if !prompts.is_verbatim() && !prompts.message(PROBE, &[])?.contains(PROBE) {
            return Err(ChatError::NoDialog);
        }
        let items = ItemTokens::of_text(tokenizer, self.list);
        let probe = || prompts.prompt(&items, &[Turn::user(PROBE)], &[Item::new(PROBE, None)]);
        match probe() {
            Err(
                ChatError::Refused { .. }
                | ChatError::TurnMissing {
                    role: Role::System, ..
                },
            ) if !self.system.is_empty() => {
                prompts.folds_system = true;
                prompts.prompt(&items, &[Turn::user(PROBE)], &[Item::new(PROBE, None)])?;
            }
            probed => {
                probed?;
            }
        }
        let end = prompts.template.end_of_turn(tokenizer)?;
        Ok(Prompter::new(tokenizer, self.list, end, prompts))
    }

    /// The template with the variables and the date of this format.
    fn set(&self, mut template: ChatTemplate) -> Result<ChatTemplate, ChatError> {
        for (name, value) in &self.chat_template_kwargs {
            if OWN_VARIABLES.contains(&name.as_str()) {
                return Err(ChatError::Setting {
                    field: "chat_template_kwargs",
                    problem: format!("`{name}` is set for each prompt; expected other variables"),
                });
            }
            template = template.with_variable(name, value.clone());
        }
        match &self.date {
            Some(date) => template.with_date(date),
            None => Ok(template),
        }
    }
}

const INSTRUCTION: &str = "instruction";
/// The largest number of steps of writing an instruction. Long strings take a step for each byte.
const INSTRUCTION_FUEL: u64 = 20_000_000;

/// Writes the prompts of a [`ChatFormat`].
#[derive(Debug)]
struct ChatPrompts {
    format: ChatFormat,
    template: ChatTemplate,
    instruction: Environment<'static>,
    n: usize,
    /// Whether the system message stands in front of the first user's turn.
    folds_system: bool,
}

impl WritePrompt for ChatPrompts {
    fn prompt(
        &self,
        items: &ItemTokens,
        dialog: &[Turn],
        seen: &[Item],
    ) -> Result<Vec<u32>, ChatError> {
        let tokenizer = &items.tokenizer;
        let mut messages = if self.is_verbatim() {
            self.latest(tokenizer, dialog, |turn| Some(turn.content.clone()))?
        } else {
            let lines = self.latest(tokenizer, dialog, line)?;
            let lines: Vec<String> = lines.into_iter().map(|turn| turn.content).collect();
            let seen = &seen[seen.len().saturating_sub(self.format.max_seen)..];
            vec![Turn::user(self.message(&lines.join("\n"), seen)?)]
        };
        self.add_system(&mut messages);
        self.template.encode(tokenizer, &messages, true)
    }
}

impl ChatPrompts {
    /// Whether the turns of the conversation are the messages.
    fn is_verbatim(&self) -> bool {
        self.format.instruction.is_empty()
    }

    fn add_system(&self, messages: &mut Vec<Turn>) {
        let system = &self.format.system;
        if system.is_empty() {
            return;
        }
        let user = messages.iter_mut().find(|turn| turn.role == Role::User);
        match user {
            Some(user) if self.folds_system => {
                user.content = format!("{system}\n\n{}", user.content);
            }
            _ => messages.insert(
                0,
                Turn {
                    role: Role::System,
                    content: system.clone(),
                },
            ),
        }
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

    /// The latest turns that fit, each with the text that `text` gives it. Those without one are
    /// left out.
    fn latest(
        &self,
        tokenizer: &TextTokenizer,
        turns: &[Turn],
        text: impl Fn(&Turn) -> Option<String>,
    ) -> Result<Vec<Turn>, TokenizerError> {
        let mut left = self.format.max_dialog_tokens;
        let mut kept: Vec<Turn> = vec![];
        for turn in turns.iter().rev() {
            let Some(whole) = text(turn) else { continue };
            let ids = tokenizer.encode(&whole)?;
            let fits = ids.len() <= left;
            if fits {
                left -= ids.len();
            } else if left == 0 || !kept.is_empty() {
                break;
            }
            let content = match fits {
                true => whole,
                false => {
                    let end = end_of(&turn.content, tokenizer, &ids[ids.len() - left..]);
                    let end = Turn {
                        role: turn.role,
                        content: end.into(),
                    };
                    text(&end).unwrap_or_default()
                }
            };
            kept.push(Turn {
                role: turn.role,
                content,
            });
            if !fits {
                break;
            }
        }
        kept.reverse();
        Ok(kept)
    }
}

/// The line of a turn in an instruction. Turns of [`Role::System`] have none: the instruction takes
/// their place.
fn line(turn: &Turn) -> Option<String> {
    let speaker = match turn.role {
        Role::System => return None,
        Role::User => "User",
        Role::Assistant => "Assistant",
    };
    Some(format!("{speaker}: {}", turn.content))
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
