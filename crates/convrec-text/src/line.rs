//! One line of a list: list marks, title, year, remark.

use crate::whitespace::{digit, is_digit, is_white, trim};

/// Marks that are a bullet or a heading only with white space behind them.
const BULLETS: [char; 7] = ['-', '*', '+', '–', '—', '#', '>'];
/// Marks that are nothing but bullets.
const DOTS: [char; 9] = ['•', '‣', '▪', '◦', '●', '○', '■', '►', '➤'];
/// Marks that may trail a title, set off by white space: `Heat - (1995)`, `Heat **(1995)**`.
const TRAILING: [char; 6] = ['-', '*', '_', '–', '—', '#'];
/// Opening quotes with their closing quotes.
const QUOTES: [(char, &str); 9] = [
    ('"', "\""),
    ('\'', "'"),
    ('`', "`"),
    ('“', "”"),
    ('„', "“"),
    ('‘', "’"),
    ('«', "»"),
    ('「', "」"),
    ('《', "》"),
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

    fn accepts(&mut self, number: u32) -> bool {
        let text = self.text;
        // Behind other numbers, 1 begins another list.
        let begins_anew = number == 1 && self.last > 0;
        let accepted = number == self.last + 1
            || begins_anew
            || *self
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
            numbers + usize::from(ListNumber::read(without_bullets(line)).is_some()),
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
    /// The end of an emphasis that began before the number and is still open, as in `**1. Heat**
    /// (1995)`; or empty.
    open_until: &'a str,
}

impl<'a> Line<'a> {
    /// Reads a line that is not blank and has no white space at its ends.
    pub(crate) fn read(line: &'a str, numbering: &mut Numbering<'_>) -> Self {
        let body = without_bullets(line);
        match ListNumber::read(body).filter(|number| numbering.accepts(number.value)) {
            Some(number) => Self {
                body: without_bullets(number.rest),
                has_list_mark: true,
                open_until: number.open_until,
            },
            None => Self {
                body,
                has_list_mark: body.len() < line.len(),
                open_until: "",
            },
        }
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
        found.map(|(at, year)| (self.undress(&self.body[..at], year.rest), year.value))
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
    fn undress(&self, title: &'a str, mut rest: &str) -> &'a str {
        let mut title = trim(title);
        if !self.open_until.is_empty() {
            title = title.strip_suffix(self.open_until).unwrap_or(title);
        }
        loop {
            title = without_trailing_marks(trim(title));
            let Some((inner, close)) = after_opening(title) else {
                return title;
            };
            // The pair closes behind the title, or behind the year.
            let (inner, left) = match (inner.strip_suffix(close), rest.strip_prefix(close)) {
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

fn without_bullets(mut line: &str) -> &str {
    loop {
        let rest = match line.strip_prefix(DOTS) {
            Some(rest) => rest,
            None => match line.trim_start_matches(BULLETS) {
                rest if rest.len() < line.len() && rest.starts_with(is_white) => rest,
                _ => return line,
            },
        };
        line = rest.trim_start_matches(is_white);
    }
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
}

impl<'a> ListNumber<'a> {
    fn read(line: &'a str) -> Option<Self> {
        // Most plain lines end here.
        if line.starts_with(|c: char| c.is_alphabetic()) {
            return None;
        }
        let (line, mut open_until) = after_opening(line).unwrap_or((line, ""));
        let (line, hash) = line
            .strip_prefix('#')
            .map_or((line, false), |rest| (rest, true));
        let after_digits = line.trim_start_matches(is_digit);
        // Lists are shorter than 1,000; films are called `2001: A Space Odyssey`.
        let digits = line[..line.len() - after_digits.len()].chars();
        let value = digits
            .enumerate()
            .try_fold(0, |n, (i, c)| (i < 3).then_some(n * 10 + digit(c)?))?;
        if after_digits.len() == line.len() {
            return None;
        }
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
        })
    }
}

/// The text behind the mark of a list number.
fn after_mark(text: &str, hash: bool) -> Option<&str> {
    let marked = text.trim_start_matches(is_white);
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
        if !more.starts_with(['-', '–', '—', '−', ',', '、', ';', '/']) {
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
                None if matches!(c, ')' | '）') && digits > 0 => {
                    return Some(Self {
                        value: sign * value,
                        digits,
                        rest: &inner[at + c.len_utf8()..],
                    });
                }
                _ => return None,
            }
        }
        None
    }
}
