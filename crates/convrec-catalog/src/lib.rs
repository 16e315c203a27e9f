//! The catalog: which items exist, what a name means, which ranks of a list are right, and what they are worth.
//!
//! A model names items as text, `Heat (1995)`; a catalog holds items with ids. This crate is the bridge, in three steps:
//!
//! 1. **Lookup.** [`Catalog::resolve`] says which item a name means: exactly, after [normalisation](normalise()) of the
//!    title, within some years, or not at all.
//! 2. **Matching.** [`relevance`] marks the ranks of a list that are right: in the ground truth, not seen before, and not
//!    credited at an earlier rank.
//! 3. **Rewards.** [`rewards`] turns the marks into one number per rank, or one per list.
//!
//! ```
//! use convrec_catalog::{Catalog, YEAR_TOLERANCE, relevance, rewards::RankReward};
//! use convrec_core::{Item, jsonl};
//!
//! let lines = r#"
//!     {"title": "Heat", "year": 1995}
//!     {"title": "Die Straße", "year": 1954}
//!     {"title": "Dune", "year": 1984}
//!     {"title": "Dune", "year": 2021}"#;
//! let catalog = Catalog::new(jsonl::read(lines.as_bytes(), "films.jsonl")?)?;
//! let find = |item: &Item| catalog.find_within(item, YEAR_TOLERANCE);
//!
//! // What the model wrote. The second film does not exist, and the last one is a repetition.
//! let list = [
//!     Item::new("Dune", 1984),
//!     Item::new("Dune Messiah", 2026),
//!     Item::new("DIE STRASSE", 1955),
//!     Item::new("Die Straße", 1954),
//! ];
//! let list: Vec<_> = list.iter().map(find).collect();
//!
//! // What was right, and what had been seen: another film than the one in the list.
//! let groundtruth: Vec<_> = [Item::new("Die Straße", 1954), Item::new("Dune", 1984)].iter().filter_map(find).collect();
//! let seen = catalog.may_mean(&Item::new("Dune", 2021), YEAR_TOLERANCE);
//!
//! let relevant = relevance(&list, &groundtruth, &seen);
//! assert_eq!(relevant, [true, false, true, false]);
//! assert_eq!(RankReward::LogDecay.rewards(&relevant), [1.5, 0.5, 0.5, 0.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`mod@reference`] holds the matching rule of the paper's public code, for comparable numbers. To *find* items rather than
//! to recognise them, there are [`Bm25`] (by words) and [`Embeddings`] (by meaning), with one [`top_k`].
//!
//! Everything here is exact and deterministic. The crate knows nothing of prompts, tokens or models.

mod bm25;
mod catalog;
mod embeddings;
mod fuzzy;
mod matching;
mod normalise;
pub mod reference;
mod resolve;
pub mod rewards;
#[cfg(test)]
mod testing;
mod top_k;

pub use bm25::{Bm25, ENGLISH_STOP_WORDS};
pub use catalog::{Catalog, CatalogError, YEAR_TOLERANCE};
pub use embeddings::{Embeddings, EmbeddingsError};
pub use fuzzy::{CONFIDENT, Candidate, FEATURES, Features, FuzzyIndex, Guess, N_FEATURES};
pub use matching::{relevance, relevance_of_names};
pub use normalise::normalise;
pub use resolve::Resolution;
pub use top_k::top_k;
