//! A published instruct model (SmolLM2-135M) against transformers' numbers.

mod common;

use common::{assert_close, device, generation, recompute};
use convrec_policy::{Generation, Policy, Sampling, Sequence};
use convrec_testdata::{golden, model_path};

/// The golden file states "logits 2e-3, token logps 1e-3 absolute".
const TOLERANCE: f64 = 1e-3;

#[test]
fn smollm2() {
    let Some(folder) = model_path("smollm2-135m-instruct") else {
        return;
    };
    let policy = Policy::load_folder(&folder, &device()).unwrap();
    for (n, case) in golden("real_models.json")["smollm2"]["cases"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let numbers = |field: &str| {
            case[field]
                .as_array()
                .unwrap()
                .iter()
                .map(|x| x.as_f64().unwrap())
        };
        let ids: Vec<u32> = numbers("input_ids").map(|id| id as u32).collect();
        let expected: Vec<f64> = numbers("token_logps").collect();
        let text = Sequence {
            prompt: &ids[..1],
            completion: &ids[1..],
        };
        assert_close(
            &recompute(&policy, &[text], 1.0)[0].0,
            &expected,
            TOLERANCE,
            &format!("case {n}"),
        );

        let greedy: Vec<u32> = numbers("greedy_48").map(|id| id as u32).collect();
        let end_token = policy.config().end_tokens[0];
        let config = Generation {
            sampling: Sampling::greedy(),
            end_token,
            ..generation(1, 48)
        };
        assert_eq!(
            policy.generate(&[&ids], &config)[0][0].tokens,
            greedy,
            "case {n}: {}",
            case["greedy_text"]
        );
    }
}
