//! Prompts of small policies that are trained from nothing.

use convrec_core::{Item, Role, Turn};
use serde::{Deserialize, Serialize};

use crate::list::ListFormat;
use crate::prompter::{Prompter, Prompts, lines};
use crate::tokenizer::{TextTokenizer, TokenizerError};

/// How a conversation becomes the prompt of a policy without a chat template:
///
/// ```text
/// <bos><user>I loved Heat (1995)<assistant>Try Ronin!<user>Something newer?<seen>Heat (1995)
/// <rec>
/// ```
///
/// and the list its completion: item lines, then `<eos>`. The `<seen>` section spares a small model
/// to find the items in the text. Turns of [`Role::System`] are left out: they instruct models that
/// can read.
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
/// # Ok::<(), convrec_text::ChatError>(())
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
    /// When the tokenizer lacks one of `<bos> <user> <assistant> <seen> <rec> <eos>`.
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
        Ok(Prompter::new(
            tokenizer,
            self.list,
            id("<eos>")?,
            Prompts::Marked(prompts),
        ))
    }
}

/// Writes the prompts of a [`PromptFormat`].
#[derive(Debug)]
pub(crate) struct MarkedPrompts {
    format: PromptFormat,
    bos: u32,
    user: u32,
    assistant: u32,
    seen: u32,
    rec: u32,
}

impl MarkedPrompts {
    pub(crate) fn prompt(
        &self,
        tokenizer: &TextTokenizer,
        dialog: &[Turn],
        seen: &[Item],
    ) -> Result<Vec<u32>, TokenizerError> {
        let dialog = self.dialog(tokenizer, dialog)?;
        let seen = &seen[seen.len().saturating_sub(self.format.max_seen)..];
        let mut ids = vec![self.bos];
        ids.extend_from_slice(
            &dialog[dialog.len().saturating_sub(self.format.max_dialog_tokens)..],
        );
        ids.push(self.seen);
        ids.extend(lines(tokenizer, self.format.list, seen)?);
        ids.push(self.rec);
        Ok(ids)
    }

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
