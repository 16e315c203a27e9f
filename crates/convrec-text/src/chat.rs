//! Prompts of pretrained chat models, by the template that comes with the model.

use std::collections::BTreeMap;
use std::path::Path;

use convrec_core::{Turn, files};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value};
use serde::Deserialize;

use crate::tokenizer::{TextTokenizer, TokenizerError};

/// A chat template: Jinja, in the dialect of the `transformers` library, without tools.
///
/// ```
/// use convrec_core::Turn;
/// use convrec_text::ChatTemplate;
///
/// let source = "{% for m in messages %}<|{{ m.role }}|>{{ m['content'].strip() }}\n{% endfor %}\
///               {% if add_generation_prompt %}<|assistant|>{% endif %}";
/// let template = ChatTemplate::new(source)?;
/// assert_eq!(template.render(&[Turn::user(" Films like Heat? ")], true)?, "<|user|>Films like Heat?\n<|assistant|>");
/// # Ok::<(), convrec_text::ChatError>(())
/// ```
///
/// The date of a prompt is never the clock's, which would make every day's run a different one.
/// Templates that write a date (Llama 3.2) have one to fall back on; [`with_date`](Self::with_date)
/// sets another.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    variables: BTreeMap<String, String>,
}

/// Why a chat template could not be loaded or rendered.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The model's folder holds no chat template.
    #[error("{folder}: {problem}; a base model has none, take its instruct version")]
    Missing {
        /// The folder.
        folder: String,
        /// What was looked for.
        problem: String,
    },
    /// A file of the model's folder is wrong.
    #[error("{folder}: {problem}")]
    Wrong {
        /// The folder.
        folder: String,
        /// The file, and what is wrong with it.
        problem: String,
    },
    /// The template is wrong, or refuses the conversation.
    #[error("chat template: {0:#}")]
    Template(#[from] minijinja::Error),
    /// The template ends a turn with no special token of the tokenizer.
    #[error(
        "chat template: behind an answer it writes {0:?}, which does not begin with a special token of the tokenizer, and \
         there is no `eos_token`; expected the token that ends a turn"
    )]
    NoEndOfTurn(String),
    /// The instruction of a [`ChatFormat`](crate::ChatFormat) is wrong.
    #[error("chat format, field `instruction`: {0:#}; it may use `dialog`, `n` and `seen`")]
    Instruction(minijinja::Error),
    /// The instruction of a [`ChatFormat`](crate::ChatFormat) does not hold the dialog.
    #[error(
        "chat format, field `instruction`: it leaves the conversation out; expected `{{{{ dialog }}}}` in it"
    )]
    NoDialog,
    /// The text could not be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// The part of `tokenizer_config.json` that templates need.
#[derive(Deserialize)]
struct TokenizerConfig {
    chat_template: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

impl ChatTemplate {
    /// A template from its source.
    ///
    /// # Errors
    /// When the source is not Jinja.
    pub fn new(source: impl Into<String>) -> Result<Self, ChatError> {
        let mut environment = Environment::new();
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()?,
        );
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<Value, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.add_template_owned("chat", source.into())?;
        Ok(Self {
            environment,
            variables: BTreeMap::new(),
        })
    }

