//! The similarity of two names: a few numbers, and the weights that turn them into a confidence.

use rapidfuzz::distance::osa;

use super::name::{Kind, Part, View, is_number};

/// The number of features of a pair of names.
pub const N_FEATURES: usize = 25;

/// The meanings of the numbers of [`Features`], in order.
///
/// The *whole* of a name or title is compared with the whole of the other or with a part, such as
/// its beginning before a colon.
pub const FEATURES: [&str; N_FEATURES] = [
    "constant",
    "edits / letters",
    "any edit",
    "letters of known words in one only / letters",
    "one has an s more",
    "other numbers",
    "another first letter of a word",
    "edits more than 2 / letters",
    "an edit, and no word in common",
    "part of the title",
    "part of the name",
    "the part is not the first",
    "letters outside the part / letters",
    "a number behind the part",
    "article in one only",
    "year 1 or 2 off",
    "year 3 to 5 off",
    "year more than 5 off",
    "year unknown",
    "ln letters",
    "year more than 2 off x ln letters",
    "part of the title, year not near",
    "part of the name, year not near",
    "any edit, year not near",
    "article in one only, year not near",
];

/// Numbers that describe the similarity of a name and a catalog item.
pub type Features = [f64; N_FEATURES];

/// The weight of each feature, in the order of [`FEATURES`].
///
/// Fitted on the training half of labelled names by
/// `cargo run --release -p convrec-catalog --example resolve_titles -- --fit`.
#[rustfmt::skip]
pub(super) const WEIGHTS: Features = [
    2.619, -7.456, -0.160, -5.342, 0.418, -5.326, -1.507, -5.029, -0.607, -1.064, -2.741, -2.050, -0.165,
    -2.814, 0.512, -2.014, -2.838, -3.607, -0.237, 1.093, -0.990, -1.153, -2.901, -1.411, -0.999,
];

/// A reading of a name or title: its words, and their relation to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a> {
    pub words: &'a str,
    pub kind: Kind,
}

/// The relation between the year of a name and that of an item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Year {
    Off(u32),
    Unknown,
}

impl Year {
    pub(super) fn between(named: Option<i32>, item: Option<i32>) -> Self {
        named.zip(item).map_or(Self::Unknown, |(named, item)| {
            Self::Off(named.abs_diff(item))
        })
    }

    pub(super) fn near(self) -> bool {
        matches!(self, Self::Off(0..=2))
    }
}

/// A reading of a name, prepared for comparing with many.
pub(super) struct Query<'a> {
    words: &'a str,
    pub kind: Kind,
    letters: osa::BatchComparator<u8>,
    n_letters: usize,
}

fn letters(words: &str) -> impl DoubleEndedIterator<Item = u8> + Clone + '_ {
    words.bytes().filter(|&byte| byte != b' ')
}

impl<'a> Query<'a> {
    pub(super) fn new(View { words, kind }: &'a View) -> Self {
        let bytes: Vec<u8> = letters(words).collect();
        Self {
            words,
            kind: *kind,
            n_letters: bytes.len(),
            letters: osa::BatchComparator::new(bytes),
        }
    }

    /// The share of letters that differ: 0 for equal letters, whatever the spaces.
    pub(super) fn distance(&self, words: &str) -> f64 {
        let other: Vec<u8> = letters(words).collect();
        self.letters.distance(other.iter().copied()) as f64 / self.n_letters.max(other.len()) as f64
    }

    /// `distance` is [`Query::distance`]; `is_known` tells which words the catalog's titles use.
    pub(super) fn features(
        &self,
        title: Reading<'_>,
        distance: f64,
        year: Year,
        is_known: impl Fn(&str) -> bool,
    ) -> Features {
        let n_letters = self.n_letters.max(letters(title.words).count()) as f64;
        let mut here: Vec<&str> = self.words.split(' ').collect();
        let mut there: Vec<&str> = title.words.split(' ').collect();
        leave_out_shared(&mut here, &mut there);
        let edited = distance > 0.0;
        let none_in_common = here.len() == self.words.split(' ').count();
        let pairs = || {
            here.iter()
                .zip(&there)
                .filter(|_| here.len() == there.len())
        };
        let numbers = |words: &[&str]| words.iter().any(|word| is_number(word));
        let one_s = |(a, b): (&&str, &&str)| {
            a.strip_suffix('s') == Some(b) || b.strip_suffix('s') == Some(a)
        };
        let other_first = |(a, b): (&&str, &&str)| a.as_bytes()[0] != b.as_bytes()[0];
        let (years, no_year) = match year {
            Year::Off(years) => (years, false),
            Year::Unknown => (0, true),
        };
        let kinds = [self.kind, title.kind];
        let part_of_name = !self.kind.whole();
        let part_of_title = !title.kind.whole();
        let article = self.kind.article != title.kind.article;
        let not_near = no_year || years > 1;
        let flag = |holds: bool| f64::from(u8::from(holds));
        let ln_letters = n_letters.ln();
        [
            1.0,
            distance,
            flag(edited),
            if edited {
                known_letters(&here, &there, is_known) as f64 / n_letters
            } else {
                0.0
            },
            flag(edited && pairs().next().is_some() && pairs().all(one_s)),
            flag(edited && (numbers(&here) || numbers(&there))),
            flag(edited && pairs().any(other_first)),
            (distance - 2.0 / n_letters).max(0.0),
            flag(edited && none_in_common),
            flag(part_of_title),
            flag(part_of_name),
            flag(kinds.iter().any(|kind| kind.part == Part::Later)),
            kinds
                .iter()
                .map(|kind| f64::from(kind.left_out))
                .sum::<f64>()
                / 100.0,
            flag(kinds.iter().any(|kind| kind.number_behind)),
            flag(article),
            flag((1..=2).contains(&years)),
            flag((3..=5).contains(&years)),
            flag(years > 5),
            flag(no_year),
            ln_letters,
            flag(years > 2) * ln_letters,
            flag(part_of_title && not_near),
            flag(part_of_name && not_near),
            flag(edited && not_near),
            flag(article && not_near),
        ]
    }
}

/// The letters of words that only one of two names has, where a typo does not explain them. A typo
/// makes a word that no title has; a word of other titles makes another title.
fn known_letters(here: &[&str], there: &[&str], is_known: impl Fn(&str) -> bool) -> usize {
    let letters = |words: &[&str]| words.iter().map(|word| word.len()).sum::<usize>();
    let known: Vec<&str> = here.iter().copied().filter(|word| is_known(word)).collect();
    if known.len() < here.len() {
        letters(&known)
    } else {
        letters(here).max(letters(there))
    }
}

/// Removes the words that both have from both, each as often as both have it.
fn leave_out_shared(here: &mut Vec<&str>, there: &mut Vec<&str>) {
    here.retain(|word| match there.iter().position(|other| other == word) {
        Some(place) => {
            there.remove(place);
            false
        }
        None => true,
    });
}

/// The log-odds of "this item" against "none": the weighted sum of the features.
pub(super) fn log_odds(features: &Features, weights: &Features) -> f64 {
    features
        .iter()
        .zip(weights)
        .map(|(feature, weight)| feature * weight)
        .sum()
}
