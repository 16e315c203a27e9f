//! Titles in other spellings, each as people and models write them.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

const ROMAN: [&str; 11] = [
    "", "", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X",
];
const SPELLED: [&str; 11] = [
    "", "", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten",
];
const ACCENTS: [(&str, &str); 19] = [
    ("áàâãäåāă", "a"),
    ("ÁÀÂÃÄÅ", "A"),
    ("éèêëēěę", "e"),
    ("ÉÈÊË", "E"),
    ("íìîïī", "i"),
    ("Í", "I"),
    ("óòôõöøō", "o"),
    ("ÓÖØ", "O"),
    ("úùûüū", "u"),
    ("ÚÜ", "U"),
    ("çćč", "c"),
    ("ÇČ", "C"),
    ("ñń", "n"),
    ("šşś", "s"),
    ("Š", "S"),
    ("žź", "z"),
    ("ýÿ", "y"),
    ("łŁ", "l"),
    ("ß", "ss"),
];
/// Words that editions add to a title; the work stays the same.
const EDITIONS: [&str; 8] = [
    ": Director's Cut",
    ": A Novel",
    " (Extended Edition)",
    ": Special Edition",
    " (Unabridged)",
    " - The Complete Edition",
    " (Remastered)",
    ": Collector's Edition",
];
const SEQUELS: [&str; 8] = [
    " 2",
    " II",
    " III",
    ": Part Two",
    " 3",
    ": Chapter 2",
    " Part II",
    ", Vol. 2",
];

pub fn starts_with_article(title: &str) -> Option<(&str, &str)> {
    title
        .split_once(' ')
        .filter(|(first, _)| ["The", "A", "An"].contains(first))
}

/// The title with its article behind a comma, without its article, or with one that it does not
/// have.
pub fn article(title: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    Some(match starts_with_article(title) {
        Some((article, rest)) if rng.random_bool(0.6) => format!("{rest}, {article}"),
        Some((_, rest)) => rest.to_string(),
        None => format!("The {title}"),
    })
}

/// The title without its punctuation, with spaces for it, or with other marks.
pub fn punctuation(title: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    const MARKS: &[char] = &[
        '.', ',', ':', '!', '?', '\'', '’', '-', '–', '"', '/', ';', '·', '…',
    ];
    let way = rng.random_range(0..3);
    let changed: String = match way {
        0 => title.chars().filter(|c| !MARKS.contains(c)).collect(),
        1 => title
            .chars()
            .map(|c| if MARKS.contains(&c) { ' ' } else { c })
            .collect(),
        _ => title
            .replace(": ", " - ")
            .replace('\'', "’")
            .replace('-', "–"),
    };
    changed_only(
        title,
        changed.split_whitespace().collect::<Vec<_>>().join(" "),
    )
}

pub fn and(title: &str, _: &mut ChaCha8Rng) -> Option<String> {
    changed_only(
        title,
        if title.contains(" & ") {
            title.replace(" & ", " and ")
        } else {
            title.replace(" and ", " & ")
        },
    )
}

/// The title with a number behind the first word in digits, roman numerals or words.
pub fn numeral(title: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    let mut words: Vec<String> = title.split(' ').map(String::from).collect();
    let value = |word: &str| {
        let word = word.trim_end_matches(':');
        let roman = ROMAN
            .iter()
            .position(|&r| !r.is_empty() && r.len() > 1 && r == word);
        roman
            .or_else(|| SPELLED.iter().position(|&s| !s.is_empty() && s == word))
            .or_else(|| word.parse().ok().filter(|n| (2..=10).contains(n)))
    };
    let place = (1..words.len()).find(|&place| value(&words[place]).is_some())?;
    let n = value(&words[place])?;
    let colon = if words[place].ends_with(':') { ":" } else { "" };
    words[place] = [ROMAN[n].to_string(), SPELLED[n].to_string(), n.to_string()]
        .choose(rng)?
        .clone()
        + colon;
    changed_only(title, words.join(" "))
}

pub fn accents(title: &str, _: &mut ChaCha8Rng) -> Option<String> {
    let plain = |c: char| {
        ACCENTS
            .iter()
            .find(|(from, _)| from.contains(c))
            .map_or(c.to_string(), |(_, to)| to.to_string())
    };
    changed_only(title, title.chars().map(plain).collect())
}

/// The title before its subtitle, where what is left out has no number.
pub fn without_subtitle(title: &str) -> Option<String> {
    let at = [": ", " - ", " – ", "; ", " ("]
        .iter()
        .filter_map(|mark| title.find(mark))
        .min()?;
    let (head, rest) = title.split_at(at);
    let head = head.trim_end_matches(" or").trim();
    let numbered = |word: &str| {
        word.chars().any(|c| c.is_ascii_digit())
            || ROMAN[2..].contains(&word)
            || SPELLED.contains(&word)
    };
    let rest_has_number = rest
        .split([' ', ':', ')', '.'])
        .any(|word| word == "One" || word == "I" || !word.is_empty() && numbered(word));
    (head.chars().filter(|c| c.is_alphanumeric()).count() >= 3 && !rest_has_number)
        .then(|| head.to_string())
}

pub fn edition(title: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    Some(format!("{title}{}", EDITIONS.choose(rng)?))
}

/// The title with one letter missing, doubled, replaced, or swapped with the next.
pub fn typo(title: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    let mut letters: Vec<char> = title.chars().collect();
    let places: Vec<usize> = (1..letters.len())
        .filter(|&p| letters[p - 1].is_alphabetic() && letters[p].is_alphabetic())
        .collect();
    if places.len() < 5 {
        return None;
    }
    let place = *places.choose(rng)?;
    match rng.random_range(0..4) {
        0 => drop(letters.remove(place)),
        1 => letters.insert(place, letters[place]),
        2 => letters[place] = char::from(b'a' + rng.random_range(0..26)),
        _ => letters.swap(place - 1, place),
    }
    changed_only(title, letters.into_iter().collect())
}

/// A year that is off by 3 to 10, or has one digit wrong.
pub fn wrong_year(year: i32, rng: &mut ChaCha8Rng) -> i32 {
    let off = if rng.random_bool(0.5) {
        rng.random_range(3..=10)
    } else {
        *[10, 20, 100].choose(rng).unwrap()
    };
    if rng.random_bool(0.5) {
        year + off
    } else {
        year - off
    }
}

/// The name of a sequel that there may or may not be.
pub fn sequel(title: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    Some(format!("{title}{}", SEQUELS.choose(rng)?))
}

pub fn year_in_title(title: &str, year: i32, rng: &mut ChaCha8Rng) -> String {
    let ways = [
        format!("{title} ({year})"),
        format!("{title} [{year}]"),
        format!("{title} ({year} version)"),
    ];
    ways.choose(rng).unwrap().clone()
}

fn changed_only(before: &str, after: String) -> Option<String> {
    (before != after).then_some(after)
}
