//! Files of other projects, read into the types of [`convrec_core`].
//!
//! Conversations and catalogs come in many wrappings that hold the same few fields. Here each
//! wrapping is unpacked by a reader of its own, and what is in it is judged in one place: the rows
//! of an Arrow folder, of a parquet file and of JSON lines become the same
//! [`Example`](convrec_core::Example)s, with the same errors.
//!
//! ```
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("train.jsonl");
//! let row = r#"{"prompt": [{"role": "user", "content": "Something like Heat?"}],
//!     "completion": [{"role": "assistant", "content": "Ronin (1998)\nHere you are!\nThief (1981)"}],
//!     "groundtruth_with_release_year": [["Ronin", "1998"]], "seen_titles": ["Heat"]}"#;
//! std::fs::write(&path, row.replace('\n', " "))?;
//!
//! let examples = convrec_formats::read_conversations(&path, None)?;
//! assert_eq!(examples[0].ground_truth[0].to_string(), "Ronin (1998)");
//!
//! let demonstrations = convrec_formats::read_demonstrations(&path, None)?;
//! assert_eq!(demonstrations.rows[0].list[1].to_string(), "Thief (1981)");
//! // Nothing goes silently: a line of the completion was no item.
//! assert!(demonstrations.left_out[0].to_string().ends_with(
//!     "train.jsonl, line 1, field `completion[0].content`: `Here you are!` (line 2 of the list) names no item: no year"
//! ));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | what | from |
//! |---|---|
//! | [`read_conversations`], [`read_demonstrations`] | the common JSON lines; the authors' schema ([`AuthorsRow`]) as JSON lines, as a folder that Hugging Face's `datasets` saved (feature `arrow`), and as parquet (feature `parquet`) |
//! | [`read_catalog_items`] | JSON lines, CSV, and pickled lists of `(title, year)` |
//!
//! The readers of one file each: `arrow::rows`, `parquet::rows`, [`csv::items`], [`pickle::items`],
//! and [`jsonl::rows`](convrec_core::jsonl::rows) with [`AuthorsRow`].
//!
//! # What counts as a year
//!
//! An integer, also as text (`"1995"`) or as tables with gaps write it (`1995.0`); empty text and
//! null are an unknown year. Everything else is an error. No year is too small: 201 and -720 are in
//! real catalogs.
//!
//! # Trust
//!
//! Files are data and nothing in them is executed or followed: pickles are read by a reader that
//! knows lists, tuples, strings and integers alone, and folders may name only files inside them.
//! Damaged files are errors, not panics; what Arrow's decoders panic at is caught, which a build
//! with `panic = "abort"` cannot do.

#[cfg(feature = "arrow")]
pub mod arrow;
mod authors;
mod catalog;
#[cfg(any(feature = "arrow", feature = "parquet"))]
mod cells;
mod conversations;
pub mod csv;
mod error;
#[cfg(feature = "parquet")]
pub mod parquet;
pub mod pickle;
mod source;

pub use authors::AuthorsRow;
pub use catalog::{BadRows, CatalogRow, read_catalog_items};
pub use conversations::{read_conversations, read_demonstrations};
pub use error::{At, Error, LeftOut, Place, Rows};
