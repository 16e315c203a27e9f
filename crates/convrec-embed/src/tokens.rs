//! Texts as the tokens of an encoder.

use std::path::{Path, PathBuf};

use convrec_core::files;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer, TruncationParams};

use crate::error::{EmbedError, maybe_read_json, read_json};

const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
const CONFIG: &str = "tokenizer_config.json";

/// A tokenizer that adds the model's special tokens and cuts texts that are too long.
#[derive(Debug)]
pub(crate) struct Tokens {
    tokenizer: Tokenizer,
    pub(crate) max_tokens: usize,
}

#[derive(Deserialize, Default)]
struct Limit {
    /// The longest text in tokens; an absurdly large number where there is no limit.
    model_max_length: Option<f64>,
}

/// The settings of a tokenizer that is made from [`VOCABULARY`].
#[derive(Deserialize)]
struct WordPieceConfig {
    do_lower_case: bool,
    strip_accents: Option<bool>,
    #[serde(default = "yes")]
    tokenize_chinese_chars: bool,
}

fn yes() -> bool {
    true
}

impl Tokens {
    /// Reads `tokenizer.json`, or else makes the tokenizer of `vocab.txt`, and feeds `hash` with
    /// the files.
    ///
    /// Texts are cut at `wanted` tokens, or at the tokenizer's own limit, and in either case at
    /// `longest`, where the encoder's positions end. Its vocabulary may have at most `known`
    /// tokens.
    pub(crate) fn read(
        folder: &Path,
        wanted: Option<usize>,
        longest: usize,
        known: usize,
        hash: &mut Sha256,
    ) -> Result<Self, EmbedError> {
        let (path, mut tokenizer) = read_tokenizer(folder, hash)?;
        let size = tokenizer
            .get_vocab(true)
            .into_values()
            .max()
            .map_or(0, |id| id as usize + 1);
        if size > known {
            let problem = format!(
                "{size} tokens, the weights {known}; expected at most as many: it is another \
                 model's"
            );
            return Err(EmbedError::format(&path, problem));
        }
        let limit: Limit = maybe_read_json(&folder.join(CONFIG))?.unwrap_or_default();
        let own = limit.model_max_length.map(|limit| limit as usize);
        tokenizer.with_padding(None);
        let mut tokens = Self {
            tokenizer,
            max_tokens: 0,
        };
        let max_tokens = wanted.or(own).unwrap_or(longest).min(longest);
        tokens
            .cut_at(max_tokens)
            .map_err(|problem| EmbedError::format(folder, problem))?;
        Ok(tokens)
    }

    /// Keeps at most the first `max_tokens` tokens of a text, special ones included.
    fn cut_at(&mut self, max_tokens: usize) -> Result<(), String> {
        let special = self
            .tokenizer
            .encode_fast("", true)
            .map_err(|e| e.to_string())?
            .len();
        if max_tokens <= special {
            return Err(format!(
                "at most {max_tokens} tokens a text, of which {special} are special; expected more"
            ));
        }
        let truncation = TruncationParams {
            max_length: max_tokens,
            ..TruncationParams::default()
        };
        self.tokenizer
            .with_truncation(Some(truncation))
            .map_err(|e| e.to_string())?;
        self.max_tokens = max_tokens;
        Ok(())
    }

    /// The tokens of a text, special ones included.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let encoding = self
            .tokenizer
            .encode_fast(text, true)
            .map_err(|e| format!("the tokenizer failed: {e}"))?;
        Ok(encoding.get_ids().to_vec())
    }
}

fn read_tokenizer(folder: &Path, hash: &mut Sha256) -> Result<(PathBuf, Tokenizer), EmbedError> {
    let path = folder.join(TOKENIZER);
    if path.exists() {
        let text = files::read_text(&path)?;
        hash.update(&text);
        let tokenizer = text.parse();
        let bad = |e| {
            EmbedError::format(
                &path,
                format!("no tokenizer: {e}; expected a `{TOKENIZER}`"),
            )
        };
        return Ok((path.clone(), tokenizer.map_err(bad)?));
    }
    let path = folder.join(VOCABULARY);
    if !path.exists() {
        return Err(EmbedError::format(
            folder,
            format!("neither {TOKENIZER} nor {VOCABULARY} is there"),
        ));
    }
    let text = files::read_text(&path)?;
    let config_path = folder.join(CONFIG);
    let config: WordPieceConfig = read_json(&config_path)?;
    hash.update(&text);
    hash.update(files::read_text(&config_path)?);
    let tokenizer =
        word_piece(&text, &config).map_err(|e| EmbedError::format(&path, e.to_string()))?;
    Ok((path, tokenizer))
}

/// BERT's tokenizer, of a vocabulary with a token a line.
fn word_piece(vocabulary: &str, config: &WordPieceConfig) -> tokenizers::Result<Tokenizer> {
    let tokens = WordPiece::read_bytes(vocabulary.as_bytes())?;
    let id = |token: &str| {
        let missing = || format!("no line `{token}`; expected a vocabulary of BERT");
        Ok::<_, tokenizers::Error>((token.to_string(), *tokens.get(token).ok_or_else(missing)?))
    };
    let processing = BertProcessing::new(id("[SEP]")?, id("[CLS]")?);
    id("[UNK]")?;
    let mut tokenizer = Tokenizer::new(
        WordPiece::builder()
            .vocab(tokens)
            .unk_token("[UNK]".into())
            .build()?,
    );
    let WordPieceConfig {
        do_lower_case,
        strip_accents,
        tokenize_chinese_chars,
    } = *config;
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(
            true,
            tokenize_chinese_chars,
            strip_accents,
            do_lower_case,
        )))?
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_post_processor(Some(processing));
    let special =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(|token| AddedToken::from(token, true));
    let there: Vec<AddedToken> = special
        .into_iter()
        .filter(|token| tokenizer.token_to_id(&token.content).is_some())
        .collect();
    tokenizer.add_special_tokens(there)?;
    Ok(tokenizer)
}
