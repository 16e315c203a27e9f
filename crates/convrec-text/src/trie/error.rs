//! Why there is no trie.

use convrec_core::{Item, ItemId, files};

use crate::tokenizer::TokenizerError;

/// No list can be written as asked, or the trie cannot be had from its file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrieError {
    /// The tokenizer failed on an item's line, or changes it.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// N is 0.
    #[error("`n_ranks` is 0; expected lists of at least one item")]
    NoRanks,
    /// Two items have the same tokens, or the tokens of one begin those of the other.
    #[error(
        "{first} and {second} cannot be told apart: {why}; remove one of them from the catalog, \
         name it differently, treat likely twins as one (`--merge-twins`, `Catalog::merge_twins`), \
         or give a separator that no item holds"
    )]
    Ambiguous {
        /// The item whose tokens begin those of the other, as it is named in messages.
        first: String,
        /// The other item, as it is named in messages.
        second: String,
        /// The two items.
        items: [ItemId; 2],
        /// What their tokens have in common.
        why: String,
    },
    /// The tokenizer drops an item's whole line.
    #[error("{0} has no tokens; remove it from the catalog, or name it differently")]
    NoTokens(String),
    /// The end token is one of an item's own.
    #[error(
        "the end token {end} is among the tokens of {item}, so no list could be told from its \
         beginning; take a special token"
    )]
    EndInside {
        /// The token.
        end: u32,
        /// The item, as it is named in messages.
        item: String,
    },
    /// Items are written by their semantic ids, and some have none.
    #[error(
        "{missing} of {all} items have no semantic id, \"{item}\" first; expected a catalog of items \
         that the model was trained with: leave the others out, or train a model over this catalog"
    )]
    NoSemanticId {
        /// The number of items without one.
        missing: usize,
        /// The items in the catalog.
        all: usize,
        /// The first of them.
        item: Item,
    },
    /// More items are wanted than there are.
    #[error(
        "a list of {wanted} items cannot be made of {left}: there are {all} in the catalog, and \
         the others are excluded; ask for shorter lists (`n_ranks`), or add items"
    )]
    TooFew {
        /// N.
        wanted: usize,
        /// The items that are not excluded. Twins count once.
        left: usize,
        /// The items in the catalog. Twins count once.
        all: usize,
    },
    /// None of the candidates of a list is left.
    #[error(
        "none of the {given} candidates can be listed; expected at least one item of the catalog \
         that was not seen"
    )]
    NoCandidates {
        /// The number of candidates.
        given: usize,
    },
    /// A group of twins names an item that the trie does not hold, or names an item twice.
    #[error(
        "twins: {id:?} is in two groups or is no item of the trie; expected each of its {all} \
         items in at most one group"
    )]
    Twins {
        /// The item.
        id: ItemId,
        /// The items in the trie.
        all: usize,
    },
    /// The arrays count in 32 bits.
    #[error(
        "the lines of {0} items have more than four billion tokens; expected a smaller catalog"
    )]
    TooLarge(usize),
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file holds no trie, or a damaged one.
    #[error("{file}: {problem}; make it anew")]
    Damaged {
        /// The file, as the caller named it.
        file: String,
        /// What was found and expected.
        problem: String,
    },
    /// The file's trie was made from something else.
    #[error(
        "{file} was made from something else: {problem}; make it anew, or give what it was made \
         from"
    )]
    Differs {
        /// The file, as the caller named it.
        file: String,
        /// All that differs.
        problem: String,
    },
}
