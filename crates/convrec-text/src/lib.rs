//! Everything between strings and token ids.
//!
//! A policy answers a conversation with a text, one item a line. Two things are read from that
//! text: the items, which earn rewards, and the rank that each token belongs to, which is where the
//! rewards go. Here both come from **one parse**, so that the reward at rank k can only meet the
//! tokens of the item at rank k:
//!
//! ```
//! use convrec_text::segments::{Ending, Segmentation, until_end};
//! use convrec_text::{ListFormat, TextTokenizer, TrainConfig};
//!
//! let corpus = ["Heat (1995)\n", "Alien (1979)\n", "Try these:\n"];
//! let tokenizer = TextTokenizer::train(corpus.iter(), &TrainConfig { vocab_size: 300, ..Default::default() })?;
//! let end = tokenizer.special_id("<eos>")?;
//!
//! // What a policy sampled: ids, with padding behind the end token.
//! let mut ids = tokenizer.encode("Try these:\n\nHeat (1995)\nAlien (1979)\n")?;
//! ids.extend([end, end, end]);
//!
//! let (ids, ended) = until_end(&ids, end);
//! let list = ListFormat::default().parse(&tokenizer.decode(ids));
//! let segments = Segmentation::OneParse.segment(&list, ids.iter().map(|&id| tokenizer.token_bytes(id)), ended);
//!
//! assert_eq!(list.entries[1].item.title, "Alien");
//! let tokens_of_alien: Vec<u32> = (0..ids.len()).filter(|&t| segments.ranks[t] == 1).map(|t| ids[t]).collect();
//! assert_eq!(tokenizer.decode(&tokens_of_alien), "Alien (1979)\n");
//! assert_eq!(segments.ending(2), Ending::Complete);
//! # Ok::<(), convrec_text::TokenizerError>(())
//! ```
//!
//! | module or type | what it does |
//! |---|---|
//! | [`ListFormat`], [`ParsedList`] | lists as text: written, and read with the lines they stand on |
//! | [`segments`] | which rank each token belongs to |
//! | [`ListTrie`] | what may be written next so that a list cannot leave the catalog |
//! | [`TextTokenizer`] | byte-level BPE: trained, loaded, saved; the bytes of each token |
//! | [`PromptFormat`] | conversations as prompts of small policies trained from nothing |
//! | [`ChatFormat`], [`ChatTemplate`] | conversations as prompts of pretrained chat models |
//! | [`Prompter`] | prompts and completions as token ids, of either kind |
//! | [`parse`] | the reference's reading of a list, for parity |
//!
//! Nothing here fails on what a model wrote. Rewards, weights and tensors are not known here.

mod chat;
mod chat_format;
mod line;
mod list;
pub mod parse;
mod prompt;
mod prompter;
mod reasoning;
pub mod segments;
mod tokenizer;
mod train;
mod trie;
mod whitespace;

pub use chat::{ChatError, ChatTemplate};
pub use chat_format::ChatFormat;
pub use list::{ListFormat, ParsedEntry, ParsedList, Reason, Style, UnparsedLine, Years};
pub use prompt::PromptFormat;
pub use prompter::Prompter;
pub use reasoning::{Reasoning, strip_reasoning};
pub use tokenizer::{TextTokenizer, TokenizerError};
pub use train::TrainConfig;
pub use trie::{ListCursor, ListTrie, TrieError};
