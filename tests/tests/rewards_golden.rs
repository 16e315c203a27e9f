//! `golden/rewards.json`: from a completion's text to its rewards, by the parser and the matcher of
//! the paper's public code, and the paper's third reward.

use std::collections::HashSet;

use convrec_catalog::reference::{hits, read_year};
use convrec_core::Item;
use convrec_metrics::rewards::RankReward;
use convrec_testdata::golden;
use convrec_text::parse::parse_reference;
use serde_json::Value;

#[test]
fn rewards_from_text() {
    let set = golden("rewards.json");
    let cases = set["cases"].as_array().unwrap();
    assert_eq!(cases.len() as u64, set["n_cases"].as_u64().unwrap());
    for case in cases {
        let catalog: HashSet<Item> = items(&case["catalog"]).into_iter().collect();
        let seen: Vec<String> = serde_json::from_value(case["seen"].clone()).unwrap();
        let recommended = parse_reference(case["text"].as_str().unwrap());
        let relevant = hits(
            &recommended,
            &seen,
            &items(&case["groundtruth"]),
            |item| catalog.contains(item),
            case["rec_num"].as_u64().unwrap() as usize,
            case["year_tolerance"].as_i64().unwrap().max(0) as u32,
        );
        let check = |reward: RankReward, expected: &Value| {
            let rewards = reward.rewards(&relevant);
            let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
            let close = rewards
                .iter()
                .zip(&expected)
                .all(|(a, b)| (a - b).abs() < 1e-9);
            assert!(
                close && rewards.len() == expected.len(),
                "{} {reward:?}: {rewards:?}",
                case["id"]
            );
        };
        check(RankReward::ExpInf, &case["reward_exp_inf"]);
        check(RankReward::LogDecay, &case["reward_log_decay"]);
        for (gamma, expected) in case["paper_exp_gamma"].as_object().unwrap() {
            check(
                RankReward::ExpGamma {
                    gamma: gamma.parse().unwrap(),
                },
                expected,
            );
        }
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
