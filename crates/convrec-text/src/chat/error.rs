//! Errors about prompts.

use convrec_core::{Role, files};

use crate::tokenizer::TokenizerError;

/// A chat template could not be loaded or rendered, or a prompt could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The model's folder holds no chat template.
    #[error("{folder}: {problem}; a base model has none, take its instruct version")]
    Missing {
        /// The folder.
        folder: String,
        /// The files that were looked for.
        problem: String,
    },
    /// A file of the model's folder is wrong.
    #[error("{folder}: {problem}")]
    Wrong {
        /// The folder.
        folder: String,
        /// The file and its fault.
        problem: String,
    },
    /// The template is wrong.
    #[error("chat template: {0:#}")]
    Template(#[from] minijinja::Error),
    /// The template refuses the conversation by `raise_exception`.
    #[error(
        "the chat template refuses the conversation: {message}{}",
        if *.has_system {
            "; where it takes no system message, `chat.system = \"\"` in task.json helps"
        } else {
            ""
        }
    )]
    Refused {
        /// What the template says.
        message: String,
        /// Whether the conversation has a system turn.
        has_system: bool,
    },
    /// The template takes too long, or writes too much.
    #[error("the chat template {problem}; expected a template that writes each turn about once")]
    TooMuch {
        /// The limit that it exceeds.
        problem: String,
    },
    /// The template leaves a turn of the conversation out.
    #[error(
        "the chat template leaves out what the {} says ({text:?}): it was given as a string and as \
         a list of parts; expected a template that writes every turn",
        .role.as_str()
    )]
    TurnMissing {
        /// Who speaks in the turn.
        role: Role,
        /// The beginning of the turn.
        text: String,
    },
    /// The template ends a turn with no token of its own.
    #[error(
        "chat template: behind an answer it writes {written:?}, which does not begin with an added \
         token of the tokenizer{}; expected one token that ends a turn",
        if written.is_empty() { ", and there is no `eos_token` among them" } else { "" }
    )]
    NoEndOfTurn {
        /// The text behind an answer, without white space in front.
        written: String,
    },
    /// A setting of a [`ChatFormat`](crate::ChatFormat) is wrong.
    #[error("chat format, field `{field}`: {problem}")]
    Setting {
        /// The field.
        field: &'static str,
        /// What was found and expected.
        problem: String,
    },
    /// The instruction of a [`ChatFormat`](crate::ChatFormat) is wrong.
    #[error("chat format, field `instruction`: {0:#}; it may use `dialog`, `n` and `seen`")]
    Instruction(minijinja::Error),
    /// The instruction of a [`ChatFormat`](crate::ChatFormat) does not hold the dialog.
    #[error(
        "chat format, field `instruction`: it leaves the conversation out; expected \
         `{{{{ dialog }}}}` in it"
    )]
    NoDialog,
    /// The text could not be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}
