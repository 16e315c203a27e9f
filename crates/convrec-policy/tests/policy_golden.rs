//! Six tiny models of three families against transformers' numbers: logits, log-probabilities,
//! entropies, greedy generation and the gradient of a training step.

mod common;

use std::collections::BTreeMap;

use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use common::{assert_close, device, generation, ids, read_tensors, recompute, to_vec};
use convrec_policy::{Completion, Generation, Policy, Sampling, Sequence};
use convrec_testdata::{golden, golden_as, golden_path};
use serde::Deserialize;

/// The tolerance of logits and log-probabilities; the largest logit is about 17.
const TOLERANCE: f64 = 2e-4;

#[derive(Deserialize)]
struct Expected {
    name: String,
    cases: Vec<Case>,
    greedy: Greedy,
    sft_gradient: SftGradient,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    input_ids: Vec<Vec<u32>>,
    attention_mask: Vec<Vec<u8>>,
    logits_tensor: String,
    token_logps: Vec<Vec<f64>>,
    #[serde(rename = "token_logps_temperature_0.7")]
    token_logps_cool: Vec<Vec<f64>>,
    token_entropies: Vec<Vec<f64>>,
    token_logps_valid: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
struct Greedy {
    prompts: Vec<Vec<u32>>,
    padded_input_ids: Vec<Vec<u32>>,
    attention_mask: Vec<Vec<u8>>,
    new_tokens: Vec<Vec<u32>>,
    token_logps: Vec<Vec<f64>>,
    max_new_tokens: usize,
}

#[derive(Deserialize)]
struct SftGradient {
    case: String,
    loss: f64,
    grad_norm: f64,
}

impl Case {
    fn present(&self) -> Vec<Vec<bool>> {
        booleans(&self.attention_mask)
    }

    /// The rows without their padding.
    fn real(&self) -> Vec<Vec<u32>> {
        let real = |(ids, mask): (&Vec<u32>, &Vec<u8>)| pick(ids, mask);
        self.input_ids
            .iter()
            .zip(&self.attention_mask)
            .map(real)
            .collect()
    }

    /// The valid numbers of `of`, row after row.
    fn valid(&self, of: &[Vec<f64>]) -> Vec<Vec<f64>> {
        of.iter()
            .zip(&self.token_logps_valid)
            .map(|(row, mask)| pick(row, mask))
            .collect()
    }
}

fn pick<T: Copy>(values: &[T], mask: &[u8]) -> Vec<T> {
    values
        .iter()
        .zip(mask)
        .filter(|(_, m)| **m == 1)
        .map(|(x, _)| *x)
        .collect()
}

fn booleans(mask: &[Vec<u8>]) -> Vec<Vec<bool>> {
    mask.iter()
        .map(|row| row.iter().map(|m| *m == 1).collect())
        .collect()
}

/// The whole text is the completion of its first token.
fn as_sequences(rows: &[Vec<u32>]) -> Vec<Sequence<'_>> {
    rows.iter()
        .map(|row| Sequence {
            prompt: &row[..1],
            completion: &row[1..],
        })
        .collect()
}

fn each_model(test: impl Fn(&Policy, &Expected, &BTreeMap<String, Vec<f64>>)) {
    on_each_model(&device(), test);
}

fn on_each_model(
    device: &burn::tensor::Device,
    test: impl Fn(&Policy, &Expected, &BTreeMap<String, Vec<f64>>),
) {
    let index = golden("models/index.json");
    let models = index["models"].as_array().unwrap();
    assert!(!models.is_empty());
    for model in models {
        let name = model["name"].as_str().unwrap();
        let policy = Policy::load_folder(golden_path(&format!("models/{name}")), device).unwrap();
        let expected: Expected = golden_as(&format!("models_expected/{name}/expected.json"));
        let tensors = read_tensors(&golden_path(&format!(
            "models_expected/{name}/expected.safetensors"
        )));
        test(&policy, &expected, &tensors);
    }
}

#[test]
fn logits_under_every_padding() {
    each_model(|policy, expected, tensors| {
        for case in &expected.cases {
            let hidden =
                policy.hidden_masked(ids(&case.input_ids, &policy.device()), &case.present());
            let [b, t, d] = hidden.dims();
            let found = to_vec(policy.logits(hidden.reshape([b * t, d])));
            let v = policy.config().vocab_size;
            let real = case.attention_mask.iter().flatten();
            let rows = real.zip(found.chunks(v).zip(tensors[&case.logits_tensor].chunks(v)));
            for (row, (_, (found, expected_row))) in
                rows.filter(|(real, _)| **real == 1).enumerate()
            {
                assert_close(
                    found,
                    expected_row,
                    TOLERANCE,
                    &format!("{} {} place {row}", expected.name, case.name),
                );
            }
        }
    });
}

