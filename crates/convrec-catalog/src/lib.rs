//! The catalog of items, the meaning of names, and the relevance of the ranks of a list.
//!
//! A model names items as text, `Heat (1995)`; a catalog holds items with ids. This crate connects
//! them in two steps:
//!
//! 1. **Lookup.** [`Catalog::resolve`] says which item a name means: exactly, after
//!    [normalisation](normalise()) of the title, within some years, or not at all.
//! 2. **Matching.** [`relevance`] marks the ranks of a list that are relevant: in the ground truth,
//!    not seen before, and not credited at an earlier rank.
//!
//! The crate `convrec-metrics` turns the marks into rewards and measures.
//!
//! ```
//! use convrec_catalog::{Catalog, YEAR_TOLERANCE, relevance};
//! use convrec_core::{Item, jsonl};
//! use convrec_metrics::rewards::RankReward;
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
//! // The ground truth, and what had been seen: another film than the one in the list.
//! let ground_truth: Vec<_> = [Item::new("Die Straße", 1954), Item::new("Dune", 1984)]
//!     .iter()
//!     .filter_map(find)
//!     .collect();
//! let seen = catalog.may_mean(&Item::new("Dune", 2021), YEAR_TOLERANCE);
//!
//! let relevant = relevance(&list, &ground_truth, &seen);
//! assert_eq!(relevant, [true, false, true, false]);
//! assert_eq!(
//!     RankReward::LogDecay.rewards(&relevant),
//!     [1.5, 0.5, 0.5, 0.0]
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Inexact names.** Models and people do not write titles as a catalog does.
//! [`FuzzyIndex::resolve`] gives the item that the exact rules find, else the most similar item,
//! with a confidence. The confidence is low where nothing is similar enough, or where two items
//! are. Asking for [`CONFIDENT`] then gives none:
//!
//! ```
//! use convrec_catalog::{CONFIDENT, Catalog, FuzzyIndex, YEAR_TOLERANCE};
//! use convrec_core::{Item, jsonl};
//!
//! let lines = r#"
//!     {"title": "The Godfather", "year": 1972}
//!     {"title": "Amélie", "year": 2001}
//!     {"title": "Gladiator", "year": 2000}
//!     {"title": "Star Wars: Episode IV - A New Hope", "year": 1977}"#;
//! let catalog = Catalog::new(jsonl::read(lines.as_bytes(), "films.jsonl")?)?;
//! let names = FuzzyIndex::new(&catalog);
//! let title = |title: &str, year: Option<i32>| {
//!     let guess = names.resolve(&Item::new(title, year), YEAR_TOLERANCE);
//!     guess
//!         .at_least(CONFIDENT)
//!         .map(|id| catalog[id].title.as_str())
//! };
//!
//! assert_eq!(title("Godfather, The", Some(1972)), Some("The Godfather"));
//! assert_eq!(title("AMELIE", None), Some("Amélie"));
//! assert_eq!(
//!     title("Star Wars", Some(1977)),
//!     Some("Star Wars: Episode IV - A New Hope")
//! );
//! assert_eq!(title("Gladiator II", Some(2024)), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`mod@reference`] holds the matching rule of the paper's public code, for comparable numbers.
//! [`Bm25`] searches items by words, and [`Embeddings`] by meaning, in memory or mapped from a
//! file. Both use one [`top_k`].
//!
//! Everything here is deterministic. The crate knows nothing of prompts, tokens or models.

mod audit;
mod bm25;
mod catalog;
mod embeddings;
mod examples;
mod fuzzy;
mod matching;
mod mentions;
mod names;
mod normalise;
mod reading;
pub mod reference;
mod resolve;
#[cfg(test)]
mod testing;
mod title_index;
mod top_k;
mod twins;

pub use audit::{Audit, Difference, TwinGroup, audit};
pub use bm25::{Bm25, ENGLISH_STOP_WORDS};
pub use catalog::{Catalog, CatalogError, YEAR_TOLERANCE};
pub use embeddings::{Embeddings, EmbeddingsError};
pub use examples::{ExampleError, ExampleIds};
pub use fuzzy::{CONFIDENT, Candidate, FEATURES, Features, FuzzyIndex, Guess, N_FEATURES};
pub use matching::{relevance, relevance_of_names};
pub use mentions::{Mention, Mentions};
pub use names::UnknownName;
pub use normalise::normalise;
pub use resolve::Resolution;
pub use top_k::top_k;
pub use twins::Twins;
