//! Text to token ids and back.

mod build;
mod error;
mod load;
mod parts;
mod patterns;

use std::sync::{Arc, OnceLock};

use icu_normalizer::ComposingNormalizerBorrowed;
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

pub use self::error::TokenizerError;

/// A tokenizer whose tokens are runs of bytes: trained here ([`TextTokenizer::train`]), or loaded
/// from a `tokenizer.json` ([`TextTokenizer::load`]). Cloning is cheap.
///
/// Byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM) and SentencePiece with byte fallback (Llama 2,
/// TinyLlama, Mistral, Gemma) are read. The text of a sequence of tokens is the concatenation of
/// their bytes:
///
/// ```
/// use convrec_text::{TextTokenizer, TrainConfig};
///
/// let corpus = ["Heat (1995)\n", "Léon (1994)\n"];
/// let config = TrainConfig { vocab_size: 300, ..TrainConfig::default() };
/// let tokenizer = TextTokenizer::train(corpus.iter(), &config)?;
/// let ids = tokenizer.encode("Léon (1994)\n")?;
/// assert_eq!(tokenizer.decode(&ids), "Léon (1994)\n");
/// let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.token_bytes(id).to_vec()).collect();
/// assert_eq!(bytes, "Léon (1994)\n".as_bytes());
///
/// // What people write is text, also where it spells a special token.
/// let end = tokenizer.special_id("<eos>")?;
/// assert!(!tokenizer.encode("<eos>")?.contains(&end));
/// assert_eq!(tokenizer.encode_with_specials("<eos>")?, [end]);
/// # Ok::<(), convrec_text::TokenizerError>(())
/// ```
///
/// Some tokenizers put a space in front of a text. [`encode`](Self::encode) does not, as lists and
/// turns stand inside of a longer text. [`encode_with_specials`](Self::encode_with_specials) does,
/// as `transformers` does for a prompt.
#[derive(Clone)]
pub struct TextTokenizer(Arc<Inner>);

struct Inner {
    /// Reads special tokens as text, and puts nothing in front of it.
    plain: Tokenizer,
    /// Recognises special tokens. This is the tokenizer of the file.
    marked: Tokenizer,
    /// `marked` without a space in front of texts, where that makes a difference.
    inner: Option<Tokenizer>,
    tokens: Vec<Token>,
    /// The special tokens, longest first.
    specials: Vec<String>,
    /// All added tokens, longest first.
    added: Vec<(String, u32)>,
    notes: Vec<String>,
    watch: patterns::Watch,
    /// SHA-256 of the JSON, made when it is first asked for.
    sha256: OnceLock<[u8; 32]>,
}

#[derive(Clone, Default)]
struct Token {
    bytes: Box<[u8]>,
    is_special: bool,
}

