//! White space and digits as Python's `str` and `re` know them. The reference reads text by them
//! (quirk P6).

use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

/// Unicode white space, and the four separators U+001C..=U+001F that Python counts in and Unicode
/// does not.
pub(crate) fn is_white(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// The text without white space at both ends.
pub(crate) fn trim(text: &str) -> &str {
    match text.as_bytes() {
        // Most text ends here.
        [b'!'..=b'~', .., b'!'..=b'~'] => text,
        _ => text.trim_matches(is_white),
    }
}

/// The value of a decimal digit of any script: 3 for `3`, `３` and `३`.
#[inline]
pub(crate) fn digit(c: char) -> Option<u32> {
    if c.is_ascii() {
        c.to_digit(10)
    } else {
        wide_digit(c)
    }
}

fn wide_digit(c: char) -> Option<u32> {
    let decimal = |code: u32| {
        char::from_u32(code).is_some_and(|c| {
            CodePointMapData::<GeneralCategory>::new().get(c) == GeneralCategory::DecimalNumber
        })
    };
    // Unicode lays out the digits of a script as a run from zero to nine. Some runs adjoin.
    let before = |code: u32| (1..).take_while(|back| decimal(code - back)).count() as u32;
    decimal(c.into()).then(|| before(c.into()) % 10)
}

/// Whether `c` is a decimal digit of any script.
pub(crate) fn is_digit(c: char) -> bool {
    digit(c).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_every_script_have_their_value() {
        for (text, value) in [
            ("7", 7),
            ("７", 7),
            ("٣", 3),
            ("९", 9),
            ("𝟎", 0),
            ("𝟫", 9),
            ("𝟿", 9),
            ("𞥐", 0),
        ] {
            assert_eq!(digit(text.chars().next().unwrap()), Some(value), "{text}");
        }
        for c in ['x', '²', '½', 'Ⅷ', '一', '①', '\u{0}', '\u{10ffff}'] {
            assert_eq!(digit(c), None, "{c}");
        }
        // Every run is complete, as there are as many nines as zeros.
        let count = |value| {
            ('\0'..=char::MAX)
                .filter(|&c| digit(c) == Some(value))
                .count()
        };
        assert!(count(0) > 60);
        assert!((1..10).all(|value| count(value) == count(0)));
    }

    #[test]
    fn white_space_is_pythons() {
        assert_eq!(
            trim("\u{1c}\u{a0}\u{85}\u{3000}a\u{feff}\u{200b}\u{1f}\r\n"),
            "a\u{feff}\u{200b}"
        );
    }
}
