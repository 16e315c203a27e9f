//! Prompts and completions as token ids, for all forms of prompts.

use std::fmt::Debug;
use std::sync::Arc;

use convrec_core::{Item, Turn};

use crate::chat::ChatError;
use crate::list::ListFormat;
use crate::tokenizer::{TextTokenizer, TokenizerError};

/// Writes prompts and completions as token ids. Cloning is cheap.
///
/// [`PromptFormat::prompter`](crate::PromptFormat::prompter) makes one for a small policy trained
/// from scratch, and [`ChatFormat::prompter`](crate::ChatFormat::prompter) one for a pretrained
/// chat model.
#[derive(Debug, Clone)]
pub struct Prompter {
    tokenizer: TextTokenizer,
    list: ListFormat,
    end: u32,
    prompts: Arc<dyn WritePrompt>,
}

/// A way of writing prompts.
pub(crate) trait WritePrompt: Debug + Send + Sync {
    /// The prompt of a conversation in which `seen` was mentioned.
    fn prompt(
        &self,
        tokenizer: &TextTokenizer,
        dialog: &[Turn],
        seen: &[Item],
    ) -> Result<Vec<u32>, ChatError>;
}

impl Prompter {
    pub(crate) fn new(
        tokenizer: &TextTokenizer,
        list: ListFormat,
        end: u32,
        prompts: impl WritePrompt + 'static,
    ) -> Self {
        Self {
            tokenizer: tokenizer.clone(),
            list,
            end,
            prompts: Arc::new(prompts),
        }
    }

    /// The prompt of a conversation in which `seen` was mentioned.
    ///
    /// # Errors
    /// [`ChatError::Tokenizer`] when the tokenizer fails on a text. [`ChatError::Refused`],
    /// [`ChatError::TurnMissing`], [`ChatError::TooMuch`] and [`ChatError::Template`] when the chat
    /// template does not write the conversation.
    pub fn prompt(&self, dialog: &[Turn], seen: &[Item]) -> Result<Vec<u32>, ChatError> {
        self.prompts.prompt(&self.tokenizer, dialog, seen)
    }

    /// The completion that answers with `list`.
    ///
    /// # Errors
    /// [`TokenizerError::Changed`] when the tokens of a line stand for another line, and
    /// [`TokenizerError::Failed`] when the tokenizer fails on it.
    pub fn completion(&self, list: &[Item]) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = encode_lines(&self.tokenizer, self.list, list)?;
        ids.push(self.end);
        Ok(ids)
    }

    /// The token that ends a completion.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The form of items.
    pub fn list(&self) -> ListFormat {
        self.list
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }
}

/// The tokens of a list, line by line, so that an item has the same tokens at every rank.
pub(crate) fn encode_lines(
    tokenizer: &TextTokenizer,
    format: ListFormat,
    items: &[Item],
) -> Result<Vec<u32>, TokenizerError> {
    let mut ids = Vec::new();
    for (rank, item) in items.iter().enumerate() {
        ids.extend(tokenizer.encode_exactly(&format.line(rank, item))?);
    }
    Ok(ids)
}
