//! Lists of items as text: their form, and the one parse that reads them.

use std::borrow::Cow;
use std::ops::Range;

use convrec_core::Item;
use serde::{Deserialize, Serialize};

use crate::json_list::{self, Name};
use crate::line::{Line, Numbering, is_blank, is_table_rule, without_entities};
use crate::reasoning::Reasoning;
use crate::whitespace::trim;

/// The form of a ranked list: one item a line, best first, each line ended by a line feed.
///
/// The default is the form of the paper's models, and the form that chat models are asked for:
///
/// ```
/// use convrec_core::Item;
/// use convrec_text::{ListFormat, Style, Years};
///
/// let items = [Item::new("Heat", 1995), Item::new("(500) Days of Summer", 2009)];
/// assert_eq!(ListFormat::default().render(&items), "Heat (1995)\n(500) Days of Summer (2009)\n");
///
/// let numbered = ListFormat { style: Style::Numbered, years: Years::Required };
/// assert_eq!(numbered.render(&items), "1. Heat (1995)\n2. (500) Days of Summer (2009)\n");
/// ```
///
/// # What parsing accepts
///
/// Every format reads what [`render`](Self::render) writes, and the ways in which language models
/// decorate it:
///
/// ```
/// # use convrec_core::Item;
/// # use convrec_text::{ListFormat, Reason};
/// let text = "Sure! Here you go:\n\n1.Heat (1995)\n2) **Alien** (1979) - a classic\n\
///             - \"Up\" (2009)\nEnjoy!";
/// let list = ListFormat::default().parse(text);
/// let items: Vec<&Item> = list.items().collect();
/// let [heat, alien] = [Item::new("Heat", 1995), Item::new("Alien", 1979)];
/// assert_eq!(items, [&heat, &alien, &Item::new("Up", 2009)]);
/// assert_eq!(&text[list.entries[0].span.clone()], "1.Heat (1995)\n");
/// assert_eq!(list.unparsed[0].reason, Reason::Preamble);
/// assert_eq!(list.unparsed[1].reason, Reason::NoYear);
/// ```
///
/// - The year is the first `(year)` of four digits behind a title, else the first of fewer digits.
///   The text behind it is a remark. Years may be negative (`The Odyssey (-720)`).
/// - A number in front is a list number when it continues the count (from 1), or when two or more
///   lines, at least half of them, begin with one. `12 - Angry Men (1957)` therefore stays whole in
///   a plain list. White space after the number's mark is not needed, except after dashes and
///   colons.
/// - Bullets are removed when white space follows them (`-30-` and `#Alive` are titles). Emphasis
///   and quotes are removed in pairs.
/// - The brackets of the year may be full-width ones: `千と千尋（2001）`. Where a line has no such
///   year, `(1994–2004)`, `(2008–)` and `(2024, dir. X)` name their first one.
/// - A number may also be written `(1)`, `[1]`, `①`, `1️⃣`, `No. 1:`, `Rank 1:` or `a)`. Those
///   that titles begin with, as `(500) Days of Summer`, have to count from 1.
/// - Links, tags and entities of HTML, boxes of tasks and emoji as bullets are removed. A row of a
///   table names its first cell that is no rank, with a year in it or in a cell behind it.
/// - Where years are required, `Heat [1995]` and `Heat (1995 film)` have one, and with a list
///   number `Heat (dir. M. Mann, 1995)`.
/// - JSON lists of texts, or of objects with `title` or `name`, and `year`, name their elements.
/// - A line that ends in a colon and bears no list mark is a preamble. Blank lines mean nothing.
/// - A model's [reasoning](crate::Reasoning) is no part of its list.
///
/// Some titles are not read back this way: they hold a year, or have none.
/// [`parse_known`](Self::parse_known) finds those that a catalog knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListFormat {
    /// The mark in front of each item.
    pub style: Style,
    /// Whether a line must name a year to be an item.
    pub years: Years,
}

