//! A [`TextTokenizer`] from a tokenizer of the `tokenizers` crate.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{ModelWrapper, Tokenizer};

use super::parts::{self, Alphabet, listed};
use super::patterns::Watch;
use super::{Inner, TextTokenizer, Token};

/// Text that each tokenizer must keep: lines of lists.
const PROBE: &str = "The Heat (1995)\nA b\n";
/// The largest id. Ids may leave gaps, but not large ones, as there is a table of all ids.
const MAX_ID: usize = 1 << 20;

impl TextTokenizer {
    /// The error says what was found and expected.
    pub(crate) fn new(mut tokenizer: Tokenizer) -> Result<Self, String> {
        let mut notes = switch_off(&mut tokenizer)?;
        if !matches!(
            tokenizer.get_model(),
            ModelWrapper::BPE(_) | ModelWrapper::Unigram(_)
        ) {
            let problem = "the model is not BPE (or Unigram with byte fallback)";
            return Err(format!("{problem}; expected the tokenizer of a chat model"));
        }
        let alphabet = Alphabet::of(&parts::to_value(tokenizer.get_decoder())?)?;
        let normalizer = parts::to_value(tokenizer.get_normalizer())?;
        parts::check_growth(&normalizer)?;
        let watch = Watch::of(&[normalizer, parts::to_value(tokenizer.get_pre_tokenizer())?])?;
        tokenizer.set_encode_special_tokens(false);
        let inner = without_prefix(&tokenizer)?;
        if inner.is_some() {
            let note = "the space in front of a text is written at the beginning of prompts only";
            notes.push(note.into());
        }
        let tokens = token_table(&tokenizer, alphabet)?;
        let mut added: Vec<(String, u32)> = tokenizer
            .get_added_tokens_decoder()
            .into_iter()
            .map(|(id, token)| (token.content, id))
            .collect();
        added.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        let is_special = |(_, id): &&(String, u32)| tokens[*id as usize].is_special;
        let specials = added.iter().filter(is_special);
        let specials = specials.map(|(token, _)| token.clone()).collect();
        let mut plain = inner.clone().unwrap_or_else(|| tokenizer.clone());
        plain.set_encode_special_tokens(true);
        let this = Self(Arc::new(Inner {
            plain,
            marked: tokenizer,
            inner,
            tokens,
            specials,
            added,
            notes,
            watch,
            sha256: OnceLock::new(),
        }));
        this.check_text()?;
        Ok(this)
    }

    /// Refuses tokenizers that change lines.
    fn check_text(&self) -> Result<(), String> {
        let ids = self.encode(PROBE).map_err(|e| e.to_string())?;
        let found = self.decode(&ids);
        if found == PROBE {
            return Ok(());
        }
        let marked = &self.0.marked;
        Err(format!(
            "it changes text: the tokens of {PROBE:?} stand for {found:?}; its normalizer is {}, \
             its pre-tokenizer {}; expected a tokenizer that keeps case, spaces and line feeds",
            listed(&parts::to_value(marked.get_normalizer())?),
            listed(&parts::to_value(marked.get_pre_tokenizer())?),
        ))
    }
}

/// Switches off dropout, truncation and padding, which make tokens of a text differ.
fn switch_off(tokenizer: &mut Tokenizer) -> Result<Vec<String>, String> {
    let mut notes = vec![];
    if tokenizer.get_padding().is_some() {
        tokenizer.with_padding(None);
        notes.push("padding is switched off".to_string());
    }
    if tokenizer.get_truncation().is_some() {
        tokenizer
            .with_truncation(None)
            .map_err(|e| format!("truncation cannot be switched off: {e}"))?;
        notes.push("truncation is switched off".into());
    }
    let model = match tokenizer.get_model() {
        ModelWrapper::BPE(model) if model.dropout.is_some_and(|share| share != 0.0) => {
            let mut model = model.clone();
            let share = model.dropout.take().unwrap_or_default();
            notes.push(format!(
                "the dropout of BPE merges ({share}) is switched off"
            ));
            Some(ModelWrapper::BPE(model))
        }
        ModelWrapper::Unigram(model) if model.alpha.is_some_and(|alpha| alpha != 0.0) => {
            let mut model = model.clone();
            model.alpha = None;
            notes.push("the sampling of Unigram pieces is switched off".into());
            Some(ModelWrapper::Unigram(model))
        }
        _ => None,
    };
    if let Some(model) = model {
        tokenizer.with_model(model);
    }
    Ok(notes)
}

