//! Each kind of unusable training data is repaired, left out or refused by one rule, and counted.

mod common;

use common::world;
use convrec_core::{BadRowPolicy, Demonstration, Example, Item, Turn};
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

/// One rule for all programs: rows with items outside of the catalog are refused with their number,
/// or skipped and listed.
#[test]
fn rows_outside_of_the_catalog_are_counted() {
    let task = world().task;
    let catalog = task.catalog();
    let names: Vec<Item> = catalog.iter().map(|(_, item)| item.item()).collect();
    let nowhere = Item::new("Nowhere", 2000);
    let mut rows = vec![example(&[], &names[..1]); 3];
    rows.extend(vec![example(&[], std::slice::from_ref(&nowhere)); 20]);
    rows.push(example(&[], &[]));
    let read = |policy| data::in_catalog(catalog, rows.clone(), "c.jsonl", policy);
    let bad = read(BadRowPolicy::Refuse).unwrap_err();
    assert_eq!((bad.count, bad.rows_read), (20, 24));
    assert!(
        bad.to_string()
            .contains("c.jsonl: sample `d-1`, field `ground_truth`: \"Nowhere (2000)\"")
    );
    let (kept, skipped) = read(BadRowPolicy::Skip).unwrap();
    assert_eq!(
        (kept.len(), skipped.count, skipped.listed.len()),
        (4, 20, 20)
    );
    assert_eq!(skipped.listed[0].row, 3);

    let demonstrations = [&names[0], &nowhere].map(|item| Demonstration {
        example: example(&[], &[]),
        list: vec![item.clone()],
    });
    let policy = BadRowPolicy::Refuse;
    let bad = data::in_catalog(catalog, demonstrations.to_vec(), "d", policy).unwrap_err();
    assert!(bad.to_string().starts_with("1 of 2 rows is bad"), "{bad}");
    // Nothing left is no data.
    let all = demonstrations[1..].to_vec();
    assert!(data::in_catalog(catalog, all, "d", BadRowPolicy::Skip).is_err());
}

/// Evaluation leaves out what training leaves out, and keeps the places of the others.
#[test]
fn samples_stay_in_the_order_of_the_examples() {
    let task = world().task;
    let names: Vec<Item> = task.catalog().iter().map(|(_, item)| item.item()).collect();
    let all = vec![
        example(&names[..1], &names[..1]),
        example(&[], &names[..1]),
        example(&[], &[]),
        example(&names[..1], &names[..2]),
    ];
    let (samples, report) = data::samples_in_order(&task, &all).unwrap();
    let used: Vec<bool> = samples.iter().map(Option::is_some).collect();
    assert_eq!(used, [false, true, false, true]);
    assert_eq!(
        (
            report.used,
            report.without_ground_truth,
            report.seen_ground_truth
        ),
        (2, 2, 2)
    );
    let (kept, same) = data::with_ground_truth(task.catalog(), all.clone());
    assert_eq!((kept.len(), same), (2, report));
    let survey = data::survey(task.catalog(), &all);
    assert_eq!(
        survey.to_string(),
        "4 used; 2 teach Adjust nothing, as no unseen item of the catalog is in their ground truth; \
         2 items left out of the ground truth, as they were seen"
    );
    let (_, report) = data::conversation(&task, &all[2]).unwrap();
    assert!(report.is_clean());
}