/// The mark in front of each item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// There is no mark: `Heat (1995)`.
    #[default]
    Plain,
    /// The mark is the rank, from 1: `1. Heat (1995)`.
    Numbered,
}

/// Whether a line must name a year to be an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Years {
    /// A line without a year is no item. This is for free text, where the year tells an item from a
    /// remark.
    #[default]
    Required,
    /// A line without a year is an item without a year, remarks and all. This is for catalogs with
    /// such items, and policies that write little else.
    Optional,
}

/// The content of a text that is read as a list, by [`ListFormat::parse`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ParsedList {
    /// The items, in order. The place of an entry is its rank, from 0.
    pub entries: Vec<ParsedEntry>,
    /// The lines that are neither items nor blank.
    pub unparsed: Vec<UnparsedLine>,
    /// The reasoning in the text. Lines inside it are neither items nor unparsed.
    pub reasoning: Reasoning,
}

/// An item of a list, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedEntry {
    /// The item, as written.
    pub item: Item,
    /// The number of its line, from 0.
    pub line: usize,
    /// The bytes of its whole line in the text, the ending line feed included; in a JSON list
    /// those of its element.
    pub span: Range<usize>,
}

/// A line that is no item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnparsedLine {
    /// The reason why it is no item.
    pub reason: Reason,
    /// The number of its line, from 0.
    pub line: usize,
    /// The bytes of the whole line in the text, the ending line feed included.
    pub span: Range<usize>,
}

/// The reason why a line is no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The line names no year, and the format requires one.
    NoYear,
    /// The line holds no title, only marks, a list number or a year.
    NoTitle,
    /// The line announces the list: it ends in a colon and bears no list mark.
    Preamble,
}

/// An element of a JSON list: its bytes, and the item that it names.
type Found = (Range<usize>, Result<Item, Reason>);

impl ParsedList {
    fn push(&mut self, item: Result<Item, Reason>, line: usize, span: Range<usize>) {
        match item {
            Ok(item) => self.entries.push(ParsedEntry { item, line, span }),
            Err(reason) => self.unparsed.push(UnparsedLine { reason, line, span }),
        }
    }

    /// The items, in order.
    pub fn items(&self) -> impl ExactSizeIterator<Item = &Item> {
        self.entries.iter().map(|entry| &entry.item)
    }
}

impl ListFormat {
    /// The text of a list. A line break inside a title becomes a space, as it would end the item.
    pub fn render(&self, items: &[Item]) -> String {
        items
            .iter()
            .enumerate()
            .map(|(rank, item)| self.line(rank, item))
            .collect()
    }

    /// The line of the item at `rank` (from 0), with the ending line feed.
    pub fn line(&self, rank: usize, item: &Item) -> String {
        let name = item.to_string().replace('\n', " ");
        match self.style {
            Style::Plain => format!("{name}\n"),
            Style::Numbered => format!("{}. {name}\n", rank + 1),
        }
    }

    /// The items of a text, with the lines they stand on. This never fails: model output is data.
    ///
    /// [What parsing accepts](ListFormat#what-parsing-accepts) is the same for both styles.
    /// Rendered items are read back if the year has at most four digits and the title
    ///
    /// - does not begin or end in white space, and bears no marks as above
    /// - does not hold `(` one to four digits `)` behind other text
    /// - does not, without a year, end in a colon or lack letters and digits
    pub fn parse(&self, text: &str) -> ParsedList {
        self.read(text, None)
    }

