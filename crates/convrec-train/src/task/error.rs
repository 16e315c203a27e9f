use convrec_catalog::ExampleError;
use convrec_core::Item;
use convrec_text::{ChatError, TrieError};

/// An example does not fit the catalog, or its prompt cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// An item that no list from the catalog can hold.
    #[error(
        "sample `{id}`, field `{field}`: \"{item}\" is not in the catalog; add it, or remove it from the sample"
    )]
    NotInCatalog {
        /// The sample.
        id: String,
        /// `list` of a demonstration.
        field: &'static str,
        /// The item.
        item: Item,
    },
    /// A relevant item is not in the catalog, or means several items.
    #[error(transparent)]
    Example(#[from] ExampleError),
    /// Too few items are left for a constrained list.
    #[error("sample `{id}`, field `seen`: {source}")]
    NoList {
        /// The sample.
        id: String,
        /// Why.
        source: TrieError,
    },
    /// The prompt does not fit the model, even with the last turn alone.
    #[error(
        "sample `{id}`: its last turn makes a prompt of {found} tokens, expected at most {most} beside a list; shorten it, or \
         take a model with more positions (`max_position_embeddings`)"
    )]
    TooLong {
        /// The sample.
        id: String,
        /// Tokens of the shortest prompt.
        found: usize,
        /// Tokens that fit.
        most: usize,
    },
    /// The tokenizer failed on a text of the sample, or the chat template refused it.
    #[error("sample `{id}`: {source}")]
    Prompt {
        /// The sample.
        id: String,
        /// Why.
        source: ChatError,
    },
}