/// The tokenizer without a space in front of texts; `None` where it puts none there.
fn without_prefix(tokenizer: &Tokenizer) -> Result<Option<Tokenizer>, String> {
    let mut normalizer = parts::to_value(tokenizer.get_normalizer())?;
    let mut pre_tokenizer = parts::to_value(tokenizer.get_pre_tokenizer())?;
    let removed = [&mut normalizer, &mut pre_tokenizer].map(parts::remove_prefix);
    if removed == [false, false] {
        return Ok(None);
    }
    let mut inner = tokenizer.clone();
    let normalizer = parts::from_value::<tokenizers::NormalizerWrapper>(normalizer)?;
    inner
        .with_normalizer(normalizer)
        .map_err(|e| e.to_string())?;
    let pre_tokenizer = parts::from_value::<tokenizers::PreTokenizerWrapper>(pre_tokenizer)?;
    inner.with_pre_tokenizer(pre_tokenizer);
    Ok(Some(inner))
}

fn token_table(tokenizer: &Tokenizer, alphabet: Alphabet) -> Result<Vec<Token>, String> {
    let vocabulary = tokenizer.get_vocab(true);
    let largest = vocabulary.values().max().map_or(0, |id| *id as usize);
    let limit = MAX_ID.max(4 * vocabulary.len());
    if largest >= limit {
        return Err(format!(
            "the largest id of its {} tokens is {largest}; expected less than {limit}",
            vocabulary.len()
        ));
    }
    let added = tokenizer.get_added_tokens_decoder();
    let symbols = byte_symbols();
    let mut tokens = vec![Token::default(); largest + usize::from(!vocabulary.is_empty())];
    for (text, id) in vocabulary {
        let added = added.get(&id);
        let bytes = match alphabet {
            Alphabet::ByteLevel => byte_level(text, &symbols),
            // Added tokens are text as they stand.
            Alphabet::SentencePiece(_) if added.is_some() => text.into_bytes(),
            Alphabet::SentencePiece(mark) => sentence_piece(&text, mark),
        };
        tokens[id as usize] = Token {
            bytes: bytes.into(),
            is_special: added.is_some_and(|token| token.special),
        };
    }
    Ok(tokens)
}

/// The bytes of a token, as the decoder gives them. A token with any symbol that stands for no byte
/// is text itself.
fn byte_level(text: String, symbols: &HashMap<char, u8>) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| symbols.get(&c).copied()).collect();
    bytes.unwrap_or_else(|| text.into_bytes())
}

fn sentence_piece(text: &str, mark: char) -> Vec<u8> {
    let hex = text
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'));
    match hex
        .filter(|hex| hex.len() == 2)
        .map(|hex| u8::from_str_radix(hex, 16))
    {
        Some(Ok(byte)) => vec![byte],
        _ => text.replace(mark, " ").into_bytes(),
    }
}

/// The byte that each symbol of a byte-level vocabulary stands for.
///
/// Printable bytes stand for themselves. The others stand, in order, for the characters from U+0100
/// on.
fn byte_symbols() -> HashMap<char, u8> {
    let mut next = 0x100;
    let symbols: HashMap<char, u8> = (0..=255u8)
        .map(|byte| {
            let is_printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
            let code = if is_printable { byte.into() } else { next };
            next += u32::from(!is_printable);
            (char::from_u32(code).unwrap_or_default(), byte)
        })
        .collect();
    debug_assert_eq!(ByteLevel::alphabet().len(), symbols.len());
    symbols
}
