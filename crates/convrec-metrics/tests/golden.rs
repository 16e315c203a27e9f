//! The protocols against the numbers of the authors' code (`metrics.json`).

use std::collections::HashSet;

use convrec_metrics::protocol::{NamedList, Protocol, Scores, TitleYear};
use convrec_testdata::golden_as;
use serde::Deserialize;

#[derive(Deserialize)]
struct Set {
    k: Vec<usize>,
    n_cases: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    recs: Vec<(String, i32)>,
    seen: Vec<String>,
    #[serde(rename = "groundtruth")]
    ground_truth: Vec<(String, Year)>,
    catalog: Vec<(String, i32)>,
    #[serde(flatten)]
    reference: Expected,
    variant_truncate_first: Expected,
    variant_textbook: Expected,
}

#[derive(Deserialize)]
struct Expected {
    recall: Vec<Option<f64>>,
    ndcg: Vec<Option<f64>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Year {
    Number(i32),
    Text(String),
}

impl Year {
    fn number(&self) -> i32 {
        match self {
            Year::Number(year) => *year,
            Year::Text(text) => text.trim().parse().expect("a year in digits"),
        }
    }
}

fn named(items: &[(String, i32)]) -> Vec<TitleYear<'_>> {
    items
        .iter()
        .map(|(title, year)| TitleYear::new(title, *year))
        .collect()
}

/// `null` stands for NaN.
fn same(ours: f64, theirs: Option<f64>) -> bool {
    theirs.map_or(ours.is_nan(), |theirs| (ours - theirs).abs() < 1e-12)
}

#[test]
fn every_protocol_gives_the_golden_scores() {
    let set: Set = golden_as("metrics.json");
    assert_eq!(set.cases.len(), set.n_cases);
    for case in &set.cases {
        let recommended = named(&case.recs);
        let seen: Vec<&str> = case.seen.iter().map(String::as_str).collect();
        let ground_truth: Vec<TitleYear> = case
            .ground_truth
            .iter()
            .map(|(title, year)| TitleYear::new(title, year.number()))
            .collect();
        let catalog: HashSet<TitleYear> = named(&case.catalog).into_iter().collect();
        let sample = NamedList {
            recommended: &recommended,
            seen: &seen,
            ground_truth: &ground_truth,
        };
        for (protocol, expected) in [
            (Protocol::Reference, &case.reference),
            (
                Protocol::ReferenceTruncatedFirst,
                &case.variant_truncate_first,
            ),
            (Protocol::Textbook, &case.variant_textbook),
        ] {
            let ours = protocol.evaluate(&sample, &catalog, &set.k);
            for ((scores, k), (recall, ndcg)) in ours
                .iter()
                .zip(&set.k)
                .zip(expected.recall.iter().zip(&expected.ndcg))
            {
                let told = format!(
                    "{} {protocol} k={k}: {scores:?}, expected {recall:?}, {ndcg:?}",
                    case.id
                );
                assert!(
                    same(scores.recall, *recall) && same(scores.ndcg, *ndcg),
                    "{told}"
                );
            }
            assert_eq!(ours.len(), expected.recall.len(), "{}", case.id);
        }
    }
}

#[test]
fn undefined_scores_are_null_in_json() {
    let heat = [TitleYear::new("Heat", 1995)];
    let sample = NamedList {
        recommended: &heat,
        seen: &[],
        ground_truth: &[],
    };
    let scores = |protocol: Protocol| protocol.evaluate(&sample, &HashSet::from(heat), &[5])[0];
    let undefined = serde_json::to_string(&scores(Protocol::Reference)).unwrap();
    assert_eq!(undefined, r#"{"recall":null,"ndcg":null}"#);
    assert_eq!(
        scores(Protocol::Textbook),
        Scores {
            recall: 0.0,
            ndcg: 0.0
        }
    );
}
