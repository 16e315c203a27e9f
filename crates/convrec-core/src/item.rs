//! An item as it is named.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::year;

/// An item as it is named: a title and, where known, a year.
///
/// `Display` writes the line that a list shows: `Heat (1995)`, or `Heat` without a year.
///
/// Files are written with `["Heat", 1995]` or `["Heat", null]`. `{"title": "Heat", "year": 1995}`
/// and `"Heat (1995)"` are read too, as are years that are text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(into = "(String, Option<i32>)")]
pub struct Item {
    /// The title, as written.
    pub title: String,
    /// The year, where known.
    pub year: Option<i32>,
}

impl Item {
    /// An item from its title and year.
    #[must_use]
    pub fn new(title: impl Into<String>, year: impl Into<Option<i32>>) -> Self {
        Self {
            title: title.into(),
            year: year.into(),
        }
    }

    /// The item that a line names as `Display` writes it: a title, and a year in brackets where the
    /// line ends in one. The brackets and digits may be full-width ones, as in `千と千尋（2001）`.
    ///
    /// ```
    /// use convrec_core::Item;
    ///
    /// assert_eq!(Item::from_line("Heat (1995)"), Item::new("Heat", 1995));
    /// assert_eq!(Item::from_line("Heat（１９９５）"), Item::new("Heat", 1995));
    /// assert_eq!(Item::from_line("Babylon 5"), Item::new("Babylon 5", None));
    /// assert_eq!(Item::from_line("Birdman or (The Virtue)").year, None);
    /// ```
    #[must_use]
    pub fn from_line(line: &str) -> Self {
        let (title, year) = Self::split_line(line);
        Self::new(title, year)
    }

    /// The title and the year of [`from_line`](Self::from_line), borrowed.
    #[must_use]
    pub fn split_line(line: &str) -> (&str, Option<i32>) {
        split_year(line).map_or((line, None), |(title, year)| (title, Some(year)))
    }
}

/// The title before a final ` (year)`, and that year.
fn split_year(line: &str) -> Option<(&str, i32)> {
    let inner = line.strip_suffix([')', '）'])?;
    let open = inner.rfind(['(', '（'])?;
    let (before, bracket) = (&inner[..open], inner[open..].chars().next()?);
    let title = match before.strip_suffix(' ') {
        Some(title) if bracket == '(' => title,
        // Other kinds of white space, and full-width brackets with none.
        _ => {
            let title = before.trim_end();
            (bracket == '（' || title.len() < before.len()).then_some(title)?
        }
    };
    let year = year(&inner[open + bracket.len_utf8()..])?;
    (!title.trim().is_empty()).then_some((title, year))
}

/// A number in ASCII or full-width digits, a minus before it or not.
fn year(text: &str) -> Option<i32> {
    let is_number = text.starts_with(|c: char| ascii(c).is_ascii_digit() || c == '-');
    if !is_number {
        return None;
    }
    if text.is_ascii() {
        return text.parse().ok();
    }
    text.chars().map(ascii).collect::<String>().parse().ok()
}

/// The digit that a full-width digit is; other characters stay.
fn ascii(c: char) -> char {
    match c {
        '０'..='９' => char::from_digit(u32::from(c) - u32::from('０'), 10).unwrap_or(c),
        _ => c,
    }
}

impl From<(String, Option<i32>)> for Item {
    fn from((title, year): (String, Option<i32>)) -> Self {
        Self { title, year }
    }
}

impl From<Item> for (String, Option<i32>) {
    fn from(item: Item) -> Self {
        (item.title, item.year)
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.year {
            Some(year) => write!(f, "{} ({year})", self.title),
            None => f.write_str(&self.title),
        }
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

/// A year as files write it.
#[derive(Deserialize)]
struct Year(#[serde(deserialize_with = "year::strict")] Option<i32>);

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item: [title, year], {\"title\": ..., \"year\": ...} or \"Title (year)\"")
    }

    fn visit_str<E: Error>(self, line: &str) -> Result<Item, E> {
        if line.trim().is_empty() {
            return Err(E::custom("blank; expected `Title (year)`"));
        }
        Ok(Item::from_line(line.trim()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Item, A::Error> {
        let short = |length| A::Error::invalid_length(length, &"a title and a year, or null");
        let title: String = parts.next_element()?.ok_or_else(|| short(0))?;
        let Year(year) = parts.next_element()?.ok_or_else(|| short(1))?;
        let mut length = 2;
        while parts.next_element::<IgnoredAny>()?.is_some() {
            length += 1;
        }
        if length > 2 {
            return Err(short(length));
        }
        Ok(Item { title, year })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Item, A::Error> {
        let (mut title, mut year) = (None, None);
        while let Some(name) = fields.next_key::<String>()? {
            match name.as_str() {
                "title" => title = Some(fields.next_value()?),
                "year" => Year(year) = fields.next_value()?,
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        let title = title.ok_or_else(|| A::Error::missing_field("title"))?;
        Ok(Item { title, year })
    }
}
