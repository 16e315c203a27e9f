//! Text to token ids and back.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use convrec_core::files;
use sha2::{Digest, Sha256};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{DecoderWrapper, ModelWrapper, Tokenizer};

/// A byte-level BPE tokenizer, as almost every recent language model has one: trained here
/// ([`TextTokenizer::train`]) or loaded from a `tokenizer.json`. Cloning is cheap.
///
/// Every token is a run of bytes, and the text of a sequence of tokens is their concatenation:
///
/// ```
/// use convrec_text::{TextTokenizer, TrainConfig};
///
/// let corpus = ["Heat (1995)\n", "Léon (1994)\n"];
/// let tokenizer = TextTokenizer::train(corpus.iter(), &TrainConfig { vocab_size: 300, ..Default::default() })?;
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
#[derive(Clone)]
pub struct TextTokenizer(Arc<Inner>);

struct Inner {
    /// Reads special tokens as text.
    plain: Tokenizer,
    /// Recognises special tokens.
    marked: Tokenizer,
    tokens: Vec<Token>,
    /// Longest first.
    specials: Vec<String>,
    /// Made when it is first asked for.
    sha256: OnceLock<[u8; 32]>,
}

#[derive(Clone, Default)]
struct Token {
    bytes: Box<[u8]>,
    is_special: bool,
}

/// Why a tokenizer could not be had or used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file holds no tokenizer of the kind that this library reads.
    #[error("{file}: {problem}")]
    Unsupported {
        /// The file, as the caller named it.
        file: String,
        /// What was found and expected.
        problem: String,
    },
    /// The settings of a training run.
    #[error("tokenizer training, `{field}`: {problem}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What was found and expected.
        problem: String,
    },
    /// A special token that is needed and not there.
    #[error("the tokenizer has no special token `{0}`; train it with one, or name the one it has")]
    NoSpecial(String),
    /// The underlying tokenizer failed on a text.
    #[error("the tokenizer failed: {0}")]
    Failed(tokenizers::Error),
}

impl TextTokenizer {
    /// Loads a `tokenizer.json`. Truncation and padding stored in it are switched off.
    ///
    /// # Errors
    /// When the file cannot be read, is no tokenizer, or is not a byte-level BPE.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let path = path.as_ref();
        let text = files::read_text(path)?;
        let unsupported = |problem| TokenizerError::Unsupported {
            file: path.display().to_string(),
            problem,
        };
        let tokenizer: Tokenizer = text
            .parse()
            .map_err(|e| unsupported(format!("no tokenizer: {e}; expected a `tokenizer.json`")))?;
        Self::new(tokenizer).map_err(|problem| unsupported(problem.into()))
    }

    /// Saves as `tokenizer.json`, replacing the file whole.
    ///
    /// # Errors
    /// When the file cannot be written; the former file is then still there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), TokenizerError> {
        let text = self.to_json()?;
        Ok(files::write_atomic(path, |out| {
            out.write_all(text.as_bytes())
        })?)
    }

    /// The content of `tokenizer.json`.
    ///
    /// # Errors
    /// When the tokenizer cannot be written down.
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

    pub(crate) fn new(mut tokenizer: Tokenizer) -> Result<Self, &'static str> {
        if !matches!(tokenizer.get_model(), ModelWrapper::BPE(_)) {
            return Err("the model is not BPE; expected a byte-level BPE");
        }
        if !matches!(tokenizer.get_decoder(), Some(DecoderWrapper::ByteLevel(_))) {
            return Err("the decoder is not `ByteLevel`; expected a byte-level BPE");
        }
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|_| "truncation cannot be switched off")?;
        tokenizer.set_encode_special_tokens(false);
        let tokens = token_table(&tokenizer);
        let added = tokenizer.get_added_tokens_decoder().into_values();
        let mut specials: Vec<String> = added
            .filter(|token| token.special)
            .map(|token| token.content)
            .collect();
        specials.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let mut plain = tokenizer.clone();
        plain.set_encode_special_tokens(true);
        Ok(Self(Arc::new(Inner {
            plain,
            marked: tokenizer,
            tokens,
            specials,
            sha256: OnceLock::new(),
        })))
    }

    /// The tokens of a text. A special token spelled in the text is text like any other, so that
    /// nobody can end a turn or a list by writing its name.
    ///
    /// # Errors
    /// When the underlying tokenizer fails: its split pattern met a text that is too much for it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        ids(&self.0.plain, text)
    }

    /// The tokens of a text in which special tokens are recognised: for text from a chat template,
    /// never for text as people wrote it. None is added.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_with_specials(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        ids(&self.0.marked, text)
    }

    /// The text of tokens; special tokens are left out, and bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        lossy(
            ids.iter()
                .flat_map(|&id| self.token_bytes(id))
                .copied()
                .collect(),
        )
    }

    /// The text of tokens, special tokens included: for people to read.
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

    /// The number of ids, special tokens included: one more than the largest.
    pub fn vocab_size(&self) -> usize {
        self.0.tokens.len()
    }

    /// The special tokens, longest first: so that replacing them one after the other in a text
    /// misses none.
    pub(crate) fn specials(&self) -> impl Iterator<Item = &str> {
        self.0.specials.iter().map(String::as_str)
    }

    /// The id of a special token.
    ///
    /// # Errors
    /// When there is no such token, or it is not special.
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

fn ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, TokenizerError> {
    let encoding = tokenizer
        .encode_fast(text, false)
        .map_err(TokenizerError::Failed)?;
    Ok(encoding.get_ids().to_vec())
}

fn lossy(bytes: Vec<u8>) -> String {
    // A copy only where something is wrong.
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

fn token_table(tokenizer: &Tokenizer) -> Vec<Token> {
    let vocabulary = tokenizer.get_vocab(true);
    let size = vocabulary
        .values()
        .max()
        .map_or(0, |&largest| largest as usize + 1);
    let added = tokenizer.get_added_tokens_decoder();
    let byte_of = byte_symbols();
    let mut tokens = vec![Token::default(); size];
    for (text, id) in vocabulary {
        // As the decoder does it: a token with any symbol that stands for no byte is text itself.
        let bytes: Option<Box<[u8]>> = text
            .chars()
            .map(|c| byte_of.get(c as usize).copied().flatten())
            .collect();
        let is_special = added.get(&id).is_some_and(|token| token.special);
        tokens[id as usize] = Token {
            bytes: bytes.unwrap_or_else(|| text.into_bytes().into()),
            is_special,
        };
    }
    tokens
}

/// The byte that each symbol of a byte-level vocabulary stands for, by code point.
///
/// Printable bytes stand for themselves; the others, in order, for the characters from U+0100 on.
fn byte_symbols() -> Vec<Option<u8>> {
    let mut byte_of = vec![None; 0x180];
    let mut next = 0x100;
    for byte in 0..=255u8 {
        let is_printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let symbol = if is_printable { byte as usize } else { next };
        next += usize::from(!is_printable);
        byte_of[symbol] = Some(byte);
    }
    debug_assert_eq!(
        ByteLevel::alphabet().len(),
        byte_of.iter().flatten().count()
    );
    byte_of
}
