//! One line of a list: list marks, title, year, remark.

use std::borrow::Cow;

use crate::whitespace::{digit, is_digit, is_white, trim};

/// Marks that are a bullet or a heading only with white space behind them.
const BULLETS: [char; 7] = ['-', '*', '+', '–', '—', '#', '>'];
/// Marks that are nothing but bullets.
const DOTS: [char; 9] = ['•', '‣', '▪', '◦', '●', '○', '■', '►', '➤'];
/// Marks that are a bullet only before white space and a title: `★ Heat (1995)`.
const SYMBOLS: [char; 22] = [
    '→', '➔', '➜', '⇒', '★', '☆', '✦', '✓', '✔', '✅', '☑', '·', '∙', '⁃', '◆', '◇', '▶', '▸', '▷',
    '□', '❖', '✗',
];
/// Tags of HTML, and around answers, that may stand around an item.
const TAGS: [&str; 9] = ["answer", "li", "ol", "ul", "p", "b", "i", "em", "strong"];
/// What a year in brackets may go on with: `(2005 TV series)`.
const FILM_KINDS: [&str; 3] = ["film", "movie", "series"];
/// Words before a list number: `No. 1:`, `Rank 1:`.
const NUMBER_WORDS: [&str; 6] = ["no.", "№", "number", "rank", "movie", "film"];
/// Marks that may trail a title, set off by white space: `Heat - (1995)`, `Heat **(1995)**`.
const TRAILING: [char; 7] = ['-', '*', '_', '–', '—', '#', '\\'];
/// Opening quotes with their closing quotes.
const QUOTES: [(char, &str); 11] = [
    ('"', "\""),
    ('\'', "'"),
    ('`', "`"),
    ('“', "”"),
    ('„', "“"),
    ('‘', "’"),
    ('«', "»"),
    ('「', "」"),
    ('『', "』"),
    ('《', "》"),
    ('‹', "›"),
];

/// The rule by which numbers in front of the lines of a text are list numbers.
pub(crate) struct Numbering<'a> {
    text: &'a str,
    /// It is found out when it is first asked for, as most lists just count.
    most_lines_have_one: Option<bool>,
    last: u32,
}

impl<'a> Numbering<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        Self {
            text,
            most_lines_have_one: None,
            last: 0,
        }
    }

    fn accepts(&mut self, number: &ListNumber<'_>) -> bool {
        let text = self.text;
        let (number, may_be_title) = (number.value, number.may_be_title);
        // Behind other numbers, 1 begins another list.
        let begins_anew = number == 1 && self.last > 0;
        let accepted = number == self.last + 1
            || begins_anew
            || !may_be_title
                && *self
                    .most_lines_have_one
                    .get_or_insert_with(|| most_lines_have_a_number(text));
        if accepted {
            self.last = number;
        }
        accepted
    }
}

fn most_lines_have_a_number(text: &str) -> bool {
    let lines = text.split('\n').map(trim).filter(|line| !line.is_empty());
    let (lines, numbers) = lines.fold((0, 0), |(lines, numbers), line| {
        (
            lines + 1,
            numbers
                + usize::from(
                    ListNumber::read(without_bullets(without_tags(line)))
                        .is_some_and(|number| !number.may_be_title),
                ),
        )
    });
    numbers >= 2 && 2 * numbers >= lines
}

/// A line without bullets and list number.
pub(crate) struct Line<'a> {
    /// The rest of the line.
    pub(crate) body: &'a str,
    /// Whether there was a bullet or a number.
    pub(crate) has_list_mark: bool,
    has_number: bool,
    /// The end of an emphasis that began before the number and is still open, as in `**1. Heat**
    /// (1995)`; or empty.
    open_until: &'a str,
    /// The year from another cell of a table.
    cell_year: Option<i32>,
}