    /// As [`parse`](Self::parse), but an item that `known` accepts is found on its own line, with
    /// any title.
    ///
    /// Each line is read in turn as it stands, without list marks, without emphasis and quotes, and
    /// as `parse` reads it. Each reading is tried with its last `(year)` as the year, then whole as
    /// a title without a year. The first that is known is the line's item. A line without one is
    /// read as by `parse`.
    ///
    /// ```
    /// use convrec_core::Item;
    /// use convrec_text::ListFormat;
    ///
    /// let catalog = [Item::new("Heat (1995)", None), Item::new("Babylon 5", None)];
    /// let text = "1. **Heat (1995)** - a classic\n2. Babylon 5\n3. Up (2009)\n4. Enjoy!\n";
    /// let list = ListFormat::default().parse_known(text, |item| catalog.contains(item));
    /// let items: Vec<&Item> = list.items().collect();
    /// assert_eq!(items, [&catalog[0], &catalog[1], &Item::new("Up", 2009)]);
    /// assert_eq!(list.unparsed.len(), 1);
    /// ```
    pub fn parse_known(&self, text: &str, mut known: impl FnMut(&Item) -> bool) -> ParsedList {
        self.read(text, Some(&mut known))
    }

    fn read(&self, text: &str, mut known: Option<&mut dyn FnMut(&Item) -> bool>) -> ParsedList {
        let reasoning = Reasoning::find(text);
        let answer = without(&reasoning, text);
        let mut list = ParsedList {
            reasoning,
            ..ParsedList::default()
        };
        let mut numbering = Numbering::of(&answer);
        let mut may_be_json = true;
        let (mut at, mut line) = (0, 0);
        while at < answer.len() {
            let rest = &answer[at..];
            let whole = &rest[..line_len(rest)];
            let content = trim(whole);
            let mut end = whole.len();
            if may_be_json && json_list::begins(content, rest) {
                let (items, is_whole) = self.json_items(rest, &mut numbering, &mut known);
                let names_items = items.iter().any(|(_, item)| item.is_ok());
                // Text that turns out to be no JSON is not tried again, so time stays linear.
                may_be_json = is_whole && names_items;
                if let Some((last, _)) = items.last().filter(|_| names_items) {
                    end = last.end + line_len(&rest[last.end..]);
                    let mut counted = 0;
                    for (range, item) in items {
                        line += line_feeds(&rest[counted..range.start]);
                        counted = range.start;
                        list.push(item, line, at + range.start..at + range.end);
                    }
                    line += line_feeds(&rest[counted..end]);
                    at += end;
                    continue;
                }
            }
            if !content.is_empty() {
                let is_head = content.starts_with('|') && is_table_rule(&rest[end..]);
                let item = match is_head || is_fence(content) {
                    true => Err(Reason::NoTitle),
                    false => self.item_of(content, whole, &mut numbering, &mut known),
                };
                list.push(item, line, at..at + end);
            }
            line += line_feeds(whole);
            at += end;
        }
        list
    }

    /// The items of the JSON list that `text` begins with, and whether nothing cut it off.
    fn json_items(
        &self,
        text: &str,
        numbering: &mut Numbering<'_>,
        known: &mut Option<&mut dyn FnMut(&Item) -> bool>,
    ) -> (Vec<Found>, bool) {
        let (elements, is_whole) = json_list::elements(text);
        let mut item = |name: Name| match name.year {
            Some(year) => Ok(Item::new(name.title, year)),
            None => self.item_of(&name.title, &name.title, numbering, known),
        };
        let items = elements
            .into_iter()
            .map(|(range, name)| (range, item(name)));
        (items.collect(), is_whole)
    }

    /// The item of a line; `content` is `whole` without white space around it.
    fn item_of(
        &self,
        content: &str,
        whole: &str,
        numbering: &mut Numbering<'_>,
        known: &mut Option<&mut dyn FnMut(&Item) -> bool>,
    ) -> Result<Item, Reason> {
        let content = without_entities(content);
        let line = Line::read(&content, numbering);
        let parsed = self.item(&line);
        let own = known
            .as_deref_mut()
            .and_then(|known| self.known_item(whole, &line, parsed.as_ref().ok(), known));
        own.map_or(parsed, Ok)
    }