    /// The template of a model's folder, in `chat_template.jinja` or in `tokenizer_config.json`,
    /// with the special tokens that the latter names (`bos_token` and the like) as variables.
    ///
    /// # Errors
    /// When a file cannot be read, or there is no template.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, ChatError> {
        let folder = folder.as_ref();
        let missing = |problem| ChatError::Missing {
            folder: folder.display().to_string(),
            problem,
        };
        let wrong = |problem| ChatError::Wrong {
            folder: folder.display().to_string(),
            problem,
        };
        let text = files::read_text(folder.join("tokenizer_config.json"))?;
        let config: TokenizerConfig = serde_json::from_str(&text)
            .map_err(|e| wrong(format!("tokenizer_config.json: {e}")))?;
        let file = folder.join("chat_template.jinja");
        let (name, source) = match config.chat_template {
            _ if file.exists() => ("chat_template.jinja", files::read_text(file)?),
            Some(source) => ("`chat_template` in tokenizer_config.json", source),
            None => {
                return Err(missing(
                    "no chat_template.jinja, no `chat_template` in tokenizer_config.json".into(),
                ));
            }
        };
        let mut template = Self::new(source).map_err(|e| wrong(format!("{name}: {e}")))?;
        for (name, value) in config
            .others
            .into_iter()
            .filter(|(name, _)| name.ends_with("_token"))
        {
            // Older files write a token with its settings.
            if let Some(token) = value.as_str().or_else(|| value.get("content")?.as_str()) {
                template = template.with_variable(name, token);
            }
        }
        Ok(template)
    }

    /// With a variable that the template reads, such as `bos_token`.
    pub fn with_variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// With the text that `strftime_now` gives, whatever its format; it is not defined otherwise.
    pub fn with_date(mut self, date: impl Into<String>) -> Self {
        let date = date.into();
        self.environment
            .add_function("strftime_now", move |_format: String| date.clone());
        self
    }

    /// The text of a conversation; with `add_generation_prompt`, up to where the assistant's answer
    /// begins.
    ///
    /// # Errors
    /// When the template refuses the conversation, as some do where the roles do not alternate.
    pub fn render(&self, turns: &[Turn], add_generation_prompt: bool) -> Result<String, ChatError> {
        let template = self.environment.get_template("chat")?;
        let message = |turn: &Turn| {
            Value::from_pairs([("role", turn.role.as_str()), ("content", &*turn.content)])
        };
        let variables = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), Value::from(value.as_str())));
        let own = [
            ("messages", turns.iter().map(message).collect::<Value>()),
            ("add_generation_prompt", add_generation_prompt.into()),
        ];
        Ok(template.render(Value::from_pairs(variables.chain(own)))?)
    }

    /// The token that ends the assistant's turn: the special token that the template writes behind
    /// an answer, or else the variable `eos_token`.
    ///
    /// # Errors
    /// When neither is a special token of the tokenizer, or the template refuses a question with an
    /// answer.
    pub fn end_of_turn(&self, tokenizer: &TextTokenizer) -> Result<u32, ChatError> {
        const ANSWER: &str = "what is answered here";
        let text = self.render(&[Turn::user("?"), Turn::assistant(ANSWER)], false)?;
        let behind = text.rsplit_once(ANSWER).map_or("", |(_, behind)| behind);
        let written = tokenizer
            .specials()
            .find(|special| behind.trim_start().starts_with(special));
        let end = written.or(self.variables.get("eos_token").map(String::as_str));
        let end = end.and_then(|end| tokenizer.special_id(end).ok());
        end.ok_or_else(|| ChatError::NoEndOfTurn(behind.into()))
    }

    /// The tokens of [`render`](Self::render): special tokens where the template writes them, and
    /// nowhere else.
    ///
    /// A special token that is spelled in a turn is encoded as the text it is. (`transformers` lets
    /// it end the turn.)
    ///
    /// # Errors
    /// As [`render`](Self::render), and when the tokenizer fails on the text.
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
        // What turns spell goes through the template under an alias, and is encoded on its own.
        let mut turns = turns.to_vec();
        for (index, special) in spelled.iter().enumerate() {
            turns
                .iter_mut()
                .for_each(|turn| turn.content = turn.content.replace(special, &alias(index)));
        }
        let mut ids = Vec::new();
        let mut rest = &*self.render(&turns, add_generation_prompt)?;
        while let Some((at, index)) = next_alias(rest, spelled.len()) {
            ids.extend(tokenizer.encode_with_specials(&rest[..at])?);
            ids.extend(tokenizer.encode(spelled[index])?);
            rest = &rest[at + alias(index).len()..];
        }
        ids.extend(tokenizer.encode_with_specials(rest)?);
        Ok(ids)
    }
}

/// Noncharacters, which Unicode keeps out of text. Where they are in a text all the same, they read
/// as special tokens spelled out: no harm done.
fn alias(index: usize) -> String {
    format!("\u{fdd0}{index}\u{fdd1}")
}

fn next_alias(text: &str, count: usize) -> Option<(usize, usize)> {
    (0..count)
        .filter_map(|index| Some((text.find(&alias(index))?, index)))
        .min()
}