impl<'a> Line<'a> {
    /// Reads a line that is not blank and has no white space at its ends.
    pub(crate) fn read(line: &'a str, numbering: &mut Numbering<'_>) -> Self {
        let line = without_tags(without_invisible_start(line));
        if let Some(cells) = line.strip_prefix('|') {
            return Self::of_row(cells);
        }
        let body = without_bullets(line);
        match ListNumber::read(body).filter(|number| numbering.accepts(number)) {
            Some(number) => Self {
                body: without_tags(without_bullets(number.rest)),
                has_list_mark: true,
                has_number: true,
                open_until: number.open_until,
                cell_year: None,
            },
            None => Self {
                body: without_tags(body),
                // An emoji may stand before any sentence.
                has_list_mark: body.len() < line.len() && after_symbol(line).is_none(),
                has_number: false,
                open_until: "",
                cell_year: None,
            },
        }
    }

    /// Reads a row of a table: `1 | Heat | 1995 |`. Its title is the first cell that is no rank.
    fn of_row(row: &'a str) -> Self {
        let cell = |from: usize| {
            let mut cells = row.trim_end_matches('|').split('|').map(trim).skip(from);
            let body = cells.next().unwrap_or("");
            Self {
                body,
                has_list_mark: true,
                has_number: false,
                open_until: "",
                cell_year: cells.find_map(bare_year),
            }
        };
        let has_year = |line: &Self| line.title_and_year().is_some();
        let first = cell(0);
        let rank = first.body.trim_matches(['*', '_', '#', '.', ')', ' ']);
        let is_rank = number(rank).is_some_and(|(_, rest)| rest.is_empty());
        // A table without ranks may hold the film `9`.
        let second = is_rank.then(|| cell(1));
        second
            .filter(|second| has_year(second) || !has_year(&first))
            .unwrap_or(first)
    }

    /// The title and the year of `Heat [1995]` and `Heat (1995 film)`, and with a list number of
    /// `1. Heat (M. Mann, 1995)`. Where items need no year, these may be titles.
    pub(crate) fn title_and_loose_year(&self) -> Option<(&'a str, i32)> {
        let mut brackets = self.body.match_indices(['(', '[']);
        let (title, rest, year) = brackets.find_map(|(at, open)| {
            let (year, rest) = self.loose_year(open, &self.body[at + 1..])?;
            Some((&self.body[..at], rest, year))
        })?;
        Some((self.undress(title, rest), year)).filter(|(title, _)| !title.is_empty())
    }

    /// The year in a bracket, and the text behind the bracket.
    fn loose_year(&self, open: &str, inner: &'a str) -> Option<(i32, &'a str)> {
        // Such brackets are short, and each that opens would look for its end.
        let reach = inner
            .char_indices()
            .nth(80)
            .map_or(inner.len(), |(at, _)| at);
        let close = inner[..reach].find(if open == "[" { ']' } else { ')' })?;
        let (text, rest) = (&inner[..close], &inner[close + 1..]);
        if open == "[" {
            return Some((bare_year(text)?, rest));
        }
        let year = match text.split_once(is_white) {
            Some((year, more)) if FILM_KINDS.iter().any(|kind| more.ends_with(kind)) => year,
            _ if self.has_number => text.rsplit_once(", ")?.1,
            _ => return None,
        };
        Some((bare_year(year)?, rest))
    }

    /// The title before the first `(year)` of four digits, else of fewer, and that year. Where
    /// there is none, it is the first year of `(1994–2004)`, `(2008–)` or `(2024, more)`.
    pub(crate) fn title_and_year(&self) -> Option<(&'a str, i32)> {
        let mut short = None;
        for (at, _) in self.body.match_indices(['(', '（']) {
            let Some(year) = Year::read(&self.body[at..]) else {
                continue;
            };
            if trim(&self.body[..at]).is_empty() {
                continue;
            }
            if year.digits == 4 {
                return Some((self.undress(&self.body[..at], year.rest), year.value));
            }
            short = short.or(Some((at, year)));
        }
        let found = short.or_else(|| self.year_with_more());
        found
            .map(|(at, year)| (self.undress(&self.body[..at], year.rest), year.value))
            .or_else(|| {
                self.cell_year
                    .map(|year| (self.title(), year))
                    .filter(|(title, _)| !title.is_empty())
            })
    }

