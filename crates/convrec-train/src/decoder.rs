//! A small decoder from nothing: its shape, its tokenizer, and the first vectors of its items.

use burn::tensor::Device;
use convrec_catalog::{Catalog, Embeddings};
use convrec_config::{ConfigError, check};
use convrec_core::{CatalogItem, Demonstration};
use convrec_policy::{ModelConfig, Policy};
use convrec_text::{
    ListFormat, PromptFormat, SemanticIds, TextTokenizer, TokenizerError, TrainConfig,
};
use serde::{Deserialize, Serialize};

use crate::item_factors::item_factors;
use crate::model::ModelError;
use crate::semantic_ids::semantic_ids;
use crate::task::Task;

/// How large the logits of a new decoder are behind a retriever, whose scores they are added to.
const QUIET: f32 = 0.02;

/// The shape of a new decoder: the table `[decoder]` of a config file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Decoder {
    /// The number of tokens in the vocabulary, without those of titles and of semantic ids.
    pub vocabulary: usize,
    /// Whether each line of the catalog is a token of its own.
    pub title_tokens: bool,
    /// Whether an item is a short sequence of codes ([`semantic_ids`]).
    pub semantic_ids: bool,
    /// The levels of semantic ids: codes of each item, without those that tell equal ones apart.
    pub semantic_levels: usize,
    /// The most codes at each level; catalogs of fewer than its square have fewer.
    pub semantic_codes: usize,
    /// Whether the embeddings of the titles begin as vectors of items that are listed together
    /// ([`item_factors`]). It needs `title_tokens`.
    pub item_vectors: bool,
    /// The most tokens of the dialog that a prompt holds; the last ones are kept.
    pub dialog_tokens: usize,
    /// The width of the hidden states.
    pub width: usize,
    /// The number of blocks.
    pub layers: usize,
    /// The number of attention heads.
    pub heads: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        let dialog_tokens = PromptFormat::default().max_dialog_tokens;
        let (title_tokens, semantic_ids, item_vectors) = (false, false, false);
        Self {
            vocabulary: 8192,
            title_tokens,
            semantic_ids,
            semantic_levels: 3,
            semantic_codes: 256,
            item_vectors,
            dialog_tokens,
            width: 256,
            layers: 4,
            heads: 4,
        }
    }
}

impl Decoder {
    /// Checks the shape.
    ///
    /// # Errors
    /// [`ConfigError`] when the shape is impossible, when `item_vectors` is set without
    /// `title_tokens`, and when `semantic_ids` is set beside it.
    pub fn check(&self) -> Result<(), ConfigError> {
        let heads = self.heads.max(1);
        let width = format!("a multiple of {}, twice the heads", 2 * heads);
        let rules = [
            (
                "semantic_ids",
                !(self.semantic_ids && self.title_tokens),
                "either `semantic_ids` or `title_tokens`, not both: an item is either some codes \
                 or one token",
            ),
            (
                "semantic_levels",
                (1..=8).contains(&self.semantic_levels),
                "1 to 8",
            ),
            (
                "semantic_codes",
                (2..=1 << 16).contains(&self.semantic_codes),
                "2 to 65536",
            ),
            ("dialog_tokens", self.dialog_tokens > 0, "at least 1"),
            ("layers", self.layers > 0, "at least 1"),
            ("heads", self.heads > 0, "at least 1"),
            (
                "width",
                self.width > 0 && self.width.is_multiple_of(2 * heads),
                width.as_str(),
            ),
            (
                "item_vectors",
                !self.item_vectors || self.title_tokens,
                "`title_tokens = true` with it, as the vectors are those of the titles' tokens",
            ),
        ];
        check(self, &rules).map_err(|e| e.within("decoder"))
    }

    /// The semantic ids of a catalog's items, where this decoder has such: [`semantic_ids`].
    ///
    /// # Panics
    /// When there are other embeddings than one for each item.
    #[must_use]
    pub fn semantic_ids(
        &self,
        catalog: &Catalog,
        demonstrations: &[Demonstration],
        embeddings: Option<&Embeddings>,
        seed: u64,
    ) -> Option<SemanticIds> {
        let size = [self.semantic_levels, self.semantic_codes];
        let learn = || semantic_ids(catalog, demonstrations, embeddings, size, seed);
        self.semantic_ids.then(learn)
    }

    /// A tokenizer trained on catalog lines, on items as conversations name them, and on the turns
    /// of users. It has the tokens of semantic ids too, where there are such.
    ///
    /// # Errors
    /// [`TokenizerError`] when the vocabulary is too small.
    pub fn tokenizer(
        &self,
        catalog: &Catalog,
        demonstrations: &[Demonstration],
        semantic_ids: Option<&SemanticIds>,
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
        let mut config = TrainConfig {
            lines,
            ..TrainConfig::default()
        };
        let codes = semantic_ids.map(SemanticIds::tokens).unwrap_or_default();
        config.vocab_size = self.vocabulary + codes.len();
        config.special_tokens.extend(codes);
        TextTokenizer::train(corpus.iter(), &config)
    }

    /// A policy of this shape for a task with the tokenizer that this decoder trained. The weights
    /// are drawn by `seed`. Behind a retriever the policy begins quiet, so that it lists what the
    /// retriever ranks first.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when the tokenizer is another one, [`ModelError::Weights`] when
    /// the shape is impossible.
    pub fn policy(
        &self,
        task: &Task,
        demonstrations: &[Demonstration],
        seed: u64,
        device: &Device,
    ) -> Result<Policy, ModelError> {
        let vocabulary = task.prompter().tokenizer().vocab_size();
        let shape = ModelConfig::small(vocabulary, self.width, self.layers, self.heads);
        let shape = ModelConfig {
            end_tokens: vec![task.prompter().end()],
            ..shape
        };
        let policy = Policy::new(&shape, seed, device).map_err(impossible)?;
        let policy = match task.has_retriever() {
            true => policy.with_output_scale(QUIET),
            false => policy,
        };
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
        let rec = tokenizer.special_id("<rec>")?;
        policy.with_item_vectors(&vectors, rec).map_err(impossible)
    }
}

fn impossible(error: convrec_policy::ConfigError) -> ModelError {
    ModelError::Format {
        path: "[decoder]".into(),
        problem: error.to_string(),
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
    fn vectors_need_titles_which_are_no_codes_and_heads_divide_the_width() {
        let error = |decoder: Decoder| decoder.check().unwrap_err().field;
        Decoder::default().check().unwrap();
        let item_vectors = true;
        let vectors = Decoder {
            item_vectors,
            ..Decoder::default()
        };
        assert_eq!(error(vectors), "decoder.item_vectors");
        let both = Decoder {
            semantic_ids: true,
            title_tokens: true,
            ..Decoder::default()
        };
        assert_eq!(error(both), "decoder.semantic_ids");
        let odd = Decoder {
            width: 30,
            ..Decoder::default()
        };
        assert_eq!(error(odd), "decoder.width");
    }
}
