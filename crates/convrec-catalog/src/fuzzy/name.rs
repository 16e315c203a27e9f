//! Reads a title as plain words, with the parts that a name may leave out.

/// English articles; in front of a title they come and go.
const ARTICLES: [&str; 3] = ["the", "a", "an"];

/// Articles that catalogs sort behind a comma: "Passion, La".
#[rustfmt::skip]
const SORTED_BEHIND: [&str; 21] = [
    "the", "a", "an", "le", "la", "les", "l'", "un", "une", "el", "los", "las", "il", "lo", "gli", "i", "der", "die",
    "das", "ein", "eine",
];

/// Words in front of a number, with the short forms they are the same as.
const COUNTERS: [(&str, &str); 10] = [
    ("part", "part"),
    ("pt", "part"),
    ("volume", "volume"),
    ("vol", "volume"),
    ("chapter", "chapter"),
    ("episode", "episode"),
    ("ep", "episode"),
    ("book", "book"),
    ("season", "season"),
    ("number", "number"),
];

/// Short forms of words that titles are written with either way.
const SHORT: [(&str, &str); 5] = [
    ("dr", "doctor"),
    ("mr", "mister"),
    ("versus", "vs"),
    ("v", "vs"),
    ("pyjamas", "pajamas"),
];

/// Words that tell editions of a work apart, not works.
#[rustfmt::skip]
const EDITION: [&str; 26] = [
    "a", "the", "in", "film", "movie", "novel", "book", "tv", "series", "miniseries", "edition", "version", "cut",
    "directors", "extended", "special", "collectors", "complete", "unabridged", "abridged", "remastered", "restored",
    "uncut", "anniversary", "deluxe", "illustrated",
];

const NUMBERS: [&str; 13] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
];

const ROMAN: [&str; 21] = [
    "", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv",
    "xv", "xvi", "xvii", "xviii", "xix", "xx",
];

/// A way of reading a name: the whole or a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// Lower-case ASCII words and numbers with a space between them; never empty, no article in
    /// front.
    pub words: String,
    pub kind: Kind,
}

/// The relation of a reading to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub part: Part,
    /// Whether an English article stood in front.
    pub article: bool,
    /// The letters that the part leaves out, in percent of all.
    pub left_out: u8,
    /// Whether the text behind the first part has a number, as in sequels.
    pub number_behind: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    First,
    /// The last part, with or without the first.
    Later,
}

impl Kind {
    pub(super) fn whole(self) -> bool {
        self.part == Part::Whole
    }
}

/// A name taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// The whole title first, then its parts. Empty where nothing can be compared, as in "!!!".
    pub views: Vec<View>,
    pub year: Option<i32>,
}

impl Name {
    pub(super) fn read(title: &str, year: Option<i32>) -> Self {
        let (title, remnant) = without_year(title);
        let title = article_in_front(title);
        let mut pieces: Vec<Vec<String>> = pieces(&title)
            .into_iter()
            .map(words)
            .filter(|words| !words.is_empty())
            .collect();
        // "Director's Cut" is no part of a title that has another.
        while pieces.len() > 1
            && pieces[pieces.len() - 1]
                .iter()
                .all(|word| EDITION.contains(&word.as_str()))
        {
            pieces.pop();
        }
        let mut views = Views {
            whole: pieces.iter().flatten().map(String::len).sum(),
            views: Vec::with_capacity(4),
        };
        views.add(Part::Whole, &[&pieces.concat()], &[]);
        if let [first, middle @ .., last] = &pieces[..] {
            views.add(Part::First, &[first], &pieces[1..]);
            views.add(Part::Later, &[last], &[]);
            if !middle.is_empty() {
                views.add(Part::Later, &[first, last], &[]);
                views.add(
                    Part::First,
                    &[first, &middle.concat()],
                    std::slice::from_ref(last),
                );
            }
        }
        if let Some(owned) = without_owner(&title) {
            views.add(Part::Later, &[&words(owned)], &[]);
        }
        Self {
            views: views.views,
            year: year.or(remnant),
        }
    }
}

struct Views {
    /// The letters of the whole name.
    whole: usize,
    views: Vec<View>,
}