    /// Where the first bracket stands that begins with a year of four digits and says more.
    fn year_with_more(&self) -> Option<(usize, Year<'a>)> {
        // Without the last bracket that closes, each that opens would look for it to the end.
        let end = self.body.rfind([')', '）'])?;
        let mut brackets = self.body[..end].match_indices(['(', '（']);
        brackets.find_map(|(at, _)| {
            let year = Year::read_with_more(&self.body[at..])?;
            (!trim(&self.body[..at]).is_empty()).then_some((at, year))
        })
    }

    /// Whether the line holds a title and a year of four digits behind it, so that nothing which
    /// may follow changes what it names.
    pub(crate) fn is_whole(&self) -> bool {
        self.body.match_indices(['(', '（']).any(|(at, _)| {
            let year = Year::read(&self.body[at..]);
            year.is_some_and(|year| year.digits == 4) && !trim(&self.body[..at]).is_empty()
        })
    }

    /// The title of a line without a year.
    pub(crate) fn title(&self) -> &'a str {
        self.undress(self.body, "")
    }

    /// `title` without emphasis, quotes and trailing marks; `rest` is the text behind the year.
    fn undress(&self, title: &'a str, mut rest: &'a str) -> &'a str {
        let mut title = trim(title);
        if !self.open_until.is_empty() {
            title = title.strip_suffix(self.open_until).unwrap_or(title);
        }
        let mut may_be_link = true;
        loop {
            title = without_trailing_marks(without_closing_tags(trim(title)));
            if let Some((inner, left)) = link(title, rest).filter(|_| may_be_link) {
                // Once, as each look takes time.
                (title, rest, may_be_link) = (inner, left, false);
                continue;
            }
            let Some((inner, close)) = after_opening(title) else {
                return title;
            };
            // The pair closes behind the title, or behind the year: `**Heat (1995):**`.
            let behind = || {
                let bare = rest.strip_prefix([':', '：', ',', '.']).unwrap_or(rest);
                rest.strip_prefix(close).or(bare.strip_prefix(close))
            };
            let (inner, left) = match (inner.strip_suffix(close), behind()) {
                (Some(inner), _) => (inner, rest),
                (None, Some(left)) => (inner, left),
                (None, None) => return title,
            };
            // An apostrophe is no quote, and two quoted pieces are no quoted piece.
            let is_pair = matches!(close, "'" | "’") || !inner.contains(close);
            if !is_pair || trim(inner).is_empty() {
                return title;
            }
            (title, rest) = (inner, left);
        }
    }
}

/// The text behind the emphasis or the quote that `text` begins with, and the mark that closes it.
fn after_opening(text: &str) -> Option<(&str, &str)> {
    let first = text
        .chars()
        .next()
        .filter(|first| !first.is_alphanumeric())?;
    if matches!(first, '*' | '_') {
        let rest = text.trim_start_matches(first);
        return Some((rest, &text[..text.len() - rest.len()]));
    }
    let (_, close) = QUOTES.iter().find(|(open, _)| *open == first)?;
    Some((&text[first.len_utf8()..], close))
}

/// The text of a link that `title` begins with, and what follows it: `[Heat](url) (1995)`,
/// `[Heat (1995)](url)`, `[[Heat (1995)]]`.
fn link<'a>(title: &'a str, rest: &'a str) -> Option<(&'a str, &'a str)> {
    if let Some(inner) = title.strip_prefix("[[") {
        let own = inner.strip_suffix("]]").map(|inner| (inner, rest));
        return own.or_else(|| Some((inner, rest.strip_prefix("]]")?)));
    }
    let inner = title.strip_prefix('[')?;
    let own = inner.split_once("](").map(|(inner, _)| (inner, rest));
    own.or_else(|| rest.starts_with("](").then_some((inner, "")))
        .filter(|(inner, _)| !inner.is_empty())
}

/// Whether `text` begins with the line under the head of a table: `|---|:-:|`.
pub(crate) fn is_table_rule(text: &str) -> bool {
    let line = text.split('\n').next().unwrap_or("");
    line.contains("--")
        && line
            .chars()
            .all(|c| matches!(c, '|' | '-' | ':') || is_white(c))
}

