//! Real conversations: the scripted scorers and the teacher's answers.

use std::collections::HashSet;

use convrec_catalog::{Catalog, YEAR_TOLERANCE};
use convrec_core::{Example, Item, ItemId, jsonl};
use convrec_demonstrations::scripted::{Bm25Scorer, CooccurrenceScorer, PopularityScorer, Scorer};
use convrec_demonstrations::{ReplayTeacher, demonstration};
use convrec_metrics::{JudgedList, Measure};
use convrec_testdata::data_path;

fn ids(catalog: &Catalog, items: &[Item]) -> Vec<ItemId> {
    items
        .iter()
        .filter_map(|item| catalog.find_within(item, YEAR_TOLERANCE))
        .collect()
}

/// Mean Recall@5, @10, @20 of the whole catalog ranked, seen items left out.
fn recalls(scorer: &dyn Scorer, catalog: &Catalog, examples: &[Example]) -> [f64; 3] {
    let judged: Vec<JudgedList> = examples
        .iter()
        .map(|example| {
            let list = demonstration(&scorer.scores(example), 20, &ids(catalog, &example.seen));
            JudgedList::from_ids(
                &list,
                &ids(catalog, &example.ground_truth)
                    .into_iter()
                    .collect::<HashSet<_>>(),
            )
        })
        .collect();
    [5, 10, 20].map(|k| {
        judged
            .iter()
            .map(|list| Measure::Recall(k).of(list))
            .sum::<f64>()
            / judged.len() as f64
    })
}

/// The figures were measured with another implementation of the same definitions.
#[test]
fn scorers_recall_what_they_should() {
    let (Some(catalog), Some(train), Some(test)) = (
        data_path("catalog/redial.jsonl"),
        data_path("conversations/redial_train.jsonl"),
        data_path("conversations/redial_test.jsonl"),
    ) else {
        return;
    };
    let catalog = Catalog::read(catalog).unwrap();
    let train: Vec<Example> = jsonl::read_file(train).unwrap();
    let test: Vec<Example> = jsonl::read_file(test).unwrap();
    let scorers: [(&str, &dyn Scorer, [f64; 3], f64); 3] = [
        (
            "co-occurrence",
            &CooccurrenceScorer::new(&catalog, &train),
            [0.090, 0.138, 0.200],
            0.003,
        ),
        (
            "popularity",
            &PopularityScorer::new(&catalog, &train),
            [0.043, 0.062, 0.100],
            0.003,
        ),
        // The other implementation splits words differently, so the figures agree only roughly.
        (
            "BM25",
            &Bm25Scorer::new(&catalog),
            [0.033, 0.042, 0.064],
            0.015,
        ),
    ];
    for (name, scorer, expected, tolerance) in scorers {
        let found = recalls(scorer, &catalog, &test);
        println!("{name}: Recall@5, @10, @20 = {found:.4?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() <= tolerance,
                "{name}: {found:.4}, expected {expected}"
            );
        }
    }
}

#[test]
fn recorded_answers_are_found_by_sample() {
    let Some(path) = data_path("teacher/inspired_gpt4.jsonl") else {
        return;
    };
    let teacher = ReplayTeacher::read(path).unwrap();
    assert!(
        teacher
            .answer("inspired-test-2-6")
            .unwrap()
            .starts_with("1. An Inconvenient Truth\n")
    );
    assert_eq!(teacher.answer("inspired-test-2-7"), None);
}