impl Views {
    /// Adds the reading of the `pieces` together, where it is not empty and new.
    fn add(&mut self, part: Part, pieces: &[&Vec<String>], behind: &[Vec<String>]) {
        let mut words: Vec<&str> = pieces
            .iter()
            .copied()
            .flatten()
            .map(String::as_str)
            .collect();
        let article = words.len() > 1 && ARTICLES.contains(&words[0]);
        if article {
            words.remove(0);
        }
        // "Birdman or (The Unexpected Virtue of Ignorance)".
        if part == Part::First && words.len() > 1 && words[words.len() - 1] == "or" {
            words.pop();
        }
        let letters: usize = words.iter().map(|word| word.len()).sum();
        let telling = words.iter().any(|word| {
            if is_number(word) {
                word.len() > 2
            } else {
                counter(word).is_none()
            }
        });
        let text = words.join(" ");
        let says_something = if part == Part::Whole {
            letters > 0
        } else {
            telling && letters > 2
        };
        if says_something && self.views.iter().all(|view| view.words != text) {
            let left_out = (100 * (self.whole.saturating_sub(letters)) / self.whole.max(1)) as u8;
            let kind = Kind {
                part,
                article,
                left_out: if part == Part::Whole { 0 } else { left_out },
                number_behind: behind.iter().flatten().any(|word| is_number(word)),
            };
            self.views.push(View { words: text, kind });
        }
    }
}

/// The title behind an owner such as "Monty Python's", where it is more than a word: "Life of
/// Brian".
fn without_owner(title: &str) -> Option<&str> {
    let at = ["'s ", "’s ", "s' ", "s’ "]
        .iter()
        .filter_map(|mark| title.find(mark).map(|at| at + mark.len()))
        .min()?;
    let rest = &title[at..];
    rest.contains(' ').then_some(rest)
}

/// The title without a year in brackets at its end, and that year: "Heat (1995 film)".
fn without_year(title: &str) -> (&str, Option<i32>) {
    let trimmed = title.trim_end();
    let inner = trimmed
        .strip_suffix([')', ']'])
        .and_then(|rest| rest.rsplit_once(['(', '[']));
    let Some((before, inside)) = inner.filter(|(before, _)| !before.trim().is_empty()) else {
        return (title, None);
    };
    let is_year = |word: &str| word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit());
    match inside
        .split(' ')
        .find(|word| is_year(word))
        .and_then(|word| word.parse().ok())
    {
        Some(year) => (before.trim_end(), Some(year)),
        None => (title, None),
    }
}

/// "Godfather, The" as "The Godfather"; also in front of a subtitle, "Godfather, The: Part II".
fn article_in_front(title: &str) -> String {
    let head = title.find([':', '(', '[']).unwrap_or(title.len());
    let behind = title[..head].rsplit_once(',').filter(|(before, article)| {
        !before.is_empty()
            && SORTED_BEHIND
                .iter()
                .any(|known| article.trim().eq_ignore_ascii_case(known))
    });
    match behind {
        Some((before, article)) => format!("{} {before}{}", article.trim(), &title[head..]),
        None => title.to_string(),
    }
}

/// The pieces of a title between colons, brackets, dashes with spaces around them, and "or".
fn pieces(title: &str) -> Vec<&str> {
    let mut pieces = vec![title];
    for mark in [
        "; or, ", ", or, ", ", or ", " or: ", ":", ";", " - ", "–", "—", "(", ")", "[", "]", " / ",
    ] {
        pieces = pieces
            .into_iter()
            .flat_map(|piece| piece.split(mark))
            .collect();
    }
    pieces.retain(|piece| piece.chars().any(char::is_alphanumeric));
    pieces
}

