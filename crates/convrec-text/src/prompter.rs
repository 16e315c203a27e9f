//! Prompts and completions as token ids, however prompts are written.

use std::sync::Arc;

use convrec_core::{Item, Turn};

use crate::chat::ChatError;
use crate::chat_format::ChatPrompts;
use crate::list::ListFormat;
use crate::prompt::MarkedPrompts;
use crate::tokenizer::{TextTokenizer, TokenizerError};

/// Writes prompts and completions as token ids. Cloning is cheap.
///
/// Of a small policy trained from nothing it is made by
/// [`PromptFormat::prompter`](crate::PromptFormat::prompter), of a pretrained chat model by
/// [`ChatFormat::prompter`](crate::ChatFormat::prompter).
#[derive(Debug, Clone)]
pub struct Prompter {
    tokenizer: TextTokenizer,
    list: ListFormat,
    end: u32,
    prompts: Arc<Prompts>,
}

#[derive(Debug)]
pub(crate) enum Prompts {
    /// By special tokens.
    Marked(MarkedPrompts),
    /// By a chat template.
    Chat(Box<ChatPrompts>),
}

impl Prompter {
    pub(crate) fn new(
        tokenizer: &TextTokenizer,
        list: ListFormat,
        end: u32,
        prompts: Prompts,
    ) -> Self {
        Self {
            tokenizer: tokenizer.clone(),
            list,
            end,
            prompts: prompts.into(),
        }
    }

    /// The prompt of a conversation in which `seen` was mentioned.
    ///
    /// # Errors
    /// When the tokenizer fails on a text, or the chat template refuses the conversation.
    pub fn prompt(&self, dialog: &[Turn], seen: &[Item]) -> Result<Vec<u32>, ChatError> {
        match &*self.prompts {
            Prompts::Marked(prompts) => Ok(prompts.prompt(&self.tokenizer, dialog, seen)?),
            Prompts::Chat(prompts) => prompts.prompt(&self.tokenizer, dialog, seen),
        }
    }

    /// The completion that answers with `list`.
    ///
    /// # Errors
    /// When the tokenizer fails on a text.
    pub fn completion(&self, list: &[Item]) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = lines(&self.tokenizer, self.list, list)?;
        ids.push(self.end);
        Ok(ids)
    }

    /// The token that ends a completion.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// How items are written.
    pub fn list(&self) -> ListFormat {
        self.list
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }
}

/// Line by line, so that an item is the same tokens wherever it stands.
pub(crate) fn lines(
    tokenizer: &TextTokenizer,
    format: ListFormat,
    items: &[Item],
) -> Result<Vec<u32>, TokenizerError> {
    let mut ids = Vec::new();
    for (rank, item) in items.iter().enumerate() {
        ids.extend(tokenizer.encode(&format.line(rank, item))?);
    }
    Ok(ids)
}
