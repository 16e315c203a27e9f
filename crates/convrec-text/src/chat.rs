//! Prompts of pretrained chat models, by the template that comes with the model.

mod environment;
mod error;
mod folder;
mod json;
mod methods;
mod operators;
mod source;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::OnceLock;

use chrono::NaiveDate;
use convrec_core::{Role, Turn};
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value};

use self::environment::{FUEL, NAME, Raised, environment, set_date};
pub use self::error::ChatError;
use crate::reasoning::strip_reasoning;
use crate::tokenizer::{TextTokenizer, TokenizerError};

/// The largest size of a rendered conversation, in bytes.
const MAX_BYTES: usize = 4 << 20;
/// Variables that rendering sets itself.
pub(crate) const OWN_VARIABLES: [&str; 4] =
    ["messages", "tools", "documents", "add_generation_prompt"];

/// A chat template: Jinja, in the dialect of the `transformers` library, without tools.
///
/// ```
/// use convrec_core::Turn;
/// use convrec_text::ChatTemplate;
///
/// let source = "{% for m in messages %}<|{{ m.role }}|>{{ m['content'].strip() }}\n{% endfor %}\
///               {% if add_generation_prompt %}<|assistant|>{% endif %}";
/// let template = ChatTemplate::new(source)?;
/// let text = template.render(&[Turn::user(" Films like Heat? ")], true)?;
/// assert_eq!(text, "<|user|>Films like Heat?\n<|assistant|>");
/// # Ok::<(), convrec_text::ChatError>(())
/// ```
///
/// As in `transformers`, `tools` and `documents` are none, `{% generation %}` is transparent, and
/// `tojson`, `raise_exception` and `strftime_now` are there. Some templates want the content of a
/// turn as a list of parts. This is found out by rendering a turn both ways.
///
/// `strftime_now` never reads the clock, which would make every day's run a different one. It
/// formats 26 July 2024, or the day that [`with_date`](Self::with_date) sets.
///
/// A template is a program from a stranger. It reads no files, and runs with a bounded number of
/// steps, which also pay for its texts and lists: about 64 bytes for a step.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    variables: BTreeMap<String, serde_json::Value>,
    /// The form of turns that the template reads, found out when it is first needed.
    content: OnceLock<Content>,
}

/// The form in which the content of turns is given to a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// As strings.
    Text,
    /// As lists of parts, `[{"type": "text", "text": ...}]`.
    Parts,
    /// As lists of parts, but for system turns.
    PartsAfterSystem,
}

impl ChatTemplate {
    /// A template from its source.
    ///
    /// # Errors
    /// [`ChatError::Template`] when the source is not Jinja.
    pub fn new(source: impl AsRef<str>) -> Result<Self, ChatError> {
        Ok(Self {
            environment: environment(source.as_ref())?,
            variables: BTreeMap::new(),
            content: OnceLock::new(),
        })
    }

    /// Sets a variable that the template reads, such as `bos_token` or `enable_thinking`.
    #[must_use]
    pub fn with_variable(
        mut self,
        name: impl Into<String>,
        value: impl Into<serde_json::Value>,
    ) -> Self {
        self.variables.insert(name.into(), value.into());
        self.content = OnceLock::new();
        self
    }

    /// Sets the day that `strftime_now` formats, as `2026-11-30`.
    ///
    /// # Errors
    /// [`ChatError::Setting`] when `date` is no such day.
    pub fn with_date(mut self, date: &str) -> Result<Self, ChatError> {
        let day = NaiveDate::parse_from_str(date, "%Y-%m-%d").map_err(|_| ChatError::Setting {
            field: "date",
            problem: format!("{date:?}; expected a day such as 2026-11-30"),
        })?;
        set_date(&mut self.environment, day);
        Ok(self)
    }

