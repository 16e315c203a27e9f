//! Scripted mistakes, as the parser reads them.

use std::collections::HashSet;

use convrec_core::Item;
use convrec_demonstrations::scripted::Mistakes;
use convrec_text::{ListFormat, Style, Years};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const FORMAT: ListFormat = ListFormat {
    style: Style::Numbered,
    years: Years::Required,
};

fn clean() -> Vec<Item> {
    let odd = [
        ("2001: A Space Odyssey", 1968),
        ("12 Angry Men", 1957),
        ("(500) Days of Summer", 2009),
        ("8½", 1963),
    ];
    let more = [
        "Heat",
        "Alien",
        "Brazil",
        "The Third Man",
        "Se7en",
        "M",
        "Paris, Texas",
        "Mr. Nobody",
        "Who's That Knocking?",
    ];
    let more = (0..)
        .zip(more)
        .map(|(i, title)| (title, 1970 + i))
        .cycle()
        .take(26)
        .enumerate();
    let more = more.map(|(i, (title, year))| {
        Item::new(
            format!("{title}{}", ["", " Returns", " Forever"][i / 9]),
            year,
        )
    });
    odd.into_iter()
        .map(|(title, year)| Item::new(title, year))
        .chain(more)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn without_mistakes_every_item_is_read_back(
        seed in any::<u64>(),
        n in 1_usize..35,
        preamble in 0.0..1.0_f64,
    ) {
        let answer = Mistakes {
            preamble,
            ..Mistakes::NONE
        }
        .write(&clean(), n, &mut ChaCha8Rng::seed_from_u64(seed));
        let read: Vec<Item> = FORMAT.parse(&answer).items().cloned().collect();
        prop_assert_eq!(&read, &clean()[..n.min(30)], "{}", answer);
    }

    #[test]
    fn the_items_that_were_not_spoilt_are_read_back_in_order(seed in any::<u64>()) {
        let answer = Mistakes::default().write(&clean(), 20, &mut ChaCha8Rng::seed_from_u64(seed));
        let mut named = HashSet::new();
        let read: Vec<Item> = FORMAT.parse(&answer).items().cloned().collect();
        let kept: Vec<&Item> = read
            .iter()
            .filter(|item| clean().contains(item) && named.insert(*item))
            .collect();
        let positions: Vec<usize> = kept
            .iter()
            .map(|item| clean().iter().position(|c| c == *item).unwrap())
            .collect();
        // A duplicate of a broken line reads like a clean item out of order.
        let out_of_order = positions
            .windows(2)
            .filter(|pair| pair[0] > pair[1])
            .count();
        prop_assert!(kept.len() >= 8 && out_of_order <= 2, "{}", answer);
    }
}

#[test]
fn mistakes_are_as_frequent_as_configured() {
    let mistakes = Mistakes {
        invented: 0.1,
        wrong_year: 0.15,
        duplicate: 0.05,
        broken_line: 0.08,
        preamble: 0.3,
    };
    mistakes.check().unwrap();
    let clean = clean();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut invented, mut wrong_year, mut duplicate, mut broken, mut talk) = (0, 0, 0, 0, 0);
    let (answers, lines) = (2000, 20);
    for _ in 0..answers {
        let answer = mistakes.write(&clean, lines, &mut rng);
        let list = FORMAT.parse(&answer);
        let mut named = HashSet::new();
        for item in list.items() {
            let original = clean.iter().find(|c| c.title == item.title);
            match original {
                _ if !named.insert(item.clone()) => duplicate += 1,
                None => invented += 1,
                Some(original) if original != item => wrong_year += 1,
                Some(_) => {}
            }
        }
        broken += lines - list.entries.len();
        let first = answer.lines().next().unwrap();
        talk += usize::from(first.ends_with(':') && !first.contains('('));
    }
    let rate = |count: usize| count as f64 / (answers * lines) as f64;
    let found = [
        rate(invented),
        rate(wrong_year),
        rate(duplicate),
        rate(broken),
        talk as f64 / answers as f64,
    ];
    println!("invented, wrong year, duplicate, broken, preamble: {found:.4?}");
    // Duplicates come slightly rarer: the first line can repeat nothing, and a repeated broken line
    // reads as new.
    for (found, (expected, tolerance)) in found.into_iter().zip([
        (0.1, 0.006),
        (0.15, 0.007),
        (0.05, 0.009),
        (0.08, 0.006),
        (0.3, 0.04),
    ]) {
        assert!(
            (found - expected).abs() < tolerance,
            "{found}, expected {expected}"
        );
    }
}

#[test]
fn impossible_rates_are_named() {
    assert_eq!(
        Mistakes {
            wrong_year: 1.5,
            ..Mistakes::NONE
        }
        .check()
        .unwrap_err()
        .0,
        "wrong_year"
    );
    assert_eq!(
        Mistakes {
            preamble: f64::NAN,
            ..Mistakes::NONE
        }
        .check()
        .unwrap_err()
        .0,
        "preamble"
    );
    let (field, problem) = Mistakes {
        invented: 0.6,
        duplicate: 0.6,
        ..Mistakes::NONE
    }
    .check()
    .unwrap_err();
    assert!(
        field == "invented" && problem.contains("add up to 1.2"),
        "{problem}"
    );
    Mistakes::default().check().unwrap();
}

#[test]
fn an_answer_ends_where_there_is_nothing_to_name() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    assert_eq!(Mistakes::NONE.write(&[], 5, &mut rng), "");
    assert_eq!(
        Mistakes {
            invented: 1.0,
            ..Mistakes::NONE
        }
        .write(&[], 5, &mut rng),
        ""
    );
    let two = Mistakes::NONE.write(&clean()[..2], 5, &mut rng);
    assert_eq!(FORMAT.parse(&two).entries.len(), 2);
}
