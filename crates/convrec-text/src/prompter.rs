//! Prompts and completions as token ids, for all forms of prompts.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use convrec_core::{Item, Turn};

use crate::chat::ChatError;
use crate::list::ListFormat;
use crate::semantic_ids::SemanticIds;
use crate::tokenizer::{TextTokenizer, TokenizerError};

/// Writes prompts and completions as token ids. Cloning is cheap.
///
/// [`PromptFormat::prompter`](crate::PromptFormat::prompter) makes one for a small policy trained
/// from scratch, and [`ChatFormat::prompter`](crate::ChatFormat::prompter) one for a pretrained
/// chat model.
#[derive(Debug, Clone)]
pub struct Prompter {
    items: ItemTokens,
    end: u32,
    prompts: Arc<dyn WritePrompt>,
}

/// A way of writing prompts.
pub(crate) trait WritePrompt: Debug + Send + Sync {
    /// The prompt of a conversation in which `seen` was mentioned.
    fn prompt(
        &self,
        items: &ItemTokens,
        dialog: &[Turn],
        seen: &[Item],
    ) -> Result<Vec<u32>, ChatError>;
}

/// How items are written: as lines of text, or by their semantic ids.
#[derive(Debug, Clone)]
pub(crate) struct ItemTokens {
    pub(crate) tokenizer: TextTokenizer,
    list: ListFormat,
    /// The tokens of the items that have a semantic id.
    ids: Option<Arc<HashMap<Item, Box<[u32]>>>>,
}

impl ItemTokens {
    pub(crate) fn of_text(tokenizer: &TextTokenizer, list: ListFormat) -> Self {
        Self {
            tokenizer: tokenizer.clone(),
            list,
            ids: None,
        }
    }

    /// The tokens of a list, line by line, so that an item has the same tokens at every rank.
    pub(crate) fn encode(&self, items: &[Item]) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        for (rank, item) in items.iter().enumerate() {
            ids.extend(self.line(rank, item)?);
        }
        Ok(ids)
    }

    fn line(&self, rank: usize, item: &Item) -> Result<Vec<u32>, TokenizerError> {
        match self.ids.as_ref().and_then(|ids| ids.get(item)) {
            Some(tokens) => Ok(tokens.to_vec()),
            None => self.tokenizer.encode_exactly(&self.list.line(rank, item)),
        }
    }
}

impl Prompter {
    pub(crate) fn new(
        tokenizer: &TextTokenizer,
        list: ListFormat,
        end: u32,
        prompts: impl WritePrompt + 'static,
    ) -> Self {
        Self {
            items: ItemTokens::of_text(tokenizer, list),
            end,
            prompts: Arc::new(prompts),
        }
    }

    /// This prompter with items as semantic ids, in lists and among the seen items of a
    /// [`PromptFormat`](crate::PromptFormat). An item without one is a line of text.
    ///
    /// # Errors
    /// [`TokenizerError::NoSpecial`] when the tokenizer lacks the token of a code.
    pub fn with_semantic_ids(mut self, ids: &SemanticIds) -> Result<Self, TokenizerError> {
        self.items.ids = Some(ids.encode(self.tokenizer())?.into());
        Ok(self)
    }

    /// Whether items are written as semantic ids.
    pub fn has_semantic_ids(&self) -> bool {
        self.items.ids.is_some()
    }

    /// Whether this item is written as a semantic id.
    pub fn has_semantic_id(&self, item: &Item) -> bool {
        let ids = self.items.ids.as_ref();
        ids.is_some_and(|ids| ids.contains_key(item))
    }

    /// The prompt of a conversation in which `seen` was mentioned.
    ///
    /// # Errors
    /// [`ChatError::Tokenizer`] when the tokenizer fails on a text. [`ChatError::Refused`],
    /// [`ChatError::TurnMissing`], [`ChatError::TooMuch`] and [`ChatError::Template`] when the chat
    /// template does not write the conversation.
    pub fn prompt(&self, dialog: &[Turn], seen: &[Item]) -> Result<Vec<u32>, ChatError> {
        self.prompts.prompt(&self.items, dialog, seen)
    }

    /// The completion that answers with `list`.
    ///
    /// # Errors
    /// [`TokenizerError::Changed`] when the tokens of a line stand for another line, and
    /// [`TokenizerError::Failed`] when the tokenizer fails on it.
    pub fn completion(&self, list: &[Item]) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = self.items.encode(list)?;
        ids.push(self.end);
        Ok(ids)
    }

    /// The tokens of an item at a rank of a list, from 0.
    ///
    /// # Errors
    /// As [`completion`](Self::completion).
    pub fn line(&self, rank: usize, item: &Item) -> Result<Vec<u32>, TokenizerError> {
        self.items.line(rank, item)
    }

    /// The token that ends a completion.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The form of items.
    pub fn list(&self) -> ListFormat {
        self.items.list
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.items.tokenizer
    }
}
