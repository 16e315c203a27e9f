//! Training a tokenizer.

use serde::{Deserialize, Serialize};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer};

use crate::tokenizer::{TextTokenizer, TokenizerError};

/// The pieces of text over which no token reaches. ` (1994)` with the line feed behind it is one
/// piece, so that a list's line ends in one token.
const PIECES: &str = r" ?\(\d{4}\)\n?| ?\p{L}+| ?\p{N}{1,4}| ?[^\s\p{L}\p{N}]+|\s+";

/// Settings of [`TextTokenizer::train`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// The number of tokens, with the special ones and without `lines`. A corpus that is too small
    /// to learn so many gives fewer.
    pub vocab_size: usize,
    /// The special tokens. They get the ids from 0 on, in this order. Names that could be the token
    /// of a plain text, such as `eos` without brackets, are refused.
    pub special_tokens: Vec<String>,
    /// Lines, line feed included, that are one token each wherever they are written. They get the
    /// last ids. With the lines of a catalog ([`ListFormat::line`](crate::ListFormat::line)) an
    /// item is one token. Lists are then short and no title has to be spelled, but a policy knows
    /// nothing of items that it was not shown.
    pub lines: Vec<String>,
}

impl Default for TrainConfig {
    /// 8,192 tokens, with the special tokens of [`PromptFormat`](crate::PromptFormat).
    fn default() -> Self {
        let special_tokens = [
            "<pad>",
            "<bos>",
            "<user>",
            "<assistant>",
            "<seen>",
            "<rec>",
            "<eos>",
        ];
        Self {
            vocab_size: 8192,
            special_tokens: special_tokens.map(String::from).into(),
            lines: vec![],
        }
    }
}

impl TextTokenizer {
    /// Learns a byte-level BPE from a corpus: catalog lines of lists, titles as people write them,
    /// dialogs.
    ///
    /// All 256 bytes are in the vocabulary, so every text can be encoded. The same corpus gives the
    /// same tokenizer.
    ///
    /// ```
    /// use convrec_text::{TextTokenizer, TrainConfig};
    ///
    /// let lines = vec!["Heat (1995)\n".to_string()];
    /// let config = TrainConfig { vocab_size: 300, lines, ..Default::default() };
    /// let tokenizer = TextTokenizer::train(["I loved Heat"].iter(), &config)?;
    /// let ids = tokenizer.encode("Heat (1995)\n")?;
    /// assert_eq!((ids.len(), tokenizer.token_bytes(ids[0])), (1, &b"Heat (1995)\n"[..]));
    /// # Ok::<(), convrec_text::TokenizerError>(())
    /// ```
    ///
    /// # Errors
    /// - [`TokenizerError::Config`] when the vocabulary is too small for bytes and special tokens
    /// - [`TokenizerError::Config`] when a special token is repeated or could be the token of a
    ///   plain text, or one of `lines` is no line
    /// - [`TokenizerError::Failed`] when the underlying trainer fails
    pub fn train<S: AsRef<str> + Send>(
        corpus: impl Iterator<Item = S> + Send,
        config: &TrainConfig,
    ) -> Result<Self, TokenizerError> {
        let bad = |field, problem| TokenizerError::Config { field, problem };
        let least = ByteLevel::alphabet().len() + config.special_tokens.len();
        if config.vocab_size < least {
            let problem = format!(
                "{} tokens; expected at least {least}, for the bytes and special tokens",
                config.vocab_size
            );
            return Err(bad("vocab_size", problem));
        }
        let mut trainer: TrainerWrapper = BpeTrainer::builder()
            .vocab_size(config.vocab_size)
            .special_tokens(
                config
                    .special_tokens
                    .iter()
                    .map(|token| AddedToken::from(token.as_str(), true))
                    .collect(),
            )
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .show_progress(false)
            .build()
            .into();
        let mut tokenizer = untrained();
        tokenizer
            .train(&mut trainer, corpus)
            .map_err(TokenizerError::Failed)?;
        let lines = config
            .lines
            .iter()
            .map(|line| AddedToken::from(line, false).normalized(false));
        tokenizer
            .add_tokens(lines)
            .map_err(TokenizerError::Failed)?;
        let tokenizer =
            Self::new(tokenizer).map_err(|problem| TokenizerError::Failed(problem.into()))?;
        for (id, special) in config.special_tokens.iter().enumerate() {
            let is_own = tokenizer
                .special_id(special)
                .is_ok_and(|own| own as usize == id);
            if !is_own || tokenizer.encode(special)?.contains(&(id as u32)) {
                let problem = format!(
                    "`{special}` is repeated or may be plain text; expected different names such \
                     as `<eos>`"
                );
                return Err(bad("special_tokens", problem));
            }
        }
        if let Some(line) = config
            .lines
            .iter()
            .find(|line| line.find('\n') != Some(line.len().wrapping_sub(1)))
        {
            return Err(bad(
                "lines",
                format!("{line:?}; expected one line with its line feed"),
            ));
        }
        Ok(tokenizer)
    }
}

fn untrained() -> Tokenizer {
    let split = Split::new(
        SplitPattern::Regex(PIECES.into()),
        SplitDelimiterBehavior::Isolated,
        false,
    )
    .expect("the pattern is a constant");
    let bytes = ByteLevel::new(false, false, false);
    let pieces = Sequence::new(vec![
        PreTokenizerWrapper::Split(split),
        PreTokenizerWrapper::ByteLevel(bytes),
    ]);
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer
        .with_pre_tokenizer(Some(pieces))
        .with_decoder(Some(bytes));
    tokenizer
}
