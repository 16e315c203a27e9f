//! Items that a text names.

mod common;

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};
use convrec_core::{Item, ItemId, Role, Turn};

use crate::normalise::{collapse_spaces, fold, is_space, unify};
use crate::{Catalog, YEAR_TOLERANCE};
use common::{is_common, is_ordinary};

/// The number of words from which on a title counts as distinctive.
const LONG_TITLE: usize = 3;

/// An item that a text names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The item.
    pub id: ItemId,
    /// The bytes of the name in the text as it is compared: with case folded, white space
    /// collapsed, and one way of writing for what looks alike.
    pub span: Range<usize>,
}

/// Finds the items of a catalog that texts name, in time linear in the text.
///
/// Texts and names are compared as by [`Catalog::find_normalised`]: case, white space and the forms
/// in which Unicode writes one character do not matter, punctuation and accents do. A name stands
/// between characters that are no letters and digits. Of names inside one another the longest
/// counts.
///
/// - An item's own line, `Heat (1995)` or a title that holds its year, names the item in every
///   text.
/// - A title that another year follows names the item where that is within [`YEAR_TOLERANCE`].
/// - A title without a year names the item in [what a user says](Self::in_what_a_user_says), where
///   it is the title of one item alone, has two letters or more, and
///   - it has three words or more, or is no ordinary English word: `deadpool`, `the matrix`; or
///   - it is one ordinary word, with just the catalog's capitals: `Heat`, and not `the heat`; or
///   - it is made of the most common words, is written with just the catalog's capitals, and
///     neither begins a sentence nor is a number: `I loved Up`; or
///   - it is in quotes, or near its year: `"up"`, `heat (1996)`.
///
/// ```
/// use convrec_catalog::{Catalog, Mentions};
/// use convrec_core::{Turn, jsonl};
///
/// let lines = r#"
///     {"title": "Heat", "year": 1995}
///     {"title": "Toy Story (1995)"}
///     {"title": "It", "year": 2017}
///     {"title": "Dune", "year": 1984}
///     {"title": "Dune", "year": 2021}"#;
/// let catalog = Catalog::new(jsonl::read(lines.as_bytes(), "films.jsonl")?)?;
/// let mentions = Mentions::new(&catalog);
/// let named = |text: &str| -> Vec<u32> {
///     mentions
///         .in_turns(&[Turn::user(text)])
///         .into_iter()
///         .map(|id| id.0)
///         .collect()
/// };
/// assert_eq!(
///     named("I loved Heat and TOY STORY (1995). It was long."),
///     [0, 1]
/// );
/// assert_eq!(named("The heat in \"it\""), [2]);
/// assert_eq!(
///     named("I saw It, and dune (2021); not the other Dune."),
///     [2, 4]
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Mentions {
    /// Lines and distinctive titles, normalised.
    names: AhoCorasick,
    /// The name of each pattern of `names`.
    named: Vec<Name>,
    /// Titles of common words, as the catalog writes them.
    titles: AhoCorasick,
    titled: Vec<Title>,
}

#[derive(Debug, Clone, Copy)]
struct Name {
    id: ItemId,
    year: Option<i32>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
struct Title {
    id: ItemId,
    year: Option<i32>,
    /// Whether it counts at the beginning of a sentence, where every word has a capital.
    may_begin: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// The item's line, with its year.
    Line,
    /// A title that is hardly said by chance.
    Distinctive,
    /// A title that counts in quotes or before its year.
    Ordinary,
}

impl Mentions {
    /// Indexes the names of a catalog.
    #[must_use]
    pub fn new(catalog: &Catalog) -> Self {
        let (mut names, mut named) = (Vec::new(), Vec::new());
        let (mut titles, mut titled) = (Vec::new(), Vec::new());
        for (id, item) in catalog.iter() {
            let id = catalog.representative(id);
            let line = fold(&item.item().to_string());
            let (title, year) = crate::reading::reading(&item.title, item.year);
            if year.is_some() {
                names.push(line);
                named.push(Name {
                    id,
                    year,
                    kind: Kind::Line,
                });
            }
            let means = catalog.resolve(&Item::new(title, None), 0).id();
            if means != Some(id) || !has_letters(title) {
                continue;
            }
            let normal = fold(title);
            let is_free = is_distinctive(&normal);
            let kind = match is_free && !is_ordinary(&normal) {
                true => Kind::Distinctive,
                false => Kind::Ordinary,
            };
            names.push(normal);
            named.push(Name { id, year, kind });
            if kind == Kind::Ordinary && title.chars().any(char::is_uppercase) {
                titles.push(collapse_spaces(&unify(title)));
                titled.push(Title {
                    id,
                    year,
                    may_begin: is_free,
                });
            }
        }
        Self {
            names: automaton(&names),
            named,
            titles: automaton(&titles),
            titled,
        }
    }

