//! Files of other projects, read into the types of [`convrec_core`].
//!
//! [`read_catalog`], [`read_conversations`] and [`read_demonstrations`] take a path and find out
//! what is there. Every format is unpacked by a reader of its own, and all rows are judged in one
//! place, so that a row means the same in every format and has the same errors.
//!
//! ```
//! use convrec_formats::{ReadOptions, read_conversations, read_demonstrations};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("train.jsonl");
//! let row = r#"{"prompt": [{"role": "user", "content": "Something like Heat?"}],
//!     "completion": [{"role": "assistant", "content": "Ronin (1998)\nHere you are!\nThief (1981)"}],
//!     "groundtruth_with_release_year": [["Ronin", "1998"]], "seen_titles": ["Heat"]}"#;
//! std::fs::write(&path, row.replace('\n', " "))?;
//!
//! let examples = read_conversations(&path, &ReadOptions::default())?.rows;
//! assert_eq!(examples[0].ground_truth[0].to_string(), "Ronin (1998)");
//!
//! let demonstrations = read_demonstrations(&path, &ReadOptions::default())?;
//! assert_eq!(demonstrations.rows[0].list[1].to_string(), "Thief (1981)");
//! // A line of the completion was no item. It is reported.
//! assert_eq!(demonstrations.unparsed_lines.count, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Formats
//!
//! [`Format`] lists them, and [`Source::find`] the folders. Text is UTF-8, or UTF-16 with a byte
//! order mark. JSON lines and CSV may be compressed by gzip.
//!
//! | feature | what it adds |
//! |---|---|
//! | `arrow` | Arrow streams and files: folders of `save_to_disk`, Feather; buffers may be compressed by lz4 or zstd |
//! | `parquet` | parquet, uncompressed or compressed by snappy, gzip, brotli, lz4 or zstd |
//!
//! # Conversations
//!
//! The fields of a row. Names may be in capitals, and other fields are ignored.
//!
//! | field | what it holds |
//! |---|---|
//! | `dialog`, or `prompt` | the turns; the last one is the user's. Text is one turn of the user |
//! | `messages`, `conversations` or `conversation` | the same, or a whole conversation: an assistant's turn at the end is the answer |
//! | `id`, `conversation_id` or `dialog_id` | a text or a number, unlike in other rows; see [`read_conversations`] where it is missing |
//! | `ground_truth`, `groundtruth` or `groundtruth_with_release_year` | the relevant items; may be missing where nothing is trained or measured |
//! | `seen` | the items mentioned before, by anyone; may be missing |
//! | `seen_titles` | the same as titles alone: `Heat (1995)` is a title here, and the year is unknown |
//! | `list` | the list of a demonstration |
//! | `completion` | the same as text: one turn of the assistant, or the text itself |
//!
//! A **turn** is an object with `role` (or `from`, `speaker`) and `content` (or `value`, `text`,
//! `utterance`). Roles are `user`, `human`, `seeker`; `assistant`, `gpt`, `chatgpt`, `model`, `bot`,
//! `recommender`; `system`, `developer`. `tool`, `function`, `ipython` and `observation` become
//! system turns, which no prompt shows. Content is text, or parts `{"type": "text", "text": ...}`.
//!
//! An **item** is `["Heat", 1995]`, `{"title": "Heat", "year": 1995}` or `"Heat (1995)"`.
//!
//! A **list** of either may be a list, an object of lists (as `datasets` stores lists of objects),
//! or text: a list as JSON or Python write it, or items with `|` between two.
//!
//! Tables with **one turn a row** have `role`, `content` and an `id` of the conversation; other
//! fields stand in any row of the conversation. These rows are taken for `messages`.
//!
//! # Years
//!
//! A year is an integer, also as text (`"1995"`) or as tables with gaps write it (`1995.0`). Null,
//! empty text, `nan`, `None`, `NULL`, `NA`, `N/A`, `<NA>` and `\N` stand for an unknown year.
//! Everything else is an error. No year is too small: 201 and -720 are in real catalogs.
//!
//! # Bad rows, damaged files
//!
//! A row that cannot be used fails the reading with the number of such rows and the first of them,
//! or is skipped, counted and listed ([`ReadOptions::skip_bad`]). A file that is damaged is always
//! refused.
//!
//! # Trust
//!
//! Files are data, and nothing in them is executed or followed. Folders may name only files inside
//! them. Only regular files are opened. What Arrow's decoders panic at is caught, which a build with
//! `panic = "abort"` cannot do.
//!
//! These are the largest sizes: a line of JSON 64 MB; a JSON array, a pickle and UTF-16 text 2 GB; a
//! page of parquet 256 MB and 16 million values; 67 million rows. A compressed file may hold 500
//! times its length and 64 MB, a pickle 16 times its length and 1 MB. Beyond that, memory is in
//! proportion to what is read.

#[cfg(feature = "arrow")]
mod arrow;
mod catalog;
#[cfg(any(feature = "arrow", feature = "parquet"))]
mod cells;
mod conversations;
mod csv;
mod error;
mod fields;
mod grouped;
mod input;
mod items;
mod json;
mod layout;
mod limits;
mod literal;
#[cfg(feature = "parquet")]
mod parquet;
mod pickle;
mod records;
mod row;
mod source;
mod turns;
mod year;

pub use catalog::read_catalog;
pub use conversations::{read_conversations, read_demonstrations};
pub use convrec_core::{BadRow, BadRowPolicy, BadRows};
pub use error::{At, Error, Place};
pub use records::{ReadOptions, Records};
pub use row::RawRow;
pub use source::{Format, Source};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
