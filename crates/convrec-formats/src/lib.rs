//! Files of other projects, read into the types of [`convrec_core`].
//!
//! [`read_catalog`], [`read_conversations`] and [`read_demonstrations`] take a path and recognise
//! its format. Every format has a reader of its own. All rows are checked in one place, so a row
//! means the same in every format and has the same errors.
//!
//! ```
//! use convrec_formats::{ReadOptions, read_conversations, read_demonstrations};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("train.jsonl");
//! let row = r#"{"prompt": [{"role": "user", "content": "Something like Heat?"}],
//!     "completion": [{"role": "assistant", "content": "Ronin (1998)\nSure!\nThief (1981)"}],
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
//! | feature | adds |
//! |---|---|
//! | `arrow` | Arrow streams and files: folders of `save_to_disk`, Feather, also compressed |
//! | `parquet` | parquet, also compressed by snappy, gzip, brotli, lz4 or zstd |
//!
//! # Conversations
//!
//! These are the fields of a row. Names may be in capitals, and other fields are ignored.
//!
//! | field | content |
//! |---|---|
//! | `dialog`, or `prompt` | the turns; the last one is the user's. Text is one turn of the user |
//! | `messages`, `conversations`, `conversation` | the same, then the assistant's answer |
//! | `id`, `conversation_id`, `dialog_id` | a text or a number that no other row has |
//! | `ground_truth`, `groundtruth` | the relevant items |
//! | `groundtruth_with_release_year` | the same |
//! | `seen` | the items mentioned before, by anyone |
//! | `seen_titles` | the same as titles alone: `Heat (1995)` is a title without a year here |
//! | `list` | the list of a demonstration |
//! | `completion` | the same as text: one turn of the assistant, or the text itself |
//!
//! Only the turns are required. [`read_conversations`] says which id a row without one gets.
//!
//! A **turn** is an object with `role` (or `from`, `speaker`) and `content` (or `value`, `text`,
//! `utterance`). Content is text, or parts `{"type": "text", "text": ...}`.
//!
//! | role | is |
//! |---|---|
//! | `user`, `human`, `seeker` | the user |
//! | `assistant`, `gpt`, `chatgpt`, `model`, `bot`, `recommender` | the assistant |
//! | `system`, `developer` | the system, whose turns no prompt shows |
//! | `tool`, `function`, `ipython`, `observation` | read as the system |
//!
//! An **item** is `["Heat", 1995]`, `{"title": "Heat", "year": 1995}` or `"Heat (1995)"`.
//!
//! A **list** of either may be a list, an object of lists (as `datasets` stores lists of objects),
//! or text. Text is a list as JSON, Python or numpy write it, or items with `|` or a line end
//! between two, or with `;` or `,` where each ends in its year. A list that is cut is an error.
//!
//! Tables with **one turn a row** have `role`, `content` and an `id` of the conversation. Other
//! fields stand in any row of the conversation. These rows are read as `messages`, in the order of
//! the numbers where each row of a conversation has one (`turn`, `turn_id`, `turn_index`, ...).
//!
//! # Years
//!
//! A year is an integer, also as text (`"1995"`) or as tables with gaps write it (`1995.0`). Null,
//! empty text, `nan`, `None`, `NULL`, `NA`, `N/A`, `<NA>` and `\N` stand for an unknown year.
//! Everything else is an error. No year is too small: 201 and -720 are in real catalogs.
//!
//! # Bad rows, damaged files
//!
//! A row that cannot be used fails the reading. The error has the number of such rows and the first
//! of them. With [`ReadOptions::skip_bad`] such rows are skipped, counted and listed. A damaged
//! file is always refused.
//!
//! # Trust
//!
//! Files are data, and nothing in them is executed or followed. Folders may name only files inside
//! them. Only regular files are opened. Panics of Arrow's decoders are caught, which a build with
//! `panic = "abort"` cannot do.
//!
//! | what | largest size |
//! |---|---|
//! | a line of JSON, the header of a CSV file | 64 MB |
//! | a JSON array, a pickle, text in UTF-16 | 2 GB |
//! | a page of parquet | 256 MB and 16 million values |
//! | a data set | 67 million rows |
//! | the content of a compressed file | 500 times its length and 64 MB |
//! | the content of a pickle | 16 times its length and 1 MB |
//!
//! Otherwise memory is in proportion to the data.

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