impl TextTokenizer {
    /// The content of `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`] when the tokenizer cannot be written down.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        self.0
            .marked
            .to_string(false)
            .map_err(TokenizerError::Failed)
    }

    /// SHA-256 of [`to_json`](Self::to_json).
    pub(crate) fn sha256(&self) -> Result<[u8; 32], TokenizerError> {
        if let Some(hash) = self.0.sha256.get() {
            return Ok(*hash);
        }
        let hash = Sha256::digest(self.to_json()?).into();
        Ok(*self.0.sha256.get_or_init(|| hash))
    }

    fn ids(&self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let checked = self.0.watch.check(text);
        checked.map_err(|problem| TokenizerError::Failed(problem.into()))?;
        ids(tokenizer, text)
    }

    /// The tokens of a text. A special token spelled in the text is ordinary text, so that nobody
    /// can end a turn or a list by writing its name.
    ///
    /// # Errors
    /// [`TokenizerError::Failed`] when the underlying tokenizer fails, when its regular expressions
    /// take too many steps or too long, and when the text has more than 32 MiB.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.ids(&self.0.plain, text)
    }

    /// The tokens of a line whose text they must keep. Composed and decomposed letters count as the
    /// same text.
    ///
    /// # Errors
    /// [`TokenizerError::Changed`] when the tokens stand for another text, and
    /// [`TokenizerError::Failed`] as [`encode`](Self::encode).
    pub fn encode_exactly(&self, line: &str) -> Result<Vec<u32>, TokenizerError> {
        let ids = self.encode(line)?;
        let mut bytes = ids.iter().flat_map(|&id| self.token_bytes(id));
        if bytes.clone().eq(line.as_bytes()) {
            return Ok(ids);
        }
        let found = lossy(bytes.by_ref().copied().collect());
        let nfc = ComposingNormalizerBorrowed::new_nfc();
        if nfc.normalize(&found) == nfc.normalize(line) {
            return Ok(ids);
        }
        Err(TokenizerError::Changed {
            line: line.into(),
            found,
        })
    }

    /// The tokens of a text in which special tokens are recognised. It is for text from a chat
    /// template, never for the text of users. No special token is added.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_with_specials(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.ids(&self.0.marked, text)
    }

    /// The tokens of a text inside of a longer one, as
    /// [`encode_with_specials`](Self::encode_with_specials).
    pub(crate) fn encode_inside(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.ids(self.0.inner.as_ref().unwrap_or(&self.0.marked), text)
    }

    /// The text of tokens. Special tokens are left out, and bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        lossy(
            ids.iter()
                .flat_map(|&id| self.token_bytes(id))
                .copied()
                .collect(),
        )
    }

    /// The text of tokens, special tokens included, for people to read.
    pub fn decode_with_specials(&self, ids: &[u32]) -> String {
        let bytes = |id: &u32| {
            self.0
                .tokens
                .get(*id as usize)
                .map_or(&[][..], |token| &token.bytes)
        };
        lossy(ids.iter().flat_map(bytes).copied().collect())
    }

    /// The bytes that a token adds to the text: none for special tokens and for ids without a
    /// token.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        match self.0.tokens.get(id as usize) {
            Some(token) if !token.is_special => &token.bytes,
            _ => &[],
        }
    }

    /// Settings of the file that are switched off, a sentence each: truncation, padding, dropout.
    pub fn notes(&self) -> &[String] {
        &self.0.notes
    }

    /// The number of ids, special tokens included: one more than the largest.
    pub fn vocab_size(&self) -> usize {
        self.0.tokens.len()
    }

    /// The special tokens, longest first. Replacing them one after the other in a text then misses
    /// none.
    pub(crate) fn specials(&self) -> impl Iterator<Item = &str> {
        self.0.specials.iter().map(String::as_str)
    }

    /// The longest added token that a text begins with, special or not.
    pub(crate) fn added_prefix(&self, text: &str) -> Option<u32> {
        let mut added = self.0.added.iter();
        added
            .find(|(token, _)| text.starts_with(token.as_str()))
            .map(|(_, id)| *id)
    }

    /// The id of an added token, special or not.
    pub(crate) fn added_id(&self, token: &str) -> Option<u32> {
        let mut added = self.0.added.iter();
        added.find(|(other, _)| other == token).map(|(_, id)| *id)
    }

    /// The id of a special token.
    ///
    /// # Errors
    /// [`TokenizerError::NoSpecial`] when there is no such token, or it is not special.
    pub fn special_id(&self, token: &str) -> Result<u32, TokenizerError> {
        let id = self
            .0
            .marked
            .token_to_id(token)
            .filter(|&id| self.0.tokens[id as usize].is_special);
        id.ok_or_else(|| TokenizerError::NoSpecial(token.into()))
    }
}

impl std::fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextTokenizer")
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

/// The longest text that is encoded at once, in bytes: more than any model reads.
const LONGEST_TEXT: usize = 32 << 20;

fn ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, TokenizerError> {
    if text.len() > LONGEST_TEXT {
        let problem = format!(
            "a text of {} bytes; expected at most {LONGEST_TEXT}",
            text.len()
        );
        return Err(TokenizerError::Failed(problem.into()));
    }
    let encoding = tokenizer
        .encode_fast(text, false)
        .map_err(TokenizerError::Failed)?;
    Ok(encoding.get_ids().to_vec())
}

fn lossy(bytes: Vec<u8>) -> String {
    // The text is copied only where bytes are wrong.
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}
