//! `golden/hits.json`: matching and rewards of the paper's public code, from parsed entries.

use std::collections::HashSet;

use convrec_catalog::reference::{hits, read_year};
use convrec_core::Item;
use convrec_metrics::rewards::{dcg, exp_inf, log_decay};
use convrec_testdata::golden;
use serde_json::Value;

#[test]
fn hits_and_rewards_are_the_public_codes() {
    let set = golden("hits.json");
    let cases = set["cases"].as_array().unwrap();
    assert_eq!(cases.len() as u64, set["n_cases"].as_u64().unwrap());
    for case in cases {
        let id = &case["id"];
        let catalog: HashSet<Item> = items(&case["catalog"]).into_iter().collect();
        let seen: Vec<String> = serde_json::from_value(case["seen"].clone()).unwrap();
        let n_ranks = case["rec_num"].as_u64().unwrap() as usize;
        let tolerance = case["year_tolerance"].as_i64().unwrap().max(0) as u32;
        let found = hits(
            &items(&case["recs"]),
            &seen,
            &items(&case["groundtruth"]),
            |item| catalog.contains(item),
            n_ranks,
            tolerance,
        );
        assert_eq!(
            found
                .iter()
                .map(|&hit| f64::from(u8::from(hit)))
                .collect::<Vec<_>>(),
            numbers(&case["hits"]),
            "{id}"
        );
        assert_close(&exp_inf(&found), &case["reward_exp_inf"], id);
        assert_close(&log_decay(&found), &case["reward_log_decay"], id);
        assert!(
            (dcg(&found, n_ranks) - numbers(&case["reward_log_decay"])[0]).abs() < 1e-9,
            "{id}"
        );
    }
}

/// `[title, year]` pairs, the year a number, text or null.
fn items(pairs: &Value) -> Vec<Item> {
    let year = |year: &Value| match year {
        Value::String(text) => read_year(text),
        year => year.as_i64().and_then(|year| i32::try_from(year).ok()),
    };
    pairs
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| Item::new(pair[0].as_str().unwrap(), year(&pair[1])))
        .collect()
}

fn numbers(values: &Value) -> Vec<f64> {
    values
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_f64().unwrap())
        .collect()
}

fn assert_close(found: &[f64], expected: &Value, id: &Value) {
    let expected = numbers(expected);
    assert_eq!(found.len(), expected.len(), "{id}");
    assert!(
        found
            .iter()
            .zip(&expected)
            .all(|(a, b)| (a - b).abs() < 1e-9),
        "{id}: {found:?} is not {expected:?}"
    );
}
