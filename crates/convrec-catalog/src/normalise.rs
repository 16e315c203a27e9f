use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizerBorrowed;

/// The one normalisation of titles: two titles name the same work when their normalised texts are
/// equal.
///
/// White space is stripped at both ends, and each run of it becomes one space. Case is folded by
/// Unicode's *full* case folding, which does more than lower-casing: ß = ss, ﬁ = fi, ς = σ, İ = i +
/// U+0307, without the Turkic option. White space is Python's: Unicode's and U+001C..U+001F.
/// Nothing else changes: accents and punctuation stay, and there is no NFC.
///
/// ```
/// use convrec_catalog::normalise;
///
/// assert_eq!(normalise("  Die\tGROSSE  Straße "), "die grosse strasse");
/// assert_ne!(normalise("Amélie"), normalise("Amelie"));
/// ```
#[must_use]
pub fn normalise(title: &str) -> String {
    // Nearly all titles take this way, which is several times faster: for ASCII, folding is
    // lower-casing.
    if is_tidy_ascii(title) {
        return title.to_ascii_lowercase();
    }
    CaseMapper::new()
        .fold_string(&collapse_spaces(title))
        .into_owned()
}

/// [`normalise`] of a text without what only Unicode tells apart ([`unify`]): the form in which
/// names of people are compared with titles.
pub(crate) fn fold(text: &str) -> String {
    normalise(&unify(text))
}

/// The text with one way of writing for what looks alike: letters composed, full-width forms of
/// ASCII as ASCII, one hyphen for all dashes, straight quotation marks, no marks that are not seen.
/// A full-width bracket that opens has a space before it, as full-width brackets need none.
pub(crate) fn unify(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '（' => out.push_str(" ("),
            '！'..='～' => out.extend(char::from_u32(u32::from(c) - 0xfee0)),
            '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => out.push('-'),
            '\u{2018}'..='\u{201b}' | '\u{2032}' | '\u{b4}' => out.push('\''),
            '\u{201c}'..='\u{201f}' | '\u{2033}' | '\u{ab}' | '\u{bb}' => out.push('"'),
            '\u{2026}' => out.push_str("..."),
            '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2060}' | '\u{feff}' => {}
            c => out.push(c),
        }
    }
    let nfc = ComposingNormalizerBorrowed::new_nfc();
    Cow::Owned(nfc.normalize(&out).into_owned())
}

/// `text` without white space at its ends, and with one space for each run of it inside.
pub(crate) fn collapse_spaces(text: &str) -> String {
    let mut collapsed = String::with_capacity(text.len());
    for word in text.split(is_space).filter(|word| !word.is_empty()) {
        if !collapsed.is_empty() {
            collapsed.push(' ');
        }
        collapsed.push_str(word);
    }
    collapsed
}

/// Whether `title` is ASCII, and its white space is single spaces between words.
fn is_tidy_ascii(title: &str) -> bool {
    let mut before = b' ';
    let tidy = title.bytes().all(|byte| {
        let before = std::mem::replace(&mut before, byte);
        byte.is_ascii_graphic() || (byte == b' ' && before != b' ')
    });
    tidy && before != b' '
}

/// White space as Python's `str.split` and `str.strip` see it.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn folds_fully_and_without_turkic_rules() {
        for (title, normalised) in [
            ("STRASSE", "strasse"),
            ("Straße", "strasse"),
            ("STRAẞE", "strasse"),
            ("ﬁx", "fix"),
            ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
            ("Σίσυφος", "σίσυφοσ"),
            ("İstanbul", "i\u{307}stanbul"),
            ("ISTANBUL", "istanbul"),
            ("ıstanbul", "ıstanbul"),
            ("ŉ", "ʼn"),
            ("ᾳ", "αι"),
            ("Ꭰ", "Ꭰ"),
            ("ꭰ", "Ꭰ"),
        ] {
            assert_eq!(normalise(title), normalised, "{title}");
        }
    }

    #[test]
    fn white_space_is_pythons() {
        assert_eq!(
            normalise("\u{1c} a\u{1f}\u{a0}b\u{85}\u{3000}c\r\n"),
            "a b c"
        );
        assert_eq!(normalise("a\u{200b}\u{feff}b"), "a\u{200b}\u{feff}b");
        assert_eq!(normalise("\u{2003}\u{1d}"), "");
    }

    #[test]
    fn what_looks_alike_is_folded_alike() {
        for (a, b) in [
            ("Ame\u{301}lie", "Amélie"),
            ("Spider\u{2013}Man", "spider-man"),
            ("Spider\u{2011}Man", "spider-man"),
            ("Schindler’s List", "schindler's list"),
            ("“Crocodile” Dundee", "\"crocodile\" dundee"),
            ("Ｈｅａｔ　（１９９５）", "heat (1995)"),
            ("Heat（1995）", "heat (1995)"),
            ("Heat\u{a0}(1995)", "heat (1995)"),
            ("\u{feff}Heat\u{200b}", "heat"),
            ("And Then…", "and then..."),
            ("千と千尋（2001）", "千と千尋 (2001)"),
        ] {
            assert_eq!(fold(a), fold(b), "{a}");
        }
        assert_ne!(fold("Amélie"), fold("Amelie"));
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(title in ".*") {
            let once = fold(&title);
            prop_assert_eq!(fold(&once), once);
        }

        #[test]
        fn the_fast_way_is_the_slow_one(title in "[ -~]{0,12}|[a\t\x1c\x7f\u{a0} ]{0,6}") {
            let words: Vec<&str> = title.split(is_space).filter(|word| !word.is_empty()).collect();
            prop_assert_eq!(normalise(&title), CaseMapper::new().fold_string(&words.join(" ")).into_owned());
        }

        #[test]
        fn normalising_twice_is_normalising_once(title in ".*") {
            let once = normalise(&title);
            prop_assert_eq!(normalise(&once), once);
        }
    }
}