/// The words of a text in ASCII and lower case: "Amélie & Wall·E, Part II" is "amelie and wall e
/// part 2".
fn words(text: &str) -> Vec<String> {
    let plain = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        ascii(text)
    };
    let mut words: Vec<String> = Vec::with_capacity(8);
    let mut word = String::new();
    for c in plain.chars().chain([' ']) {
        match c {
            'a'..='z' | '0'..='9' => word.push(c),
            '\'' | '`' => {}
            '&' => words.extend(
                [std::mem::take(&mut word), "and".into()]
                    .into_iter()
                    .filter(|word| !word.is_empty()),
            ),
            _ if word.is_empty() => {}
            _ => words.push(std::mem::take(&mut word)),
        }
    }
    for place in 0..words.len() {
        let after_counter = place > 0 && counter(&words[place - 1]).is_some();
        if let Some(number) = number(&words[place], place > 0, after_counter) {
            words[place] = number.to_string();
        } else if let Some(long) = counter(&words[place]).or_else(|| look_up(&SHORT, &words[place]))
        {
            words[place] = long.to_string();
        }
    }
    words
}

fn ascii(text: &str) -> String {
    // Fractions and superscripts are words of their own: "2½".
    deunicode::deunicode_with_tofu(text, " ").to_ascii_lowercase()
}

/// The number that a word means: "two" everywhere, "II" behind other words, "I" and "one" behind
/// words such as "part".
fn number(word: &str, behind: bool, after_counter: bool) -> Option<usize> {
    let spelled = || {
        NUMBERS
            .iter()
            .position(|number| *number == word)
            .filter(|&n| n > 1 || after_counter)
    };
    // A lone I, V or X is a number only where something is counted: "Malcolm X", "V for Vendetta",
    // "Batman v Superman".
    let roman = || {
        ROMAN
            .iter()
            .position(|number| *number == word)
            .filter(|_| after_counter || behind && word.len() > 1)
    };
    if word.is_empty() {
        None
    } else {
        spelled().or_else(roman)
    }
}

fn counter(word: &str) -> Option<&'static str> {
    look_up(&COUNTERS, word)
}

fn look_up(table: &[(&str, &'static str)], word: &str) -> Option<&'static str> {
    table
        .iter()
        .find(|(short, _)| *short == word)
        .map(|(_, long)| *long)
}

pub(super) fn is_number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views(title: &str) -> Vec<String> {
        Name::read(title, None)
            .views
            .into_iter()
            .map(|view| view.words)
            .collect()
    }

    #[test]
    fn spelling_is_evened_out() {
        for (one, other) in [
            ("Godfather, The", "The Godfather"),
            ("Amélie", "AMELIE"),
            ("Fast & Furious", "Fast and Furious"),
            ("Rocky II", "Rocky 2"),
            ("Kill Bill: Vol. 2", "Kill Bill - Volume Two"),
            ("Schindler’s List", "Schindlers List"),
            ("Spider-Man", "Spider Man"),
            ("Passion, La", "La Passion"),
            ("Dr. Zhivago", "Doctor Zhivago"),
            ("Part I", "Part One"),
        ] {
            assert_eq!(views(one)[0], views(other)[0], "{one} {other}");
        }
        assert_ne!(views("Malcolm X")[0], views("Malcolm 10")[0]);
        assert_eq!(views("I, Robot"), ["i robot"]);
        assert!(views("!!!").is_empty());
    }

    #[test]
    fn parts_can_stand_for_the_whole() {
        assert_eq!(
            views("Star Wars: Episode V - The Empire Strikes Back"),
            [
                "star wars episode 5 the empire strikes back",
                "star wars",
                "empire strikes back",
                "star wars the empire strikes back",
                "star wars episode 5"
            ]
        );
        assert_eq!(
            views("Dr. Strangelove or: How I Learned to Stop Worrying")[1],
            "doctor strangelove"
        );
        assert_eq!(views("Moby-Dick; or, The Whale")[1], "moby dick");
        // "Part 2" alone says nothing.
        assert_eq!(views("Dune: Part Two"), ["dune part 2", "dune"]);
    }

    #[test]
    fn years_left_in_titles_are_years() {
        for title in ["Heat (1995)", "Heat [1995]", "Heat (1995 film)"] {
            let name = Name::read(title, None);
            assert_eq!(
                (name.views[0].words.as_str(), name.year),
                ("heat", Some(1995)),
                "{title}"
            );
        }
        assert_eq!(Name::read("Heat (1995)", Some(1994)).year, Some(1994));
        assert_eq!(Name::read("2012", None).year, None);
    }
}
