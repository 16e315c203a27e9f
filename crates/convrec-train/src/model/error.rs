use std::path::PathBuf;

use convrec_core::{files, jsonl};
use convrec_policy::WeightsError;
use convrec_retrieve::RetrieverError;
use convrec_text::{ChatError, TokenizerError, TrieError};

/// A model cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// There is no folder or model of this name.
    #[error("{name}: there is no such folder, expected a model's folder{}", hub_hint(.name))]
    NotFound {
        /// The name.
        name: String,
    },
    /// The folder is no model's folder.
    #[error(
        "{path}: there is no tokenizer.json, expected a model's folder as `train_sft` leaves it or \
         as a chat model is published; a `checkpoint-...` folder of a run holds only what \
         `--resume` needs"
    )]
    NotAModel {
        /// The folder.
        path: PathBuf,
    },
    /// `task.json`, or another small file of the folder, is wrong.
    #[error("{path}: {problem}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found and what is expected.
        problem: String,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The tokenizer cannot be read, written or used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The retriever of the folder cannot be read or written.
    #[error(transparent)]
    Retriever(#[from] RetrieverError),
    /// The semantic ids of the folder cannot be read.
    #[error(transparent)]
    SemanticIds(#[from] jsonl::Error),
    /// The chat template cannot be read or does not write usable prompts.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The weights cannot be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The tokenizer has more tokens than the weights.
    #[error(
        "{path}: tokenizer.json has {tokens} tokens, expected at most the {known} that the weights \
         know; the tokenizer is of another model"
    )]
    Vocabulary {
        /// The folder.
        path: PathBuf,
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Tokens that the weights have rows for.
        known: usize,
    },
    /// Lists cannot be constrained to the catalog.
    #[error(transparent)]
    Trie(#[from] TrieError),
    /// No prompt fits beside the longest list.
    #[error(
        "a list may take {list} tokens, expected fewer than the {positions} positions of the model \
         (`max_position_embeddings`); lower `n_ranks` or `max_new_tokens` in task.json, or take \
         another model"
    )]
    NoRoom {
        /// Tokens of the longest list.
        list: usize,
        /// Positions of the model.
        positions: usize,
    },
    /// The hub has no such model, or cannot be reached.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] convrec_policy::HubError),
}

fn hub_hint(name: &str) -> &'static str {
    match super::source::is_hub_name(name) {
        true if cfg!(feature = "hub") => "",
        true => "; build with the feature `hub` to fetch a model by its name on the hub",
        false => " or a name on the hub, as in `org/name`",
    }
}
