//! Prompts of small policies that are trained from nothing.

use convrec_core::{Item, Role, Turn};
use serde::{Deserialize, Serialize};

use crate::list::ListFormat;
use crate::tokenizer::{TextTokenizer, TokenizerError};

/// How a conversation becomes the prompt of a policy without a chat template:
///
/// ```text
/// <bos><user>I loved Heat (1995)<assistant>Try Ronin!<user>Something newer?<seen>Heat (1995)
/// <rec>
/// ```
///
/// and the list its completion: item lines, then `<eos>`. The `<seen>` section spares a small model to find the items
/// in the text. Turns of [`Role::System`] are left out: they instruct models that can read.
///
/// ```
/// use convrec_core::{Item, Turn};
/// use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};
///
/// let corpus = ["I loved Heat (1995)", "Heat (1995)\n", "Alien (1979)\n"];
/// let tokenizer = TextTokenizer::train(corpus.iter(), &TrainConfig { vocab_size: 300, ..Default::default() })?;
/// let prompter = PromptFormat::default().prompter(&tokenizer)?;
///
/// let prompt = prompter.prompt(&[Turn::user("I loved Heat (1995)")], &[Item::new("Heat", 1995)])?;
/// let text = tokenizer.decode_with_specials(&prompt);
/// assert_eq!(text, "<bos><user>I loved Heat (1995)<seen>Heat (1995)\n<rec>");
///
/// let completion = prompter.completion(&[Item::new("Alien", 1979)])?;
/// assert_eq!(tokenizer.decode_with_specials(&completion), "Alien (1979)\n<eos>");
/// # Ok::<(), convrec_text::TokenizerError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptFormat {
    /// At most this many tokens of dialog, role tokens included; what is older is cut off.
    pub max_dialog_tokens: usize,
    /// At most this many seen items; those mentioned first are left out.
    pub max_seen: usize,
    /// How items are written.
    pub list: ListFormat,
}

impl Default for PromptFormat {
    /// 64 tokens of dialog and 16 seen items, written plainly.
    fn default() -> Self {
        Self { max_dialog_tokens: 64, max_seen: 16, list: ListFormat::default() }
    }
}

impl PromptFormat {
    /// This format with a tokenizer's ids.
    ///
    /// # Errors
    /// When the tokenizer lacks one of `<bos> <user> <assistant> <seen> <rec> <eos>`.
    pub fn prompter(&self, tokenizer: &TextTokenizer) -> Result<Prompter, TokenizerError> {
        let id = |token| tokenizer.special_id(token);
        Ok(Prompter {
            format: self.clone(),
            bos: id("<bos>")?,
            user: id("<user>")?,
            assistant: id("<assistant>")?,
            seen: id("<seen>")?,
            rec: id("<rec>")?,
            end: id("<eos>")?,
            tokenizer: tokenizer.clone(),
        })
    }
}

/// Writes prompts and completions as token ids: [`PromptFormat::prompter`].
#[derive(Debug, Clone)]
pub struct Prompter {
    format: PromptFormat,
    tokenizer: TextTokenizer,
    bos: u32,
    user: u32,
    assistant: u32,
    seen: u32,
    rec: u32,
    end: u32,
}

impl Prompter {
    /// The prompt of a conversation in which `seen` was mentioned.
    ///
    /// # Errors
    /// When the tokenizer fails on a text.
    pub fn prompt(&self, dialog: &[Turn], seen: &[Item]) -> Result<Vec<u32>, TokenizerError> {
        let dialog = self.dialog(dialog)?;
        let seen = &seen[seen.len().saturating_sub(self.format.max_seen)..];
        let mut ids = vec![self.bos];
        ids.extend_from_slice(&dialog[dialog.len().saturating_sub(self.format.max_dialog_tokens)..]);
        ids.push(self.seen);
        ids.extend(self.lines(seen)?);
        ids.push(self.rec);
        Ok(ids)
    }

    /// The completion that answers with `list`.
    ///
    /// # Errors
    /// When the tokenizer fails on a text.
    pub fn completion(&self, list: &[Item]) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = self.lines(list)?;
        ids.push(self.end);
        Ok(ids)
    }

    /// The token that ends a completion.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// How prompts and lists are written.
    pub fn format(&self) -> &PromptFormat {
        &self.format
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    fn dialog(&self, turns: &[Turn]) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        for turn in turns {
            ids.push(match turn.role {
                Role::System => continue,
                Role::User => self.user,
                Role::Assistant => self.assistant,
            });
            ids.extend(self.tokenizer.encode(&turn.content)?);
        }
        Ok(ids)
    }

    /// Line by line, so that an item is the same tokens wherever it stands.
    fn lines(&self, items: &[Item]) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        for (rank, item) in items.iter().enumerate() {
            ids.extend(self.tokenizer.encode(&self.format.list.line(rank, item))?);
        }
        Ok(ids)
    }
}
