//! The vocabulary of conversational recommendation, and its files.
//!
//! A *conversation* ends with a user's turn; an answer is a *ranked list* of catalog *items*. Every
//! other crate of the workspace uses the types of this one.
//!
//! | type | what it is |
//! |---|---|
//! | [`Turn`], [`Role`] | one message of a conversation and who wrote it |
//! | [`Item`] | a title and, where known, a year: how items are named in conversations and lists |
//! | [`CatalogItem`] | an item of the catalog with what is known about it |
//! | [`ItemId`] | the place of an item in its catalog |
//! | [`Example`] | a conversation, the items already seen in it, and the relevant items |
//! | [`Demonstration`] | an example with the ranked list that the policy shall imitate |
//! | [`BadRowPolicy`], [`BadRows`] | what happens to rows that cannot be used, and which they are |
//!
//! Files are JSON lines. [`files`] reads regular files of a stated size alone and replaces files as
//! a whole; [`append`] lets them grow. A bad line is an error that names the file, the line and the
//! field:
//!
//! ```
//! use convrec_core::{CatalogItem, jsonl};
//!
//! let text = "{\"title\": \"Heat\", \"year\": 1995}\n{\"title\": \"Alien\", \"year\": \"soon\"}\n";
//! let error = jsonl::read::<CatalogItem>(text.as_bytes(), "films.jsonl").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "films.jsonl, line 2, field `year`: `soon` is no year; expected an integer, or nothing; \
//!      mend the line or remove it"
//! );
//!
//! let items: Vec<CatalogItem> = jsonl::read(&text.as_bytes()[..32], "films.jsonl")?;
//! assert_eq!(items[0].item().to_string(), "Heat (1995)");
//! # Ok::<(), convrec_core::jsonl::Error>(())
//! ```

pub mod append;
mod bad_rows;
mod candidates;
pub mod files;
pub mod hash;
mod item;
pub mod jsonl;
mod text;
mod types;
pub mod year;

pub use bad_rows::{BadRow, BadRowPolicy, BadRows};
pub use candidates::Candidates;
pub use item::Item;
pub use text::{printable, shown};
pub use types::{CatalogItem, Demonstration, Example, ItemId, Role, Turn};