    /// The items whose own lines stand in a text, in the order of their places.
    #[must_use]
    pub fn in_text(&self, text: &str) -> Vec<Mention> {
        self.find(&fold(text), false)
    }

    /// The items that a user names in a text, with a year or without.
    #[must_use]
    pub fn in_what_a_user_says(&self, text: &str) -> Vec<Mention> {
        let normal = fold(text);
        let mut found = self.find(&normal, true);
        // Capitals decide here, so white space alone is collapsed.
        let written = collapse_spaces(&unify(text));
        let matches = self.titles.find_overlapping_iter(&written);
        let titles = matches.filter(|m| {
            let title = self.titled[m.pattern().as_usize()];
            stands_alone(&written, m.span().into())
                && has_year(&written[m.end()..], title.year)
                && (title.may_begin || !begins_a_sentence(&written, m.start()))
        });
        let titles = titles.map(|m| Mention {
            id: self.titled[m.pattern().as_usize()].id,
            span: m.span().into(),
        });
        let titles = longest(titles.collect());
        let apart = titles.into_iter().filter(|title| {
            // Folded text may have another length. Only the item is compared then.
            let overlaps = |other: &Mention| {
                other.span.start < title.span.end && title.span.start < other.span.end
            };
            normal.len() != written.len() || !found.iter().any(overlaps)
        });
        let apart: Vec<Mention> = apart.collect();
        found.extend(apart);
        found.sort_by_key(|mention| mention.span.start);
        found
    }

    /// The items that a conversation names, each once, in the order in which they are named first.
    /// Titles without a year count in the user's turns alone.
    #[must_use]
    pub fn in_turns(&self, turns: &[Turn]) -> Vec<ItemId> {
        let mut seen = std::collections::HashSet::new();
        let mut ids = Vec::new();
        for turn in turns {
            let mentions = match turn.role {
                Role::User => self.in_what_a_user_says(&turn.content),
                _ => self.in_text(&turn.content),
            };
            ids.extend(
                mentions
                    .iter()
                    .map(|mention| mention.id)
                    .filter(|id| seen.insert(*id)),
            );
        }
        ids
    }