    /// The text of a conversation; with `add_generation_prompt`, up to where the assistant's answer
    /// begins.
    ///
    /// # Errors
    /// [`ChatError::Refused`] when the template refuses the conversation, as some do where the
    /// roles do not alternate. [`ChatError::TurnMissing`] when the text lacks the content of a
    /// turn. [`ChatError::TooMuch`] when the template takes too long or writes too much, and
    /// [`ChatError::Template`] when it fails.
    pub fn render(&self, turns: &[Turn], add_generation_prompt: bool) -> Result<String, ChatError> {
        let content = *self.content.get_or_init(|| self.find_content());
        let text = self.fill(turns, add_generation_prompt, content)?;
        match turns.iter().find(|turn| !holds(&text, turn)) {
            None => Ok(text),
            Some(turn) => Err(ChatError::TurnMissing {
                role: turn.role,
                text: turn.content.trim().chars().take(60).collect(),
            }),
        }
    }

    /// The first way of giving a turn that the template writes. Strings are tried first.
    fn find_content(&self) -> Content {
        const PROBE: &str = "what is said here";
        const SYSTEM: &str = "what is asked for";
        let user = Turn::user(PROBE);
        let writes = |turns: &[Turn], content, probe| {
            self.fill(turns, true, content)
                .is_ok_and(|text| text.contains(probe))
        };
        if !writes(std::slice::from_ref(&user), Content::Parts, PROBE)
            || writes(std::slice::from_ref(&user), Content::Text, PROBE)
        {
            return Content::Text;
        }
        let system = Turn {
            role: Role::System,
            content: SYSTEM.into(),
        };
        let both = [system, user];
        if !writes(&both, Content::Parts, SYSTEM)
            && writes(&both, Content::PartsAfterSystem, SYSTEM)
        {
            return Content::PartsAfterSystem;
        }
        Content::Parts
    }

    /// The output of the template, unchecked.
    fn fill(
        &self,
        turns: &[Turn],
        add_generation_prompt: bool,
        content: Content,
    ) -> Result<String, ChatError> {
        let message = |turn: &Turn| {
            let text = Value::from(&*turn.content);
            let is_text = match content {
                Content::Text => true,
                Content::Parts => false,
                Content::PartsAfterSystem => turn.role == Role::System,
            };
            let content = if is_text {
                text
            } else {
                let part = Value::from_pairs([("type", Value::from("text")), ("text", text)]);
                Value::from(vec![part])
            };
            Value::from_pairs([
                ("role", Value::from(turn.role.as_str())),
                ("content", content),
            ])
        };
        let variables = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), Value::from(Serde(value))));
        let own = OWN_VARIABLES.into_iter().zip([
            turns.iter().map(message).collect::<Value>(),
            Value::from(()),
            Value::from(()),
            add_generation_prompt.into(),
        ]);
        let template = self.environment.get_template(NAME)?;
        let variables = Value::from_pairs(variables.chain(own));
        let text = on_large_stack(|| template.render(variables)).map_err(|e| failed(e, turns))?;
        if text.len() > MAX_BYTES {
            let problem = format!("writes {} bytes, more than {MAX_BYTES}", text.len());
            return Err(ChatError::TooMuch { problem });
        }
        Ok(text)
    }

    /// The token that ends the assistant's turn: the added token that the template writes behind
    /// an answer, special or not. Where it writes nothing there, it is the variable `eos_token`.
    ///
    /// # Errors
    /// [`ChatError::NoEndOfTurn`] when that is no added token of the tokenizer, and as
    /// [`render`](Self::render) when the template refuses a question with an answer.
    pub fn end_of_turn(&self, tokenizer: &TextTokenizer) -> Result<u32, ChatError> {
        const ANSWER: &str = "what is answered here";
        let turns = [Turn::user("?"), Turn::assistant(ANSWER)];
        let content = *self.content.get_or_init(|| self.find_content());
        let text = self.fill(&turns, false, content)?;
        let Some((_, behind)) = text.rsplit_once(ANSWER) else {
            return Err(ChatError::TurnMissing {
                role: Role::Assistant,
                text: ANSWER.into(),
            });
        };
        let written = behind.trim();
        let end = match written.is_empty() {
            false => tokenizer.added_prefix(written),
            true => self
                .variables
                .get("eos_token")
                .and_then(|token| tokenizer.added_id(token.as_str()?)),
        };
        end.ok_or_else(|| ChatError::NoEndOfTurn {
            written: written.chars().take(60).collect(),
        })
    }

    /// The tokens of [`render`](Self::render), with special tokens where the template writes them
    /// and nowhere else.
    ///
    /// A special token that is spelled in a turn is encoded as the text it is. (`transformers` lets
    /// it end the turn.)
    ///
    /// # Errors
    /// As [`render`](Self::render), and [`ChatError::Tokenizer`] when the tokenizer fails on the
    /// text.
    pub fn encode(
        &self,
        tokenizer: &TextTokenizer,
        turns: &[Turn],
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>, ChatError> {
        let spelled: Vec<&str> = tokenizer
            .specials()
            .filter(|special| turns.iter().any(|turn| turn.content.contains(special)))
            .collect();
        if spelled.is_empty() {
            return Ok(tokenizer.encode_with_specials(&self.render(turns, add_generation_prompt)?)?);
        }
        // Special tokens that turns spell go through the template under an alias, and are encoded
        // on their own.
        let mut turns = turns.to_vec();
        for (index, special) in spelled.iter().enumerate() {
            turns
                .iter_mut()
                .for_each(|turn| turn.content = turn.content.replace(special, &alias(index)));
        }
        let mut ids = Vec::new();
        let mut rest = &*self.render(&turns, add_generation_prompt)?;
        while let Some((at, index)) = next_alias(rest, spelled.len()) {
            ids.extend(encode_next(tokenizer, &rest[..at], ids.is_empty())?);
            ids.extend(tokenizer.encode(spelled[index])?);
            rest = &rest[at + alias(index).len()..];
        }
        ids.extend(encode_next(tokenizer, rest, ids.is_empty())?);
        Ok(ids)
    }
}

