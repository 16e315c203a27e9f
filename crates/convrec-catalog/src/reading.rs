//! Titles that hold their year.

use convrec_core::Item;

/// The title and year that a name means. `Heat (1995)` without a year is `Heat` of 1995, and so is
/// `Heat (1995)` of 1995.
///
/// Names that are written as the same line have the same reading.
pub(crate) fn reading(title: &str, year: Option<i32>) -> (&str, Option<i32>) {
    let (mut title, year) = match year {
        None => Item::split_line(title),
        Some(_) => (title, year),
    };
    // Few titles end in their year, and few of these repeat it.
    while let (shorter, Some(own)) = Item::split_line(title) {
        if Some(own) != year {
            break;
        }
        title = shorter;
    }
    (title, year)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_year_at_the_end_of_a_title_is_its_year() {
        for (title, year, read) in [
            ("Heat", None, ("Heat", None)),
            ("Heat (1995)", None, ("Heat", Some(1995))),
            ("Heat (1995)", Some(1995), ("Heat", Some(1995))),
            ("Heat (1995)", Some(1996), ("Heat (1995)", Some(1996))),
            ("Heat (1995) (1995)", None, ("Heat", Some(1995))),
            (
                "Seven (a.k.a. Se7en) (1995)",
                None,
                ("Seven (a.k.a. Se7en)", Some(1995)),
            ),
            ("Birdman (or not)", None, ("Birdman (or not)", None)),
            ("The Odyssey (-720)", None, ("The Odyssey", Some(-720))),
            ("(1995)", None, ("(1995)", None)),
            (" (1995)", None, (" (1995)", None)),
            ("Heat(1995)", None, ("Heat(1995)", None)),
            ("Heat (+1995)", None, ("Heat (+1995)", None)),
        ] {
            assert_eq!(reading(title, year), read, "{title}");
        }
    }

    proptest! {
        #[test]
        fn one_line_has_one_reading(
            title in "a[a-b ]{0,2}( \\((1|-2|03|x)\\)){0,3}",
            year in prop::option::of(-2..4_i32),
        ) {
            let line = Item::new(title.clone(), year).to_string();
            prop_assert_eq!(reading(&title, year), reading(&line, None));
            let (title, year) = Item::split_line(&line);
            prop_assert_eq!(reading(title, year), reading(&line, None));
        }
    }
}