/// White space, and marks that show nothing: byte order, direction, joining.
pub(crate) fn is_blank(c: char) -> bool {
    is_white(c)
        || matches!(
            c,
            '\u{feff}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2060}'
        )
}

/// A line without what shows nothing in front of a list mark; titles may begin so.
fn without_invisible_start(line: &str) -> &str {
    let shown = line.trim_start_matches(is_blank);
    let is_marked = || {
        let body = without_bullets(shown);
        body.len() < shown.len() || ListNumber::read(body).is_some()
    };
    let is_hidden = shown.len() < line.len() && (line.starts_with('\u{feff}') || is_marked());
    if is_hidden { shown } else { line }
}

/// `1995`, with emphasis or not.
fn bare_year(text: &str) -> Option<i32> {
    let text = text.trim_matches(['*', '_', ' ']);
    let is_year = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    let year = text.parse().ok().filter(|_| is_year)?;
    // Films and books have such years; other numbers are prices or places.
    (1000..2100).contains(&year).then_some(year)
}

fn without_tags(mut text: &str) -> &str {
    let tag_len = |text: &'_ str| {
        let text = text.strip_prefix('<')?;
        let is_tag = |tag: &&&str| text.strip_prefix(**tag).is_some_and(|t| t.starts_with('>'));
        TAGS.iter().find(is_tag).map(|tag| tag.len() + 2)
    };
    while let Some(len) = tag_len(text) {
        text = text[len..].trim_start_matches(is_white);
    }
    text
}

fn without_closing_tags(mut text: &str) -> &str {
    let before_tag = |text: &'_ str| {
        let text = text.strip_suffix('>')?;
        let mut tags = TAGS.iter();
        tags.find_map(|tag| Some(text.strip_suffix(tag)?.strip_suffix("</")?.len()))
    };
    while let Some(end) = before_tag(text) {
        text = text[..end].trim_end_matches(is_white);
    }
    text
}

fn without_bullets(mut line: &str) -> &str {
    loop {
        let marked = match line.strip_prefix(DOTS) {
            Some(rest) => Some(rest),
            None => match line.trim_start_matches(BULLETS) {
                rest if rest.len() < line.len() && rest.starts_with(is_white) => Some(rest),
                _ => after_symbol(line),
            },
        };
        let Some(rest) = marked else { return line };
        let rest = rest.trim_start_matches(is_white);
        line = without_box(rest).unwrap_or(rest);
    }
}

/// The text behind a symbol or an emoji that stands as a bullet before a title.
fn after_symbol(line: &str) -> Option<&str> {
    let is_symbol = |c| SYMBOLS.contains(&c) || matches!(c, '\u{1f300}'..='\u{1faff}' | '⭐');
    let rest = line.strip_prefix(is_symbol)?;
    let rest = rest.strip_prefix('\u{fe0f}').unwrap_or(rest);
    let title = rest.trim_start_matches(is_white);
    // `★ (1999)` is a title.
    let is_bullet = rest.starts_with(is_white) && !title.starts_with(['(', '（']);
    is_bullet.then_some(title)
}

/// The text behind the box of a task: `[ ] Heat`.
fn without_box(text: &str) -> Option<&str> {
    let rest = ["[ ]", "[x]", "[X]"]
        .iter()
        .find_map(|mark| text.strip_prefix(mark))?;
    let title = rest.trim_start_matches(is_white);
    (rest.starts_with(is_white) && !title.starts_with(['(', '（'])).then_some(title)
}

fn without_trailing_marks(mut title: &str) -> &str {
    loop {
        let bare = title.trim_end_matches(TRAILING);
        if bare.len() == title.len() || !bare.ends_with(is_white) || trim(bare).is_empty() {
            return title;
        }
        title = trim(bare);
    }
}

/// A number in front of a line that may be its rank: `1.`, `1)`, `1 -`, `1:`, `#1`, `**1.**`.
struct ListNumber<'a> {
    value: u32,
    rest: &'a str,
    open_until: &'a str,
    /// Whether titles look so, as `(500) Days of Summer` does; such numbers have to count.
    may_be_title: bool,
}

