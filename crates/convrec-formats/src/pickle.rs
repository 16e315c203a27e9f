//! Pickled catalogs, read as data.
//!
//! A pickle is a program for a small stack machine, and some of its opcodes call what they name.
//! This reader knows the opcodes that make lists, tuples, strings and integers; it stops at any
//! other, names it, and executes nothing:
//!
//! ```
//! use convrec_formats::pickle;
//!
//! let heat = b"\x80\x04]\x94\x8c\x04Heat\x94M\xcb\x07\x86\x94a.";
//! let items = pickle::items(heat, "films.pkl")?;
//! assert_eq!((items[0].1.title.as_str(), &items[0].1.year), ("Heat", &Ok(Some(1995))));
//!
//! let hostile = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x06whoami\x85R.";
//! assert_eq!(
//!     pickle::items(hostile, "films.pkl").unwrap_err().to_string(),
//!     "films.pkl, byte 14: the pickle holds the opcode STACK_GLOBAL; only lists, tuples, strings and integers are read"
//! );
//! # Ok::<(), convrec_formats::Error>(())
//! ```
//!
//! Time and memory are linear in the file: nesting is bounded, lengths are held against what is
//! left of the file, and what the memo repeats is shared, not copied.

mod machine;
mod opcodes;

use convrec_core::year;
use machine::Value;

use crate::catalog::CatalogRow;
use crate::error::{At, Error, Place};

/// A string that is named again costs no bytes in the file. All titles together may take this many
/// times the file's length, and a megabyte.
const MAX_REPETITION: usize = 16;

/// The rows of a pickled list of `(title, year)`: the year an integer, digits as text, or empty
/// text. `name` names the file in errors.
///
/// Pickles of protocol 2 and later, which is what Python has written by default since 3.0.
///
/// # Errors
/// At the first opcode that makes anything but lists, tuples, strings and integers, and where the
/// pickle is cut or inconsistent (the error names the byte); and at the first entry of the list
/// that is no `(title, year)`.
pub fn items(bytes: &[u8], name: &str) -> Result<Vec<(Place, CatalogRow)>, Error> {
    let at_byte =
        |(at, problem): machine::Refused| Error::bad(Place::new(name, At::Byte(at)), problem);
    let value = machine::read(bytes).map_err(at_byte)?;
    let Some(entries) = value.entries() else {
        return Err(at_byte((
            0,
            format!(
                "the pickle is {}; expected a list of `(title, year)`",
                value.kind()
            ),
        )));
    };
    let mut left = MAX_REPETITION
        .saturating_mul(bytes.len())
        .saturating_add(1 << 20);
    let row = |(index, entry): (usize, &Value)| {
        let place = Place::new(name, At::Row(index));
        let bad = |problem: String| Error::bad(place.clone(), problem);
        let (title, year) = match entry.entries() {
            Some([Value::Text(title), Value::Int(year)]) => (title, year.to_string()),
            Some([Value::Text(title), Value::Text(year)]) => (title, year.to_string()),
            Some([Value::Text(_), other]) => {
                return Err(bad(format!("the year is {}", other.kind())));
            }
            Some([other, _]) => return Err(bad(format!("the title is {}", other.kind()))),
            Some(other) => {
                return Err(bad(format!(
                    "{} of {}; expected `(title, year)`",
                    entry.kind(),
                    other.len()
                )));
            }
            None => return Err(bad(format!("{}; expected `(title, year)`", entry.kind()))),
        };
        left = left.checked_sub(title.len()).ok_or_else(|| {
            bad(format!(
                "the titles together are over {MAX_REPETITION} times as long as the pickle: it repeats one string"
            ))
        })?;
        let row = CatalogRow {
            title: title.to_string(),
            year: year::parse(&year),
            genres: vec![],
            metadata: "".into(),
        };
        Ok((place, row))
    };
    entries.iter().enumerate().map(row).collect()
}
