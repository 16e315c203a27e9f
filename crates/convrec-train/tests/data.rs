//! Each kind of unusable training data is repaired, left out or refused by one rule, and counted.

mod common;

use common::world;
use convrec_core::{Demonstration, Example, Item, Turn};
use convrec_train::{DataReport, data};

fn example(seen: &[Item], ground_truth: &[Item]) -> Example {
    Example {
        id: "d-1".into(),
        dialog: vec![Turn::user("something with robots")],
        seen: seen.to_vec(),
        ground_truth: ground_truth.to_vec(),
    }
}

#[test]
fn demonstrations_are_mended_or_left_out_and_counted() {
    let task = world().task.constrained().unwrap(); // lists of two of six films
    let names: Vec<Item> = task.catalog().iter().map(|(_, item)| item.item()).collect();
    let demonstration = |seen: &[usize], list: &[usize]| Demonstration {
        example: example(
            &seen.iter().map(|n| names[*n].clone()).collect::<Vec<_>>(),
            &[],
        ),
        list: list.iter().map(|n| names[*n].clone()).collect(),
    };
    let all = [
        demonstration(&[], &[0, 1]),
        demonstration(&[0], &[0, 1, 2]),   // a seen item
        demonstration(&[], &[3, 3, 4]),    // a repeated one
        demonstration(&[], &[1, 2, 3, 4]), // too many
        demonstration(&[], &[5]),          // too few
        demonstration(&[2], &[2]),         // none
    ];
    let (pairs, report) = data::pairs(&task, &all, true).unwrap();
    let numbers = |r: &DataReport| (r.used, r.seen_items, r.repeated_items, r.cut, r.too_short);
    assert_eq!(numbers(&report), (4, 2, 1, 1, 2));
    assert_eq!(pairs.len(), 4);
    let clean = demonstration(&[0], &[1, 2]);
    assert_eq!(pairs[1], task.pair(&clean).unwrap());
    let (_, report) = data::pairs(&task, &all, false).unwrap();
    assert_eq!((report.used, report.short, report.too_short), (5, 1, 1));
    assert!(!report.is_clean());
    let said = report.to_string();
    assert!(
        said.starts_with("5 used; 1 left out, as they have too few usable items"),
        "{said}"
    );

    let mut foreign = demonstration(&[], &[0, 1]);
    foreign.list[1] = Item::new("Nowhere", 2000);
    let error = data::pairs(&task, &[foreign], true)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"Nowhere (2000)\" is not in the catalog"),
        "{error}"
    );
}

#[test]
fn ground_truth_that_was_seen_teaches_nothing() {
    let task = world().task;
    let names: Vec<Item> = task.catalog().iter().map(|(_, item)| item.item()).collect();
    let all = [
        example(&names[..1], &names[..2]),
        example(&names[..1], &names[..1]),
        example(&[], &[]),
        example(&[], &names[..1]),
    ];
    let (samples, report) = data::samples(&task, &all).unwrap();
    assert_eq!((samples.len(), report.used), (2, 2));
    assert_eq!(
        (report.seen_ground_truth, report.without_ground_truth),
        (2, 2)
    );
    assert_eq!(samples[0].ground_truth.len(), 1);
    let (_, report) = data::samples(&task, &all[3..]).unwrap();
    assert!(report.is_clean());
    assert_eq!(report.to_string(), "1 used");
}
