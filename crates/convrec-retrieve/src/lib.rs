//! Candidates for a conversation, by counting.
//!
//! A [`Scorer`] scores every item of a catalog for a conversation: [`PopularityScorer`],
//! [`CooccurrenceScorer`], [`WordScorer`], [`SimilarityScorer`], [`Bm25Scorer`], or a
//! [`MixedScorer`] of several with weights that somebody chose. A [`Retriever`] learns the weights
//! from conversations, and gives the most likely items as [`Candidates`](convrec_core::Candidates):
//!
//! ```
//! use convrec_catalog::Catalog;
//! use convrec_core::{CatalogItem, Example, Item, Turn};
//! use convrec_retrieve::Fitted;
//!
//! let film = |title: &str| CatalogItem {
//!     title: title.into(),
//!     year: Some(1990),
//!     genres: vec![],
//!     metadata: String::new(),
//! };
//! let catalog = Catalog::new(["Heat", "Ronin", "Alien", "Aliens"].map(film).to_vec())?;
//! let conversation = |n: usize, seen: &str, right: &str| Example {
//!     id: format!("dialog{n}-1"),
//!     dialog: vec![Turn::user("another one?")],
//!     seen: vec![Item::new(seen, 1990)],
//!     ground_truth: vec![Item::new(right, 1990)],
//! };
//! let pairs = [("Heat", "Ronin"), ("Alien", "Aliens")];
//! let training: Vec<Example> =
//!     (0..8).map(|n| conversation(n, pairs[n % 2].0, pairs[n % 2].1)).collect();
//!
//! let fitted = Fitted::fit(&catalog, &training)?;
//! let retriever = fitted.over(&catalog);
//! let candidates = retriever.candidates(&conversation(9, "Alien", ""), 2);
//! assert_eq!(catalog[candidates.items()[0]].title, "Aliens");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A training conversation's own dialog is left out of all counts when that conversation is scored
//! ([`Example::dialog_id`](convrec_core::Example::dialog_id)): nobody may know the answer. Results
//! do not depend on the number of threads.

mod conversation;
mod cooccurrence;
mod features;
mod file;
mod fit;
mod genres;
mod retriever;
mod scorer;
mod scorers;
mod similarity;
mod vectors;
mod word_vectors;
mod words;

pub use conversation::conversation_text;
pub use cooccurrence::{CooccurrenceScorer, PopularityScorer};
pub use file::RetrieverError;
pub use retriever::{Fitted, Retriever};
pub use scorer::{Bm25Scorer, MixedScorer, Scorer};
pub use scorers::Scorers;
pub use similarity::SimilarityScorer;
pub use words::WordScorer;
