use convrec_core::Item;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// The rates of a scripted teacher's mistakes. They turn a clean ranking into an answer such as a
/// chat model gives.
///
/// The first four are chances per line and exclude each other, so they add up to at most 1. The
/// style of the answer (numbers, bullets, bold, blank lines, a remark behind the item) has no rate.
/// It is drawn once for each answer from the styles that chat models use. Rates of 0 give an answer
/// from which every item can still be read.
///
/// ```
/// use convrec_services::Mistakes;
/// use convrec_core::Item;
/// use rand::SeedableRng;
///
/// let clean = [Item::new("Heat", 1995), Item::new("Alien", 1979), Item::new("Brazil", 1985)];
/// let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
/// let answer = Mistakes { wrong_year: 1.0, ..Mistakes::NONE }.write(&clean, 3, &mut rng);
/// assert!(answer.contains("Alien (") && !answer.contains("Alien (1979)"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mistakes {
    /// The chance that a title that does not exist takes the rank. The clean items move down.
    pub invented: f64,
    /// The chance that the item's year is 1 to 3 years off. An item without a year gets one.
    pub wrong_year: f64,
    /// The chance that an item that was already named takes the rank. The clean items move down.
    pub duplicate: f64,
    /// The chance that the line is written so that no `Title (Year)` can be read from it.
    pub broken_line: f64,
    /// The chance per answer, not per line, of talk before and after the list.
    pub preamble: f64,
}

impl Mistakes {
    /// No mistakes. Only the style of the answer varies.
    pub const NONE: Self = Self {
        invented: 0.0,
        wrong_year: 0.0,
        duplicate: 0.0,
        broken_line: 0.0,
        preamble: 0.0,
    };

    /// Checks that each rate lies in 0..=1, and that those per line add up to at most 1.
    ///
    /// # Errors
    /// The field that is wrong, with a text that says what was found and what is expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let rates = [
            ("invented", self.invented),
            ("wrong_year", self.wrong_year),
            ("duplicate", self.duplicate),
            ("broken_line", self.broken_line),
            ("preamble", self.preamble),
        ];
        for (field, rate) in rates {
            if !(0.0..=1.0).contains(&rate) {
                return Err((field, format!("{rate}; expected a chance in 0..=1")));
            }
        }
        let sum = self.invented + self.wrong_year + self.duplicate + self.broken_line;
        // Rounding: .1 + .2 + .7 is a hair above 1.
        if sum > 1.0 + 1e-9 {
            return Err((
                "invented",
                format!("the four rates per line add up to {sum}; expected at most 1"),
            ));
        }
        Ok(())
    }

    /// Writes an answer of `n` lines that names the items of `list` in order, with mistakes. It has
    /// fewer lines when `list` runs out.
    pub fn write(&self, list: &[Item], n: usize, rng: &mut impl Rng) -> String {
        let style = Style::draw(rng);
        let mut clean = list.iter();
        let mut named: Vec<Item> = Vec::new();
        let mut lines: Vec<String> = Vec::new();
        while lines.len() < n {
            let slip = self.draw(rng);
            let (item, broken) = match slip {
                Slip::Invented => (invent(list, rng), false),
                Slip::Duplicate if !named.is_empty() => (named.choose(rng).cloned(), false),
                Slip::WrongYear => (clean.next().map(|item| with_wrong_year(item, rng)), false),
                Slip::BrokenLine => (clean.next().cloned(), true),
                Slip::None | Slip::Duplicate => (clean.next().cloned(), false),
            };
            let Some(item) = item else { break };
            let text = if broken {
                break_line(&item, rng)
            } else {
                style.entry(&item, rng)
            };
            lines.push(style.line(lines.len() + 1, &text));
            named.push(item);
        }
        let body = lines.join(if style.blank_lines { "\n\n" } else { "\n" });
        if rng.random_bool(self.preamble.clamp(0.0, 1.0)) {
            with_talk(&body, rng)
        } else {
            body
        }
    }

    fn draw(&self, rng: &mut impl Rng) -> Slip {
        let mut u: f64 = rng.random();
        for (rate, slip) in [
            (self.invented, Slip::Invented),
            (self.wrong_year, Slip::WrongYear),
            (self.duplicate, Slip::Duplicate),
            (self.broken_line, Slip::BrokenLine),
        ] {
            if u < rate {
                return slip;
            }
            u -= rate;
        }
        Slip::None
    }
}

