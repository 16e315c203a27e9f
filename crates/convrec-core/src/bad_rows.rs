//! Rows that cannot be used: refused with their number, or skipped and counted.

use std::fmt;

/// What happens to rows that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BadRowPolicy {
    /// One bad row fails the whole reading. The error says how many there are and shows the first.
    #[default]
    Refuse,
    /// Bad rows are skipped, counted and listed in [`BadRows`].
    Skip,
}

/// One row that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The number of the row among all rows, from 0. Bad rows count too.
    pub row: usize,
    /// Where the row stands, as in ``films.csv, line 7, field `year` ``.
    pub place: String,
    /// What was found and what was expected.
    pub problem: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// The rows that could not be used: their number, and a list of the first ones.
///
/// `Display` writes one line with the numbers and one line for each of the first
/// [`BadRows::SHOWN`] rows.
///
/// ```
/// use convrec_core::{BadRow, BadRows};
///
/// let mut bad = BadRows::default();
/// bad.rows_read = 120;
/// bad.push(BadRow {
///     row: 6,
///     place: "films.csv, line 8".into(),
///     problem: "no title".into(),
/// });
/// assert_eq!(
///     bad.to_string(),
///     "1 of 120 rows is bad:\n  films.csv, line 8: no title"
/// );
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BadRows {
    /// The number of rows that were looked at, bad ones included.
    pub rows_read: usize,
    /// The number of bad rows.
    pub count: usize,
    /// The first bad rows, at most [`BadRows::LISTED`].
    pub listed: Vec<BadRow>,
}

impl BadRows {
    /// The largest number of rows that are kept in the list.
    pub const LISTED: usize = 1000;
    /// The largest number of rows that `Display` shows.
    pub const SHOWN: usize = 5;

    /// Whether no row was bad.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Counts a bad row, and lists it while there is room.
    pub fn push(&mut self, row: BadRow) {
        self.count += 1;
        if self.listed.len() < Self::LISTED {
            self.listed.push(row);
        }
    }
}

impl fmt::Display for BadRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.count == 1 { "is" } else { "are" };
        write!(f, "{} of {} rows {verb} bad", self.count, self.rows_read)?;
        let shown = self.listed.iter().take(Self::SHOWN);
        let more = self.count - shown.len();
        if shown.len() > 0 {
            f.write_str(":")?;
        }
        for row in shown {
            write!(f, "\n  {row}")?;
        }
        if more > 0 {
            write!(f, "\n  and {more} more")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_are_counted_and_few_are_shown() {
        let mut bad = BadRows {
            rows_read: 5000,
            ..BadRows::default()
        };
        for row in 0..2000 {
            bad.push(BadRow {
                row,
                place: format!("f, line {}", row + 1),
                problem: "no title".into(),
            });
        }
        assert_eq!((bad.count, bad.listed.len()), (2000, BadRows::LISTED));
        let text = bad.to_string();
        assert!(text.starts_with("2000 of 5000 rows are bad:\n  f, line 1: no title\n"));
        assert!(
            text.ends_with("  f, line 5: no title\n  and 1995 more"),
            "{text}"
        );
        assert!(!bad.is_empty() && BadRows::default().is_empty());
    }
}