/// The trainer's path: no padding on the left, one forward pass.
#[test]
fn log_probs_and_entropies() {
    each_model(|policy, expected, _| {
        for case in &expected.cases {
            let rows = case.real();
            for (temperature, log_probs) in
                [(1.0, &case.token_logps), (0.7, &case.token_logps_cool)]
            {
                let found = recompute(policy, &as_sequences(&rows), temperature);
                let what = format!("{} {} at {temperature}", expected.name, case.name);
                for ((found, entropies), expected) in found.iter().zip(case.valid(log_probs)) {
                    assert_close(found, &expected, TOLERANCE, &what);
                    assert_eq!(found.len(), entropies.len());
                }
                if temperature == 1.0 {
                    for ((_, found), expected) in
                        found.iter().zip(case.valid(&case.token_entropies))
                    {
                        assert_close(found, &expected, TOLERANCE, &format!("entropies, {what}"));
                    }
                }
            }
        }
    });
}

#[test]
fn greedy_generation_in_a_batch_and_alone() {
    each_model(|policy, expected, _| {
        let greedy = &expected.greedy;
        let config = Generation {
            sampling: Sampling::greedy(),
            ..generation(1, greedy.max_new_tokens)
        };
        let prompts: Vec<&[u32]> = greedy.prompts.iter().map(Vec::as_slice).collect();
        let together = policy.generate(&prompts, &config);
        let alone: Vec<_> = prompts
            .iter()
            .flat_map(|prompt| policy.generate(&[prompt], &config))
            .collect();
        for found in [together, alone] {
            let found: Vec<&Completion> = found.iter().flatten().collect();
            assert_eq!(found.len(), greedy.prompts.len());
            for (row, completion) in found.iter().enumerate() {
                let what = format!("{}, prompt {row}", expected.name);
                assert_eq!(completion.tokens, greedy.new_tokens[row], "{what}");
                assert_close(
                    &completion.log_probs,
                    &greedy.token_logps[row],
                    TOLERANCE,
                    &what,
                );
            }
        }
        // The padded form holds the same prompts.
        for (row, prompt) in greedy.prompts.iter().enumerate() {
            assert_eq!(
                &pick(&greedy.padded_input_ids[row], &greedy.attention_mask[row]),
                prompt
            );
        }
    });
}

#[test]
fn gradients_of_a_training_step() {
    on_each_model(&device().autodiff(), |policy, expected, tensors| {
        let step = &expected.sft_gradient;
        let case = expected
            .cases
            .iter()
            .find(|case| case.name == step.case)
            .unwrap();
        let rows = case.real();
        let count: usize = rows.iter().map(|row| row.len() - 1).sum();
        let loss = policy
            .log_probs(&as_sequences(&rows), 1.0)
            .log_probs
            .sum()
            .neg()
            .div_scalar(count as f64);
        assert_close(
            &to_vec(loss.clone()),
            &[step.loss],
            TOLERANCE,
            &expected.name,
        );

        let mut named = Named {
            gradients: GradientsParams::from_grads(loss.backward(), policy),
            ..Named::default()
        };
        burn::module::Module::visit(policy, &mut named);
        let norm = named
            .found
            .values()
            .flatten()
            .map(|x| f64::from(*x).powi(2))
            .sum::<f64>()
            .sqrt();
        assert!(
            (norm / step.grad_norm - 1.0).abs() < 1e-5,
            "{}: {norm}, not {}",
            expected.name,
            step.grad_norm
        );
        let wanted: BTreeMap<_, _> = tensors
            .iter()
            .filter_map(|(k, v)| Some((k.strip_prefix("grad.")?, v)))
            .collect();
        assert!(
            named
                .found
                .keys()
                .map(String::as_str)
                .eq(wanted.keys().copied()),
            "{}: the names",
            expected.name
        );
        for (name, wanted) in wanted {
            // The tolerance is relative to the tensor, as gradients of different parameters differ
            // in size by orders.
            let largest = wanted.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
            let what = format!("{}: {name}", expected.name);
            assert_close(&named.found[name], wanted, 1e-4 * largest + 1e-6, &what);
        }
    });
}

/// The gradients by the parameters' names.
#[derive(Default)]
struct Named {
    gradients: GradientsParams,
    path: Vec<String>,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Named {
    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<N>>) {
        let gradient = self
            .gradients
            .get::<N>(param.id)
            .expect("every parameter has a gradient");
        self.found.insert(self.path.join("."), to_vec(gradient));
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}
