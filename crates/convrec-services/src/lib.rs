//! The interfaces behind which teachers, judges, embedders, describers and chat models stand.
//!
//! | trait | question | answer |
//! |---|---|---|
//! | [`Teacher`] | a conversation | the raw text of a list of items |
//! | [`Judge`] | a conversation and catalog items | a rating from -2 to 2 for each item |
//! | [`Embedder`] | texts | a vector of unit length for each text |
//! | [`Describer`] | an item | a text about it |
//! | [`ChatModel`] | the turns of a conversation | the text of the next turn |
//!
//! A model on a server, a policy, recorded answers and a script are the same to whoever asks. Each
//! trait has a method for many questions at once, which a server or a GPU answers side by side. A
//! failed question is a [`ServiceError`] of its own; the others are answered.
//!
//! ```
//! use convrec_core::Example;
//! use convrec_services::{ServiceError, Teacher};
//!
//! struct AlwaysHeat;
//!
//! impl Teacher for AlwaysHeat {
//!     fn recommend(&self, _: &Example, _: usize) -> Result<String, ServiceError> {
//!         Ok("1. Heat (1995)".into())
//!     }
//! }
//!
//! fn answers(examples: &[&Example]) -> Vec<Result<String, ServiceError>> {
//!     AlwaysHeat.recommend_all(examples, 20, &|answered| println!("{answered} more"))
//! }
//! ```
//!
//! [`ratings_by_order`] makes ratings of scores. [`Mistakes`] writes a ranking as a chat model
//! would, errors included, for teachers that are scripts.

mod error;
mod mistakes;
mod ratings;
mod traits;

pub use error::ServiceError;
pub use mistakes::Mistakes;
pub use ratings::ratings_by_order;
pub use traits::{
    Candidates, ChatAnswer, ChatModel, ChatRequest, Describer, Done, EmbeddedPart, Embedder, Judge,
    Ratings, Teacher,
};
