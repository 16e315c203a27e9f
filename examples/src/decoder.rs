//! A small decoder from nothing: its shape, its tokenizer, and what its items begin as.

use std::error::Error;

use burn::tensor::Device;
use clap::Args;
use convrec_catalog::Catalog;
use convrec_core::{CatalogItem, Demonstration};
use convrec_policy::{ModelConfig, Policy};
use convrec_text::{ListFormat, PromptFormat, TextTokenizer, TokenizerError, TrainConfig};
use convrec_train::Task;
use serde::{Deserialize, Serialize};

use crate::factors::item_factors;
use crate::settings::set;

/// The shape of a new decoder, `[decoder]` in a config file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoder {
    /// Tokens in the vocabulary, those of titles not counted.
    pub vocabulary: usize,
    /// Whether every line of the catalog is one token more.
    pub title_tokens: bool,
    /// Whether the titles' embeddings begin as vectors of their items.
    pub item_vectors: bool,
    /// Tokens of the dialog that a prompt holds, at most: the last ones.
    pub dialog_tokens: usize,
    /// Width.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
}

/// The flags that change it.
#[derive(Debug, Default, PartialEq, Args)]
pub struct DecoderOptions {
    /// Tokens in the vocabulary. [default: 8192]
    #[arg(long)]
    pub vocabulary: Option<usize>,
    /// Makes every line of the catalog one token more.
    #[arg(long)]
    pub title_tokens: bool,
    /// Begins with a recommender in the policy: the titles' embeddings are vectors that say which
    /// items are listed where which were seen, and the first block looks them up. With
    /// --title-tokens.
    #[arg(long)]
    pub item_vectors: bool,
    /// Tokens of the dialog that a prompt holds, at most: the last ones. [default: 64]
    #[arg(long)]
    pub dialog_tokens: Option<usize>,
    /// Width of the decoder. [default: 256]
    #[arg(long)]
    pub width: Option<usize>,
    /// Blocks of the decoder. [default: 4]
    #[arg(long)]
    pub layers: Option<usize>,
    /// Attention heads. [default: 4]
    #[arg(long)]
    pub heads: Option<usize>,
}

impl Default for Decoder {
    fn default() -> Self {
        let dialog_tokens = PromptFormat::default().max_dialog_tokens;
        let (title_tokens, item_vectors) = (false, false);
        Self {
            vocabulary: 8192,
            title_tokens,
            item_vectors,
            dialog_tokens,
            width: 256,
            layers: 4,
            heads: 4,
        }
    }
}

impl Decoder {
    /// With what the flags say.
    ///
    /// # Errors
    /// When the shape is impossible, or there are to be vectors for items that have no token.
    pub fn set(&mut self, flags: &DecoderOptions) -> Result<(), String> {
        set(&mut self.vocabulary, flags.vocabulary);
        set(&mut self.dialog_tokens, flags.dialog_tokens);
        set(&mut self.width, flags.width);
        set(&mut self.layers, flags.layers);
        set(&mut self.heads, flags.heads);
        self.title_tokens |= flags.title_tokens;
        self.item_vectors |= flags.item_vectors;
        let wrong = |field: &str, found: usize, expected: &str| {
            Err(format!(
                "config, field `decoder.{field}`: {found}; expected {expected}"
            ))
        };
        for (field, found) in [
            ("dialog_tokens", self.dialog_tokens),
            ("layers", self.layers),
            ("heads", self.heads),
        ] {
            if found == 0 {
                return wrong(field, found, "at least 1");
            }
        }
        if self.width == 0 || !self.width.is_multiple_of(2 * self.heads) {
            return wrong(
                "width",
                self.width,
                &format!("a multiple of twice the heads, {}", 2 * self.heads),
            );
        }
        if self.item_vectors && !self.title_tokens {
            return Err(
                "config, field `decoder.item_vectors`: expected `title_tokens = true` (--title-tokens) with it, as \
                        vectors are those of titles' tokens"
                    .into(),
            );
        }
        Ok(())
    }

    /// A tokenizer trained on catalog lines, on items as conversations name them, and on what
    /// people wrote.
    ///
    /// # Errors
    /// When the vocabulary is too small.
    pub fn tokenizer(
        &self,
        catalog: &Catalog,
        demonstrations: &[Demonstration],
    ) -> Result<TextTokenizer, TokenizerError> {
        let examples = || {
            demonstrations
                .iter()
                .map(|demonstration| &demonstration.example)
        };
        let mut corpus: Vec<String> = catalog
            .iter()
            .map(|(_, item)| format!("{}\n", item.item()))
            .collect();
        corpus.extend(
            examples()
                .flat_map(|x| x.seen.iter().chain(&x.ground_truth))
                .map(|item| format!("{item}\n")),
        );
        corpus.extend(
            examples()
                .filter_map(|x| x.dialog.last())
                .map(|turn| turn.content.clone()),
        );
        let lines = catalog
            .iter()
            .filter(|_| self.title_tokens)
            .map(|(_, item)| line(item))
            .collect();
        TextTokenizer::train(
            corpus.iter(),
            &TrainConfig {
                vocab_size: self.vocabulary,
                lines,
                ..TrainConfig::default()
            },
        )
    }

    /// A policy of this shape with weights drawn by `seed`.
    ///
    /// # Errors
    /// When the shape is impossible.
    pub fn policy(
        &self,
        task: &Task,
        demonstrations: &[Demonstration],
        seed: u64,
        device: &Device,
    ) -> Result<Policy, Box<dyn Error>> {
        let vocabulary = task.prompter().tokenizer().vocab_size();
        let shape = ModelConfig::small(vocabulary, self.width, self.layers, self.heads);
        let shape = ModelConfig {
            end_tokens: vec![task.prompter().end()],
            ..shape
        };
        let policy = Policy::new(&shape, seed, device)?;
        if !self.item_vectors {
            return Ok(policy);
        }
        let (catalog, tokenizer) = (task.catalog(), task.prompter().tokenizer());
        let vectors = item_factors(catalog, demonstrations, self.width.saturating_sub(2));
        let token = |item: &CatalogItem| Ok(tokenizer.encode(&line(item))?[0]);
        let tokens = catalog
            .iter()
            .map(|(_, item)| token(item))
            .collect::<Result<Vec<u32>, TokenizerError>>()?;
        let vectors: Vec<(u32, Vec<f32>)> = tokens.into_iter().zip(vectors).collect();
        Ok(policy.with_item_vectors(&vectors, tokenizer.special_id("<rec>")?)?)
    }
}

/// An item's line in a list.
fn line(item: &CatalogItem) -> String {
    ListFormat::default().line(0, &item.item())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_before_the_file_and_vectors_need_titles() {
        let mut decoder = Decoder {
            title_tokens: true,
            width: 64,
            layers: 3,
            ..Decoder::default()
        };
        let flags = DecoderOptions {
            width: Some(32),
            item_vectors: true,
            ..DecoderOptions::default()
        };
        decoder.set(&flags).unwrap();
        let expected = Decoder {
            title_tokens: true,
            item_vectors: true,
            width: 32,
            layers: 3,
            ..Decoder::default()
        };
        assert_eq!(decoder, expected);
        let error = Decoder::default().set(&flags).unwrap_err();
        assert!(error.contains("`decoder.item_vectors`"), "{error}");
    }
}
