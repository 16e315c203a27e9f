//! Matching as the paper's public Python code does it, quirks included.
//!
//! It is for runs that shall be comparable with that code. Other runs train by
//! [`crate::relevance`]. The differences are:
//!
//! | quirk | |
//! |---|---|
//! | H1 | seen titles and the catalog are compared as written, only ground truth after normalisation: a differently cased title never scores |
//! | H2 | seen items are compared by title alone: a remake of a seen film never scores |
//! | H3 | the named year must be the catalog's; the tolerance only bridges a ground-truth year that differs from it |
//! | H4 | greedy by rank, the later year first among equally near ones: a later exact match may find its year taken |
//! | H5 | ground truth without a readable year is dropped silently |
//! | H6 | a repeated item scores again for each further ground truth within the tolerance |

use convrec_core::Item;
use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

use crate::normalise;
use crate::normalise::is_space;

/// The hits at the ranks 0..`n_ranks`, by the rule of the public code.
///
/// `recommended` holds the parsed entries of an answer in order. `in_catalog` tells whether the
/// catalog has exactly this title and year ([`Catalog::find`](crate::Catalog::find)). Ground-truth
/// years come from files as text. [`read_year`] reads them, and ground truth without a year is
/// dropped (H5).
///
/// ```
/// use convrec_catalog::reference;
/// use convrec_core::Item;
///
/// let recommended = [
///     Item::new("Dune", 2021),
///     Item::new("HEAT", 1995),
///     Item::new("Heat", 1995),
/// ];
/// let ground_truth = [Item::new("heat", 1996)];
/// let in_catalog =
///     |item: &Item| *item == Item::new("Heat", 1995) || *item == Item::new("Dune", 2021);
/// let hits = reference::hits(&recommended, &[], &ground_truth, in_catalog, 4, 2);
/// assert_eq!(hits, [false, false, true, false]);
/// ```
pub fn hits(
    recommended: &[Item],
    seen: &[String],
    ground_truth: &[Item],
    in_catalog: impl Fn(&Item) -> bool,
    n_ranks: usize,
    year_tolerance: u32,
) -> Vec<bool> {
    let mut remaining: Vec<(String, i32)> = ground_truth
        .iter()
        .filter_map(|item| Some((normalise(&item.title), item.year?)))
        .collect();
    let mut hits = vec![false; n_ranks];
    for (hit, item) in hits.iter_mut().zip(recommended) {
        let Some(year) = item.year else { continue };
        if seen.contains(&item.title) || !in_catalog(item) {
            continue;
        }
        let title = normalise(&item.title);
        let near =
            |(wanted, y): &(String, i32)| *wanted == title && y.abs_diff(year) <= year_tolerance;
        let nearest = (0..remaining.len())
            .filter(|&i| near(&remaining[i]))
            .min_by_key(|&i| (remaining[i].1.abs_diff(year), remaining[i].1 < year));
        if let Some(nearest) = nearest {
            remaining.swap_remove(nearest);
            *hit = true;
        }
    }
    hits
}

/// Reads a year from text as Python's `int()` does. White space around it, a sign, single
/// underscores between digits and any Unicode decimal digits are accepted. `1999.0` and the empty
/// text are not.
///
/// A number that is no `i32` is `None` too: no list can name such a year.
///
/// ```
/// use convrec_catalog::reference::read_year;
///
/// assert_eq!(read_year(" +1_999\n"), Some(1999));
/// assert_eq!(read_year("१९९९"), Some(1999));
/// assert_eq!(read_year("1999.0"), None);
/// ```
pub fn read_year(text: &str) -> Option<i32> {
    let text = text.trim_matches(is_space);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut year = 0_i64;
    for group in digits.split('_') {
        if group.is_empty() {
            return None;
        }
        for c in group.chars() {
            // Saturation keeps a number too large for an `i32` too large.
            year = year
                .saturating_mul(10)
                .saturating_add(i64::from(decimal_digit(c)?));
        }
    }
    i32::try_from(sign * year).ok()
}

/// The value of a decimal digit of any script (general category Nd).
fn decimal_digit(c: char) -> Option<u32> {
    let categories = CodePointMapData::<GeneralCategory>::new();
    let is_digit = |code: u32| categories.get32(code) == GeneralCategory::DecimalNumber;
    // Unicode encodes the digits of a script as ten code points in a row, 0 to 9. Blocks of ten may
    // adjoin.
    let code = u32::from(c);
    is_digit(code).then(|| (1..=code).take_while(|back| is_digit(code - back)).count() as u32 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_are_read_as_python_reads_integers() {
        for (text, year) in [
            ("1999", Some(1999)),
            ("\u{1f}\u{2003}1999\u{85}", Some(1999)),
            ("+1999", Some(1999)),
            ("-0500", Some(-500)),
            ("0", Some(0)),
            ("00_1", Some(1)),
            ("1_9_9_9", Some(1999)),
            ("１９９９", Some(1999)),
            ("١٩٩٩", Some(1999)),
            ("𝟏𝟗𝟡𝟿", Some(1999)),
            ("2147483647", Some(i32::MAX)),
            ("-2147483648", Some(i32::MIN)),
            ("2147483648", None),
            ("99999999999999999999999999", None),
            ("-99999999999999999999999999", None),
            ("", None),
            (" ", None),
            ("+", None),
            ("- 1", None),
            ("+-1", None),
            ("_1", None),
            ("1_", None),
            ("1__9", None),
            ("19 99", None),
            ("1999.0", None),
            ("1e3", None),
            ("0x7cf", None),
            ("²", None),
            ("Ⅻ", None),
            ("1999\u{200b}", None),
        ] {
            assert_eq!(read_year(text), year, "{text:?}");
        }
    }

    #[test]
    fn every_decimal_digit_has_the_value_of_its_place() {
        let digits: Vec<u32> = ('\0'..=char::MAX).filter_map(decimal_digit).collect();
        assert!(digits.len() >= 680, "{}", digits.len());
        assert!(
            digits
                .iter()
                .enumerate()
                .all(|(place, &digit)| digit as usize == place % 10)
        );
    }
}