impl<'a> ListNumber<'a> {
    fn read(line: &'a str) -> Option<Self> {
        Self::of_digits(line).or_else(|| Self::of_another_form(line))
    }

    /// `(1)`, `[1]`, `【1】`, `①`, `1️⃣`, `No. 1:`, `Rank 1:`, `a)`.
    fn of_another_form(line: &'a str) -> Option<Self> {
        let clear = circled(line).or_else(|| keycaps(line));
        let found = || {
            bracketed(line)
                .or_else(|| named(line))
                .or_else(|| lettered(line))
        };
        let (value, rest) = clear.or_else(found)?;
        Some(Self {
            value,
            rest: rest.trim_start_matches(is_white),
            open_until: "",
            may_be_title: clear.is_none(),
        })
    }

    fn of_digits(line: &'a str) -> Option<Self> {
        // Most plain lines end here.
        if line.starts_with(|c: char| c.is_alphabetic()) {
            return None;
        }
        let (line, mut open_until) = after_opening(line).unwrap_or((line, ""));
        let (line, hash) = line
            .strip_prefix('#')
            .map_or((line, false), |rest| (rest, true));
        let (value, after_digits) = number(line)?;
        let mut close = |rest: &'a str| match open_until {
            "" => rest,
            _ => rest
                .strip_prefix(open_until)
                .inspect(|_| open_until = "")
                .unwrap_or(rest),
        };
        let rest = after_mark(close(after_digits), hash)?;
        let rest = close(rest).trim_start_matches(is_white);
        Some(Self {
            value,
            rest,
            open_until,
            may_be_title: false,
        })
    }
}

/// The number that `text` begins with, and the text behind it. Lists are shorter than 1,000; films
/// are called `2001: A Space Odyssey`.
fn number(text: &str) -> Option<(u32, &str)> {
    let rest = text.trim_start_matches(is_digit);
    let digits = text[..text.len() - rest.len()].chars();
    let value = digits
        .enumerate()
        .try_fold(0, |n, (i, c)| (i < 3).then_some(n * 10 + digit(c)?))?;
    (rest.len() < text.len()).then_some((value, rest))
}

fn circled(text: &str) -> Option<(u32, &str)> {
    let first = text.chars().next()?;
    let zero = match first {
        '①'..='⑳' => '①',
        '❶'..='❿' => '❶',
        '➀'..='➉' => '➀',
        '➊'..='➓' => '➊',
        _ => return None,
    };
    let value = u32::from(first) - u32::from(zero) + 1;
    Some((value, &text[first.len_utf8()..]))
}

/// `1️⃣0️⃣`: digits in boxes.
fn keycaps(text: &str) -> Option<(u32, &str)> {
    if let Some(rest) = text.strip_prefix('🔟') {
        return Some((10, rest));
    }
    let next = |text: &'_ str| -> Option<(u32, usize)> {
        let value = text.chars().next()?.to_digit(10)?;
        let rest = &text[1..];
        let rest = rest
            .strip_prefix('\u{fe0f}')
            .unwrap_or(rest)
            .strip_prefix('\u{20e3}')?;
        Some((value, text.len() - rest.len()))
    };
    let (mut value, mut at) = next(text)?;
    while let Some((digit, len)) = next(&text[at..]).filter(|_| value < 100) {
        (value, at) = (value * 10 + digit, at + len);
    }
    Some((value, &text[at..]))
}

fn bracketed(text: &str) -> Option<(u32, &str)> {
    let open = text.chars().next()?;
    let close = match open {
        '(' | '（' => [')', '）'],
        '[' => [']'; 2],
        '【' => ['】'; 2],
        _ => return None,
    };
    let (value, rest) = number(&text[open.len_utf8()..])?;
    Some((value, rest.strip_prefix(close)?))
}

fn named(text: &str) -> Option<(u32, &str)> {
    let after = |word: &&str| {
        let start = text.get(..word.len())?;
        start
            .eq_ignore_ascii_case(word)
            .then(|| text[word.len()..].trim_start_matches(is_white))
    };
    let (value, rest) = number(NUMBER_WORDS.iter().find_map(after)?)?;
    let rest = after_mark(rest, false)?;
    rest.starts_with(is_white).then_some((value, rest))
}

