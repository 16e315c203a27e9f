//! Everything between strings and token ids.
//!
//! A policy answers a conversation with a text, one item a line. Two things are read from that
//! text: the items, which earn rewards, and the rank of each token, which receives them. Both come
//! from **one parse** here. The reward at rank k can therefore only meet the tokens of the item at
//! rank k:
//!
//! ```
//! use convrec_text::segments::{Ending, Segmentation, until_end};
//! use convrec_text::{ListFormat, TextTokenizer, TrainConfig};
//!
//! let corpus = ["Heat (1995)\n", "Alien (1979)\n", "Try these:\n"];
//! let config = TrainConfig { vocab_size: 300, ..TrainConfig::default() };
//! let tokenizer = TextTokenizer::train(corpus.iter(), &config)?;
//! let end = tokenizer.special_id("<eos>")?;
//!
//! // A policy sampled these ids, with padding behind the end token.
//! let mut ids = tokenizer.encode("Try these:\n\nHeat (1995)\nAlien (1979)\n")?;
//! ids.extend([end, end, end]);
//!
//! let (ids, ended) = until_end(&ids, end);
//! let list = ListFormat::default().parse(&tokenizer.decode(ids));
//! let bytes = ids.iter().map(|&id| tokenizer.token_bytes(id));
//! let segments = Segmentation::OneParse.segment(&list, bytes, ended);
//!
//! assert_eq!(list.entries[1].item.title, "Alien");
//! let is_alien = |(_, rank): &(&u32, &i32)| **rank == 1;
//! let tokens_of_alien = ids.iter().zip(&segments.ranks).filter(is_alien);
//! let tokens_of_alien: Vec<u32> = tokens_of_alien.map(|(id, _)| *id).collect();
//! assert_eq!(tokenizer.decode(&tokens_of_alien), "Alien (1979)\n");
//! assert_eq!(segments.ending(2), Ending::Complete);
//! # Ok::<(), convrec_text::TokenizerError>(())
//! ```
//!
//! | module or type | purpose |
//! |---|---|
//! | [`ListFormat`], [`ParsedList`] | lists as text, written and read with their lines |
//! | [`strip_reasoning`] | the answer in a text in which a model also reasons |
//! | [`segments`] | the rank of each token |
//! | [`ListTrie`], [`ListCursor`] | constrained decoding: lists that stay in the catalog |
//! | [`TextTokenizer`] | byte-level and SentencePiece tokenizers; the bytes of each token |
//! | [`PromptFormat`] | conversations as prompts of small policies trained from scratch |
//! | [`ChatFormat`], [`ChatTemplate`] | conversations as prompts of pretrained chat models |
//! | [`SemanticIds`] | items as short sequences of codes |
//! | [`Prompter`] | prompts and completions as token ids, of either kind |
//! | [`parse`] | the reference's reading of a list, for parity |
//!
//! The trie needs no tokenizer and no tensors of this workspace: see
//! [`ListTrie::from_token_ids`] and [`ListCursor::mask`].
//!
//! Nothing here fails on a model's output. The crate does not know rewards, weights and tensors.

mod chat;
mod chat_format;
mod json_list;
mod line;
mod list;
pub mod parse;
mod prompt;
mod prompter;
mod reasoning;
pub mod segments;
mod semantic_ids;
mod tokenizer;
mod train;
mod trie;
mod whitespace;

pub use chat::{ChatError, ChatTemplate};
pub use chat_format::ChatFormat;
pub use list::{
    ListFormat, ParsedEntry, ParsedList, Reason, Style, UnparsedLine, Years, whole_lines,
};
pub use prompt::PromptFormat;
pub use prompter::Prompter;
pub use reasoning::{Reasoning, strip_reasoning};
pub use semantic_ids::SemanticIds;
pub use tokenizer::{TextTokenizer, TokenizerError};
pub use train::TrainConfig;
pub use trie::{ListCursor, ListTrie, NotAllowed, TrieError};