/// The default rates are of the size that zero-shot chat models show.
impl Default for Mistakes {
    fn default() -> Self {
        Self {
            invented: 0.10,
            wrong_year: 0.05,
            duplicate: 0.03,
            broken_line: 0.03,
            preamble: 0.5,
        }
    }
}

enum Slip {
    None,
    Invented,
    WrongYear,
    Duplicate,
    BrokenLine,
}

/// How an answer looks; one for the whole answer, as models keep to the style they began with.
struct Style {
    mark: Mark,
    bold: bool,
    blank_lines: bool,
    remarks: bool,
}

#[derive(Clone, Copy)]
enum Mark {
    None,
    Number(&'static str),
    Bullet(&'static str),
}

impl Style {
    fn draw(rng: &mut impl Rng) -> Self {
        const MARKS: [Mark; 8] = [
            Mark::Number(". "),
            Mark::Number(". "),
            Mark::Number(". "),
            Mark::Number(") "),
            Mark::Number("."),
            Mark::Bullet("- "),
            Mark::Bullet("* "),
            Mark::None,
        ];
        Self {
            mark: MARKS[rng.random_range(0..MARKS.len())],
            bold: rng.random_bool(0.2),
            blank_lines: rng.random_bool(0.1),
            remarks: rng.random_bool(0.2),
        }
    }

    fn entry(&self, item: &Item, rng: &mut impl Rng) -> String {
        const REMARKS: [&str; 4] = [
            " - a classic",
            ": worth a look",
            " - highly rated",
            " by popular demand",
        ];
        let name = if self.bold {
            format!("**{item}**")
        } else {
            item.to_string()
        };
        // Behind a name without a year a remark could not be told from the title.
        if self.remarks && item.year.is_some() {
            name + REMARKS[rng.random_range(0..REMARKS.len())]
        } else {
            name
        }
    }

    fn line(&self, rank: usize, text: &str) -> String {
        match self.mark {
            Mark::None => text.to_string(),
            Mark::Bullet(bullet) => format!("{bullet}{text}"),
            // "1." straight before a title that begins with a digit could not be read back.
            Mark::Number(".") if text.starts_with(|c: char| c.is_ascii_digit()) => {
                format!("{rank}. {text}")
            }
            Mark::Number(mark) => format!("{rank}{mark}{text}"),
        }
    }
}

/// The beginning of one title and the end of another. `None` only where there are no titles.
fn invent(list: &[Item], rng: &mut impl Rng) -> Option<Item> {
    let (first, second) = (list.choose(rng)?, list.choose(rng)?);
    let words = |item: &Item| {
        item.title
            .split_whitespace()
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    let (head, tail) = (words(first), words(second));
    let mut title = [&head[..head.len().div_ceil(2)], &tail[tail.len() / 2..]]
        .concat()
        .join(" ");
    if list.iter().any(|item| item.title == title) {
        title.push_str(" Part Two");
    }
    Some(Item::new(
        title,
        second.year.unwrap_or_else(|| any_year(rng)),
    ))
}

fn with_wrong_year(item: &Item, rng: &mut impl Rng) -> Item {
    let offset = rng.random_range(1..=3) * if rng.random_bool(0.5) { 1 } else { -1 };
    Item::new(
        item.title.clone(),
        item.year
            .map_or_else(|| any_year(rng), |year| year.saturating_add(offset)),
    )
}

fn any_year(rng: &mut impl Rng) -> i32 {
    rng.random_range(1950..2020)
}

fn break_line(item: &Item, rng: &mut impl Rng) -> String {
    let Item { title, year } = item;
    let year = year.map_or_else(|| "year unknown".to_string(), |year| year.to_string());
    match rng.random_range(0..4) {
        0 => format!("{title}, {year}"),
        1 => format!("{title} ({year}"),
        2 => format!("({year}) {title}"),
        _ => format!("Something like {title}, perhaps"),
    }
}

fn with_talk(body: &str, rng: &mut impl Rng) -> String {
    const BEFORE: [&str; 4] = [
        "Sure! Here are some recommendations for you:\n\n",
        "Based on our conversation, you might enjoy:\n",
        "Great taste! I think you would like these:\n\n",
        "Here are my suggestions:\n",
    ];
    const AFTER: [&str; 3] = ["", "\n\nEnjoy!", "\n\nLet me know if you would like more!"];
    let (before, after) = (
        rng.random_range(0..BEFORE.len()),
        rng.random_range(0..AFTER.len()),
    );
    format!("{}{body}{}", BEFORE[before], AFTER[after])
}
