//! The distribution tokens are drawn from: transformers' filters, and that draws follow it.

mod common;

use common::{configs, generation, ids, sharp, to_vec, tokens};
use convrec_policy::{Generation, Sampling};
use convrec_testdata::golden;
use serde_json::Value;

#[test]
fn filters_as_in_transformers() {
    let golden = golden("sampling.json");
    let cases = golden["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let number = |field: &str| case[field].as_f64().map(|x| x as f32);
        let sampling = Sampling {
            repetition_penalty: number("repetition_penalty").unwrap_or(1.0),
            temperature: number("temperature").unwrap_or(1.0),
            top_k: case["top_k"].as_u64().map(|k| k as usize),
            top_p: number("top_p"),
            min_p: number("min_p"),
        };
        sampling.check().unwrap();
        let list = |field: &str| {
            case[field]
                .as_array()
                .unwrap()
                .iter()
                .map(|x| x.as_f64().unwrap())
                .collect::<Vec<_>>()
        };
        let logits: Vec<f32> = list("logits").iter().map(|x| *x as f32).collect();
        let history: Vec<u32> = list("history").iter().map(|x| *x as u32).collect();
        let found = sampling.probabilities(&logits, &history);
        let expected = list("probabilities");
        assert_eq!(found.len(), expected.len());
        for (token, (x, y)) in found.iter().zip(&expected).enumerate() {
            // The logits are f32 here and f64 there.
            assert!(
                (x - y).abs() < 1e-6,
                "{}, token {token}: {x}, expected {y}",
                case["id"]
            );
            assert_eq!(
                *x == 0.0,
                *y == 0.0,
                "{}, token {token}: kept or not",
                case["id"]
            );
        }
    }
}

/// Counts of many completions of one token are compared with the probabilities of the logits.
#[test]
fn draws_follow_the_probabilities() {
    const DRAWS: usize = 20_000;
    let settings = [
        Sampling::default(),
        Sampling {
            temperature: 0.7,
            ..Sampling::default()
        },
        Sampling {
            temperature: 1.5,
            top_k: Some(9),
            ..Sampling::default()
        },
        Sampling {
            top_p: Some(0.8),
            ..Sampling::default()
        },
        Sampling {
            repetition_penalty: 1.5,
            min_p: Some(0.05),
            ..Sampling::default()
        },
    ];
    let policy = sharp(&configs()[0], 11);
    let prompt = tokens(7, policy.config().vocab_size, 1);
    let hidden = policy.hidden(ids(std::slice::from_ref(&prompt), &policy.device()));
    let [_, t, d] = hidden.dims();
    let logits = to_vec(policy.logits(hidden.slice([0..1, t - 1..t, 0..d]).reshape([1, d])));
    for sampling in settings {
        let expected = sampling.probabilities(&logits, &prompt);
        let config = Generation {
            sampling,
            max_rows: DRAWS,
            ..generation(DRAWS, 1)
        };
        let mut counts = vec![0u32; expected.len()];
        for completion in &policy.generate(&[&prompt], &config)[0] {
            counts[completion.tokens[0] as usize] += 1;
        }
        let (statistic, freedom) = chi_square(&counts, &expected, DRAWS);
        // The mean is the degrees of freedom, the variance twice that: 5 standard deviations.
        let limit = freedom + 5.0 * (2.0 * freedom).sqrt();
        assert!(
            statistic < limit,
            "{:?}: chi-square {statistic:.1}, limit {limit:.1}",
            config.sampling
        );
        assert!(
            freedom >= 3.0,
            "{:?}: only {freedom} degrees of freedom prove nothing",
            config.sampling
        );
    }
}

/// Pearson's statistic over the tokens expected at least 5 times, the others as one; no draw where
/// p = 0.
fn chi_square(counts: &[u32], p: &[f64], draws: usize) -> (f64, f64) {
    let (mut rare_found, mut rare_expected, mut statistic, mut bins) = (0.0, 0.0, 0.0, 0);
    let mut add = |found: f64, expected: f64| {
        statistic += (found - expected).powi(2) / expected;
        bins += 1;
    };
    for (token, (count, p)) in counts.iter().zip(p).enumerate() {
        assert!(
            *p > 0.0 || *count == 0,
            "token {token} was drawn with probability 0"
        );
        let (found, expected) = (f64::from(*count), p * draws as f64);
        if expected >= 5.0 {
            add(found, expected);
        } else {
            rare_found += found;
            rare_expected += expected;
        }
    }
    if rare_expected >= 1.0 {
        add(rare_found, rare_expected);
    }
    (statistic, f64::from(bins) - 1.0)
}

/// At the lowest temperatures sampling draws the tokens of greedy decoding.
#[test]
fn the_smallest_temperature_is_greedy() {
    let cold = Sampling {
        temperature: 1e-20,
        ..Sampling::default()
    };
    cold.check().unwrap();
    for logits in [
        [-3.0f32, 4e4, 3.99e4, 0.0],
        [0.1, 0.3, 0.2, -1e9],
        [1e10, 0.0, 2e10, 1.0],
    ] {
        let greedy = Sampling::greedy().probabilities(&logits, &[]);
        assert_eq!(cold.probabilities(&logits, &[]), greedy);
    }
}

#[test]
fn nonsense_is_refused_by_name() {
    let d = Sampling::default;
    for (sampling, field) in [
        (
            Sampling {
                temperature: -1.0,
                ..d()
            },
            "temperature",
        ),
        (
            Sampling {
                temperature: f32::NAN,
                ..d()
            },
            "temperature",
        ),
        (
            // 1 / temperature is infinite.
            Sampling {
                temperature: 1e-40,
                ..d()
            },
            "temperature",
        ),
        (
            Sampling {
                temperature: f32::MIN_POSITIVE,
                ..d()
            },
            "temperature",
        ),
        (
            Sampling {
                repetition_penalty: 0.0,
                ..d()
            },
            "repetition_penalty",
        ),
        (
            Sampling {
                top_k: Some(0),
                ..d()
            },
            "top_k",
        ),
        (
            Sampling {
                top_p: Some(1.5),
                ..d()
            },
            "top_p",
        ),
        (
            Sampling {
                min_p: Some(-0.1),
                ..d()
            },
            "min_p",
        ),
    ] {
        assert_eq!(sampling.check().unwrap_err().field, field);
    }
    let misspelt: Result<Sampling, _> =
        serde_json::from_value(Value::from_iter([("temprature", 1.0)]));
    assert!(misspelt.unwrap_err().to_string().contains("temprature"));
}