fn encode_next(
    tokenizer: &TextTokenizer,
    text: &str,
    is_first: bool,
) -> Result<Vec<u32>, TokenizerError> {
    match is_first {
        true => tokenizer.encode_with_specials(text),
        false => tokenizer.encode_inside(text),
    }
}

/// Whether a text holds the content of a turn. Templates may trim turns, and drop the assistant's
/// reasoning.
fn holds(text: &str, turn: &Turn) -> bool {
    text.contains(turn.content.trim())
        || (turn.role == Role::Assistant && text.contains(strip_reasoning(&turn.content).trim()))
}

/// Runs `work` on a large stack. A value may be nested as deeply as the fuel allows, and is written
/// and dropped by recursion. The pages of the stack are only taken when they are used.
fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    const STACK: usize = 1 << 30;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let thread = thread.spawn_scoped(scope, work);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(found)) => found,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => panic!("no thread can be started: {error}"),
        }
    })
}

fn failed(error: minijinja::Error, turns: &[Turn]) -> ChatError {
    if error.kind() == ErrorKind::OutOfFuel {
        let problem = format!("takes more than {FUEL} steps");
        return ChatError::TooMuch { problem };
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref() {
            return ChatError::Refused {
                message: message.clone(),
                has_system: turns.iter().any(|turn| turn.role == Role::System),
            };
        }
        source = cause.source();
    }
    ChatError::Template(error)
}

/// An alias of noncharacters, which Unicode keeps out of text. A text that has them anyway reads as
/// if it spelled special tokens, which does no harm.
fn alias(index: usize) -> String {
    format!("\u{fdd0}{index}\u{fdd1}")
}

fn next_alias(text: &str, count: usize) -> Option<(usize, usize)> {
    (0..count)
        .filter_map(|index| Some((text.find(&alias(index))?, index)))
        .min()
}
