//! Prompts of small policies that are trained from scratch.

use convrec_core::{Item, Role, Turn};
use serde::{Deserialize, Serialize};

use crate::chat::ChatError;
use crate::list::ListFormat;
use crate::prompter::{ItemTokens, Prompter, WritePrompt};
use crate::tokenizer::{TextTokenizer, TokenizerError};

/// The settings by which a conversation becomes the prompt of a policy without a chat template. It
/// is:
///
/// ```text
/// <bos><user>I loved Heat (1995)<assistant>Try Ronin!<user>Something newer?<seen>Heat (1995)
/// <rec>
/// ```
///
/// The completion is the list: item lines, then `<eos>`. The `<seen>` section spares a small model
/// the search for items in the text. Turns of [`Role::System`] are left out, as they instruct
/// models that can read.
///
/// ```
/// use convrec_core::{Item, Turn};
/// use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};
///
/// let corpus = ["I loved Heat (1995)", "Heat (1995)\n", "Alien (1979)\n"];
/// let config = TrainConfig { vocab_size: 300, ..TrainConfig::default() };
/// let tokenizer = TextTokenizer::train(corpus.iter(), &config)?;
/// let prompter = PromptFormat::default().prompter(&tokenizer)?;
///
/// let prompt = prompter.prompt(&[Turn::user("I loved Heat (1995)")], &[Item::new("Heat", 1995)])?;
/// let text = tokenizer.decode_with_specials(&prompt);
/// assert_eq!(text, "<bos><user>I loved Heat (1995)<seen>Heat (1995)\n<rec>");
///
/// let completion = prompter.completion(&[Item::new("Alien", 1979)])?;
/// assert_eq!(tokenizer.decode_with_specials(&completion), "Alien (1979)\n<eos>");
/// # Ok::<(), convrec_text::ChatError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptFormat {
    /// The prompt holds at most this many tokens of dialog, role tokens included. Older tokens are
    /// cut off.
    pub max_dialog_tokens: usize,
    /// The prompt names at most this many seen items. Those mentioned first are left out.
    pub max_seen: usize,
    /// The form of items.
    pub list: ListFormat,
}

impl Default for PromptFormat {
    /// 64 tokens of dialog and 16 seen items, in the plain form.
    fn default() -> Self {
        Self {
            max_dialog_tokens: 64,
            max_seen: 16,
            list: ListFormat::default(),
        }
    }
}

impl PromptFormat {
    /// This format with a tokenizer's ids.
    ///
    /// # Errors
    /// [`TokenizerError::NoSpecial`] when the tokenizer lacks one of
    /// `<bos> <user> <assistant> <seen> <rec> <eos>`.
    pub fn prompter(&self, tokenizer: &TextTokenizer) -> Result<Prompter, TokenizerError> {
        let id = |token| tokenizer.special_id(token);
        let prompts = MarkedPrompts {
            format: self.clone(),
            bos: id("<bos>")?,
            user: id("<user>")?,
            assistant: id("<assistant>")?,
            seen: id("<seen>")?,
            rec: id("<rec>")?,
        };
        Ok(Prompter::new(tokenizer, self.list, id("<eos>")?, prompts))
    }
}

/// Writes the prompts of a [`PromptFormat`].
#[derive(Debug)]
struct MarkedPrompts {
    format: PromptFormat,
    bos: u32,
    user: u32,
    assistant: u32,
    seen: u32,
    rec: u32,
}

impl WritePrompt for MarkedPrompts {
    fn prompt(
        &self,
        items: &ItemTokens,
        dialog: &[Turn],
        seen: &[Item],
    ) -> Result<Vec<u32>, ChatError> {
        let dialog = self.dialog(&items.tokenizer, dialog)?;
        let seen = &seen[seen.len().saturating_sub(self.format.max_seen)..];
        let mut ids = vec![self.bos];
        ids.extend_from_slice(
            &dialog[dialog.len().saturating_sub(self.format.max_dialog_tokens)..],
        );
        ids.push(self.seen);
        ids.extend(items.encode(seen)?);
        ids.push(self.rec);
        Ok(ids)
    }
}

impl MarkedPrompts {
    fn dialog(
        &self,
        tokenizer: &TextTokenizer,
        turns: &[Turn],
    ) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        for turn in turns {
            ids.push(match turn.role {
                Role::System => continue,
                Role::User => self.user,
                Role::Assistant => self.assistant,
            });
            ids.extend(tokenizer.encode(&turn.content)?);
        }
        Ok(ids)
    }
}