    fn find(&self, normal: &str, titles: bool) -> Vec<Mention> {
        let (mut lines, mut bare) = (Vec::new(), Vec::new());
        for found in self.names.find_overlapping_iter(normal) {
            let Name { id, year, kind } = self.named[found.pattern().as_usize()];
            let span: Range<usize> = found.span().into();
            let behind = &normal[span.end..];
            let means_it = match kind {
                Kind::Line => true,
                Kind::Distinctive => titles && has_year(behind, year),
                Kind::Ordinary if titles => match year_behind(behind) {
                    Some(_) => year.is_some() && has_year(behind, year),
                    None => is_quoted(normal, &span),
                },
                Kind::Ordinary => false,
            };
            if means_it && stands_alone(normal, span.clone()) {
                let found = if kind == Kind::Line {
                    &mut lines
                } else {
                    &mut bare
                };
                found.push(Mention { id, span });
            }
        }
        // A line is preferred to a title that overlaps it.
        let lines = longest(lines);
        let mut found = lines.clone();
        let mut line = lines.iter().peekable();
        for title in longest(bare) {
            while line
                .next_if(|line| line.span.end <= title.span.start)
                .is_some()
            {}
            if line
                .peek()
                .is_none_or(|line| title.span.end <= line.span.start)
            {
                found.push(title);
            }
        }
        found.sort_by_key(|mention| mention.span.start);
        found
    }
}

fn automaton(patterns: &[String]) -> AhoCorasick {
    AhoCorasickBuilder::new()
        .match_kind(MatchKind::Standard)
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(patterns)
        .expect("the names of a catalog have fewer than 2^31 bytes")
}

/// The mentions without those that lie inside others or begin inside an earlier one.
fn longest(mut mentions: Vec<Mention>) -> Vec<Mention> {
    mentions.sort_by_key(|m| (m.span.start, std::cmp::Reverse(m.span.end)));
    let mut end = 0;
    mentions.retain(|mention| {
        let free = mention.span.start >= end;
        if free {
            end = mention.span.end;
        }
        free
    });
    mentions
}

/// Whether a title has two letters or more, so that it can be told from other words.
fn has_letters(text: &str) -> bool {
    text.chars().filter(|c| c.is_alphabetic()).nth(1).is_some()
}

/// Whether a normalised title is unlikely to be said by chance.
fn is_distinctive(title: &str) -> bool {
    let mut n_words = 0;
    let mut words = title
        .split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
        .inspect(|_| n_words += 1);
    let telling = words.any(|word| word.chars().any(char::is_alphabetic) && !is_common(word));
    telling || n_words >= LONG_TITLE
}

/// Whether a name ends where words end: no letter or digit goes on before or behind it, nor behind
/// an apostrophe, as in `I'm` and `haven't`. A possessive `'s` may follow.
fn stands_alone(text: &str, span: Range<usize>) -> bool {
    let is_apostrophe = |c: &char| matches!(c, '\'' | '’');
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (name, behind) = (&text[span.clone()], &text[span.end..]);
    let mut before = text[..span.start].chars().rev().peekable();
    before.next_if(is_apostrophe);
    let mut after = behind.chars().peekable();
    let possessive = after.next_if(is_apostrophe).is_some()
        && after.next_if_eq(&'s').is_some()
        && !is_word(after.peek().copied());
    let begins = !is_word(name.chars().next()) || !is_word(before.next());
    let ends = !is_word(name.chars().next_back()) || possessive || !is_word(after.next());
    begins && ends
}

/// Whether a title before `rest` may be that of an item of this year: no year follows, or one that
/// is near enough.
fn has_year(rest: &str, year: Option<i32>) -> bool {
    year_behind(rest)
        .zip(year)
        .is_none_or(|(named, year)| named.abs_diff(year) <= YEAR_TOLERANCE)
}

/// The year in brackets that a text begins with.
fn year_behind(rest: &str) -> Option<i32> {
    let (named, _) = rest.strip_prefix(" (")?.split_once(')')?;
    named.parse().ok()
}

/// Whether a name stands between quotation marks of any kind.
fn is_quoted(text: &str, span: &Range<usize>) -> bool {
    let is_mark = |c: Option<char>| c.is_some_and(|c| "\"'`".contains(c));
    is_mark(text[..span.start].chars().next_back()) && is_mark(text[span.end..].chars().next())
}

/// Whether nothing but the end of a sentence stands before a place.
fn begins_a_sentence(text: &str, at: usize) -> bool {
    let before = text[..at].trim_end_matches(is_space);
    before
        .chars()
        .next_back()
        .is_none_or(|c| ".!?…:;".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::catalog;

    fn named(catalog: &Catalog, text: &str) -> Vec<String> {
        let ids = Mentions::new(catalog).in_turns(&[Turn::user(text)]);
        ids.iter()
            .map(|id| catalog[*id].item().to_string())
            .collect()
    }

    #[test]
    fn the_longest_name_counts_between_word_boundaries() {
        let films = catalog(&[
            ("Heat", Some(1995)),
            ("Red Heat", Some(1988)),
            ("The Matrix", Some(1999)),
            ("Matrix", None),
            ("WALL·E", Some(2008)),
            ("(500) Days of Summer", Some(2009)),
        ]);
        assert_eq!(
            named(&films, "Red heat, Heat"),
            ["Red Heat (1988)", "Heat (1995)"]
        );
        assert_eq!(named(&films, "red  HEAT\n(1988)!"), ["Red Heat (1988)"]);
        assert_eq!(named(&films, "heated reheat, heat't, o'heat"), [""; 0]);
        assert_eq!(named(&films, "Heat's end, 'heat'"), ["Heat (1995)"]);
        assert_eq!(
            named(&films, "I saw the Matrix and a Matrix"),
            ["The Matrix (1999)", "Matrix"]
        );
        assert_eq!(named(&films, "wall·e; (500) days of summer?").len(), 2);
        // Another year is another film.
        assert_eq!(named(&films, "heat (1986)"), [""; 0]);
        assert_eq!(named(&films, "heat (1996)"), ["Heat (1995)"]);
    }

    #[test]
    fn common_words_name_nothing_but_where_they_are_written_as_titles() {
        let films = catalog(&[
            ("Up", Some(2009)),
            ("It", Some(2017)),
            ("Home Alone", Some(1990)),
            ("300", Some(2006)),
            ("M", Some(1931)),
            ("Haven", Some(2004)),
            ("What a Way to Go!", Some(1964)),
        ]);
        assert_eq!(
            named(&films, "It was up to me. Up it goes, home alone"),
            [""; 0]
        );
        assert_eq!(
            named(&films, "I loved Up and It"),
            ["Up (2009)", "It (2017)"]
        );
        assert_eq!(named(&films, "we saw Home Alone"), ["Home Alone (1990)"]);
        assert_eq!(named(&films, "300 people. I'm M, and I haven't"), [""; 0]);
        assert_eq!(named(&films, "300 (2006), what a way to go!").len(), 2);
    }

    /// In ReDial's conversations such words name a film in one case of ten.
    #[test]
    fn one_ordinary_word_needs_its_capital_quotes_or_its_year() {
        let films = catalog(&[
            ("Root", Some(2014)),
            ("Alien", Some(1979)),
            ("Deadpool", Some(2016)),
            ("The Matrix", Some(1999)),
            ("Up", Some(2009)),
        ]);
        let said = "I root for a game with parents, and I love alien movies. ROOT!";
        assert_eq!(named(&films, said), [""; 0]);
        assert_eq!(
            named(&films, "Root is fine, and so is Alien"),
            ["Root (2014)", "Alien (1979)"]
        );
        assert_eq!(
            named(&films, "have you seen \"alien\" and ‘up’?"),
            ["Alien (1979)", "Up (2009)"]
        );
        assert_eq!(named(&films, "alien (1980), root (1990)"), ["Alien (1979)"]);
        assert_eq!(named(&films, "Alien (1986), Up (1990)"), [""; 0]);
        assert_eq!(
            named(&films, "deadpool and the matrix"),
            ["Deadpool (2016)", "The Matrix (1999)"]
        );
    }

    #[test]
    fn a_title_of_several_items_needs_its_year() {
        let films = catalog(&[("Dune", Some(1984)), ("Dune", Some(2021)), ("Jaws", None)]);
        assert_eq!(named(&films, "Dune and Jaws"), ["Jaws"]);
        assert_eq!(named(&films, "dune (1984)"), ["Dune (1984)"]);
        let assistant = [Turn::assistant("Try Jaws or Dune (2021)"), Turn::user("hm")];
        assert_eq!(Mentions::new(&films).in_turns(&assistant), [ItemId(1)]);
    }

    #[test]
    fn megabytes_of_anything_take_a_moment() {
        let films = catalog(&[
            ("(", Some(1999)),
            ("((", None),
            ("a (1)", None),
            ("Heat", None),
        ]);
        let mentions = Mentions::new(&films);
        let started = std::time::Instant::now();
        for text in ["(", "a (1", "( (1999) ", "Heat. "] {
            let text = text.repeat((1 << 20) / text.len());
            let _ = mentions.in_what_a_user_says(&text);
        }
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}