fn lettered(text: &str) -> Option<(u32, &str)> {
    let letter = text.chars().next().filter(char::is_ascii_alphabetic)?;
    let rest = text[1..]
        .strip_prefix(')')
        .filter(|rest| rest.starts_with(is_white))?;
    Some((
        u32::from(letter.to_ascii_lowercase()) - u32::from('a') + 1,
        rest,
    ))
}

/// The text behind the mark of a list number.
fn after_mark(text: &str, hash: bool) -> Option<&str> {
    let marked = text.trim_start_matches(is_white);
    // Markdown: `1\.` is no list to it.
    let marked = marked.strip_prefix('\\').unwrap_or(marked);
    if let Some(rest) = marked.strip_prefix(['.', ')', '、', '．', '）']) {
        let rest = rest.strip_prefix([')', '）']).unwrap_or(rest);
        // `11.22.63` is a title.
        return (!rest.starts_with(is_digit)).then_some(rest);
    }
    match marked.strip_prefix(['-', '–', '—', ':']) {
        // `8-Bit Christmas` and `3:10 to Yuma` are titles.
        Some(rest) => rest.starts_with(is_white).then_some(rest),
        None => (hash && marked.len() < text.len()).then_some(marked),
    }
}

/// `(1995)`: one to four digits, a minus before them or not. The brackets may be full-width ones.
struct Year<'a> {
    value: i32,
    digits: usize,
    rest: &'a str,
}

impl<'a> Year<'a> {
    /// `(1994–2004)`, `(2008–)`, `(2024, more)`: a year of four digits, and more in its brackets.
    fn read_with_more(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix(['(', '（'])?;
        let end = inner.char_indices().nth(4)?.0;
        let mut digits = inner[..end].chars().map(digit);
        let value = digits.try_fold(0, |value, digit| Some(value * 10 + digit? as i32))?;
        let more = inner[end..].trim_start_matches(is_white);
        if !more.starts_with(['-', '–', '—', '−', ',', '、', ';', '/', '年']) {
            return None;
        }
        let close = more.find([')', '）'])?;
        Some(Self {
            value,
            digits: 4,
            rest: more[close..].trim_start_matches([')', '）']),
        })
    }

    fn read(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix(['(', '（'])?;
        let (inner, sign) = inner
            .strip_prefix(['-', '−'])
            .map_or((inner, 1), |rest| (rest, -1));
        let (mut value, mut digits) = (0, 0);
        for (at, c) in inner.char_indices() {
            match digit(c) {
                Some(digit) if digits < 4 => {
                    (value, digits) = (value * 10 + digit as i32, digits + 1)
                }
                None if digits > 0 => {
                    // Markdown: `\(1995\)`.
                    let close = inner[at..].strip_prefix('\\').unwrap_or(&inner[at..]);
                    return Some(Self {
                        value: sign * value,
                        digits,
                        rest: close.strip_prefix([')', '）'])?,
                    });
                }
                _ => return None,
            }
        }
        None
    }
}

/// `text` without the entities of HTML: `Alien&nbsp;(1979)`, `Ocean&#39;s Eleven`.
pub(crate) fn without_entities(text: &str) -> Cow<'_, str> {
    let mut plain = Cow::Borrowed("");
    let mut from = 0;
    for (at, _) in text.match_indices('&') {
        let Some((c, len)) = entity(&text[at + 1..]) else {
            continue;
        };
        plain += &text[from..at];
        plain.to_mut().push(c);
        from = at + 1 + len;
    }
    plain += &text[from..];
    plain
}

/// The character of the entity that begins behind its `&`, and the length of what names it.
fn entity(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(9).position(|byte| byte == b';')?;
    let c = match &text[..end] {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        name => {
            let code = name.strip_prefix('#')?;
            let code = match code.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => code.parse().ok()?,
            };
            // A line stays one.
            char::from_u32(code).filter(|c| !c.is_control())?
        }
    };
    Some((c, end + 1))
}