    /// The first known item among the readings of a line; `parsed` is the last of them.
    fn known_item(
        &self,
        whole: &str,
        line: &Line<'_>,
        parsed: Option<&Item>,
        known: &mut dyn FnMut(&Item) -> bool,
    ) -> Option<Item> {
        let whole = whole.strip_suffix('\n').unwrap_or(whole);
        let own = match self.style {
            Style::Plain => Some(whole),
            Style::Numbered => trim(whole)
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .strip_prefix(". "),
        };
        let shown = parsed.map(|item| Item::new(item.title.trim_matches(is_blank), item.year));
        let parsed = parsed.map(Item::to_string);
        let texts = [
            own,
            own.map(trim),
            Some(line.body),
            Some(line.title()),
            parsed.as_deref(),
        ];
        let mut before = "";
        for text in texts.into_iter().flatten() {
            if text == before {
                continue;
            }
            before = text;
            let readings = [with_last_year(text), Some(Item::new(text, None))];
            if let Some(item) = readings.into_iter().flatten().find(|item| known(item)) {
                return Some(item);
            }
        }
        shown.filter(|item| known(item))
    }

    fn item(&self, line: &Line<'_>) -> Result<Item, Reason> {
        if !line.has_list_mark && line.body.ends_with([':', '：']) {
            return Err(Reason::Preamble);
        }
        let (title, year) = match (line.title_and_year(), self.years) {
            (Some((title, year)), _) => (title, Some(year)),
            (None, Years::Required) => match line.title_and_loose_year() {
                Some((title, year)) => (title, Some(year)),
                None => return Err(Reason::NoYear),
            },
            (None, Years::Optional) => (line.title(), None),
        };
        // Without a year, a title of marks alone is a ruler.
        let is_title =
            !title.is_empty() && (year.is_some() || title.contains(char::is_alphanumeric));
        if is_title {
            Ok(Item::new(title, year))
        } else {
            Err(Reason::NoTitle)
        }
    }
}

/// Whether a line begins or ends a block of code.
fn is_fence(content: &str) -> bool {
    let info = content.strip_prefix("```");
    info.is_some_and(|info| info.chars().all(char::is_alphanumeric))
}

fn line_len(text: &str) -> usize {
    text.split_inclusive('\n').next().map_or(0, str::len)
}

fn line_feeds(text: &str) -> usize {
    text.matches('\n').count()
}

/// `text` with its reasoning overwritten by spaces.
fn without<'a>(reasoning: &Reasoning, text: &'a str) -> Cow<'a, str> {
    if reasoning.spans.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut bytes = text.as_bytes().to_vec();
    reasoning.blank(&mut bytes);
    // Blocks begin and end between characters, so this is text again.
    Cow::Owned(String::from_utf8(bytes).unwrap_or_default())
}

/// `Title (year)`, as [`Item`] writes it.
fn with_last_year(text: &str) -> Option<Item> {
    let (title, year) = Item::split_line(text);
    year.map(|year| Item::new(title, year))
}

/// The text of an answer that was cut at a limit of tokens, without its last line where that is not
/// whole. Such a line has no line feed and names no year of four digits. More of a title or a year
/// may have followed, so it names no item.
///
/// ```
/// use convrec_text::whole_lines;
///
/// assert_eq!(whole_lines("1. Heat (1995)\n2. The God"), "1. Heat (1995)\n");
/// assert_eq!(whole_lines("1. Heat (1995)\n2. Up (20"), "1. Heat (1995)\n");
/// assert_eq!(whole_lines("1. Heat (1995)\n2. Up (2009) - a"), "1. Heat (1995)\n2. Up (2009) - a");
/// ```
#[must_use]
pub fn whole_lines(text: &str) -> &str {
    let last = text.rsplit('\n').next().unwrap_or("");
    let start = text.len() - last.len();
    let last = trim(last);
    let mut numbering = Numbering::of(text);
    match last.is_empty() || Line::read(last, &mut numbering).is_whole() {
        true => text,
        false => &text[..start],
    }
}
