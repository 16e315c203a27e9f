//! Low-rank adapters: their numbers, their training, and their files.

mod common;

use std::collections::BTreeMap;
use std::fs;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Tensor;
use common::{configs, device, generation, recompute, sequences, to_vec, tokens};
use convrec_policy::{LoraConfig, ModelConfig, Policy, Projection, SaveOptions, Sequence};
use serde_json::{Value, json};

fn lora() -> LoraConfig {
    LoraConfig {
        rank: 3,
        alpha: 6.0,
        ..LoraConfig::default()
    }
}

fn base(config: &ModelConfig) -> Policy {
    Policy::new(config, 1, &device().autodiff()).unwrap()
}

fn loss(policy: &Policy) -> Tensor<1> {
    let ids = tokens(14, policy.config().vocab_size, 5);
    let text = [Sequence {
        prompt: &ids[..3],
        completion: &ids[3..],
    }];
    -policy.log_probs(&text, 1.0).log_probs.sum()
}

/// A policy whose adapter has learned something: two large steps.
fn learned(config: &ModelConfig, lora: &LoraConfig) -> Policy {
    let mut policy = base(config).with_lora(lora, 7).unwrap();
    let mut optimizer = AdamWConfig::new().init();
    for _ in 0..2 {
        let gradients = GradientsParams::from_grads(loss(&policy).backward(), &policy);
        policy = optimizer.step(0.05, policy, gradients);
    }
    policy
}

fn log_probs(policy: &Policy) -> Vec<f32> {
    let ids = tokens(20, policy.config().vocab_size, 3);
    recompute(
        policy,
        &[Sequence {
            prompt: &ids[..2],
            completion: &ids[2..],
        }],
        1.0,
    )
    .remove(0)
    .0
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f32::max)
}

fn bytes(policy: &Policy) -> Vec<u8> {
    policy.to_safetensors().unwrap()
}

/// The numbers of each parameter and of its gradient, with their shape, by path.
#[derive(Default)]
struct Parts {
    path: Vec<String>,
    gradients: Option<GradientsParams>,
    found: BTreeMap<String, Part>,
}

/// Shape, numbers, gradient.
type Part = (Vec<usize>, Vec<f32>, Option<Vec<f32>>);

impl Parts {
    fn of(policy: &Policy, gradients: Option<GradientsParams>) -> Self {
        let mut parts = Self {
            gradients,
            ..Self::default()
        };
        policy.visit(&mut parts);
        parts
    }

    fn adapter(policy: &Policy) -> BTreeMap<String, Vec<f32>> {
        let found = Self::of(policy, None).found;
        found
            .into_iter()
            .filter(|(name, _)| name.contains(".lora."))
            .map(|(name, (_, values, _))| (name, values))
            .collect()
    }
}

impl ModuleVisitor for Parts {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self
            .gradients
            .as_ref()
            .and_then(|gradients| gradients.get::<D>(param.id))
            .map(to_vec);
        self.found.insert(
            self.path.join("."),
            (param.dims().to_vec(), to_vec(param.val()), gradient),
        );
    }
}

#[test]
fn a_fresh_adapter_changes_nothing() {
    for config in configs() {
        let base = base(&config);
        let policy = base.clone().with_lora(&lora(), 7).unwrap();
        assert_eq!(log_probs(&policy), log_probs(&base));
        assert_eq!(policy.lora(), Some(&lora()));
        // The same seed gives the same numbers, and a projection's do not depend on the others.
        let all = Parts::adapter(&policy);
        assert_eq!(all.len(), 14 * config.num_hidden_layers);
        assert_eq!(
            all,
            Parts::adapter(&base.clone().with_lora(&lora(), 7).unwrap())
        );
        let one = LoraConfig {
            targets: vec![Projection::VProj],
            ..lora()
        };
        let one = Parts::adapter(&base.clone().with_lora(&one, 7).unwrap());
        assert!(
            one.len() == 2 * config.num_hidden_layers
                && one.iter().all(|(name, values)| all[name] == *values)
        );
        assert_ne!(
            all,
            Parts::adapter(&base.clone().with_lora(&lora(), 8).unwrap())
        );
        let a = &all["model.layers.0.mlp.up_proj.lora.a"];
        let bound = 1.0 / (config.hidden_size as f32).sqrt();
        assert!(a.iter().all(|x| x.abs() <= bound) && a.iter().any(|x| x.abs() > 0.8 * bound));
    }
}

#[test]
fn only_the_adapter_learns() {
    let config = &configs()[3];
    let (base, policy) = (base(config), learned(config, &lora()));
    let gradients = GradientsParams::from_grads(loss(&policy).backward(), &policy);
    for (name, (_, _, gradient)) in Parts::of(&policy, Some(gradients)).found {
        assert_eq!(gradient.is_some(), name.contains(".lora."), "{name}");
    }
    assert!(difference(&log_probs(&policy), &log_probs(&base)) > 0.1);
    // Without the adapter the policy is the base bit for bit, and again after the adapter was on.
    let off = policy.without_lora();
    assert_eq!(
        (bytes(&off), log_probs(&off)),
        (bytes(&base), log_probs(&base))
    );
    assert_eq!(off.lora(), None);
    let gradients = GradientsParams::from_grads(loss(&off).backward(), &off);
    assert!(
        Parts::of(&off, Some(gradients))
            .found
            .values()
            .all(|part| part.2.is_some()),
        "all of it can learn again"
    );
}

#[test]
fn merged_and_sampled_it_is_the_same() {
    for config in configs() {
        for rank_stabilized in [false, true] {
            let policy = learned(
                &config,
                &LoraConfig {
                    rank_stabilized,
                    ..lora()
                },
            );
            let before = log_probs(&policy);
            let merged = policy.merged();
            assert_eq!(merged.lora(), None);
            assert!(
                difference(&log_probs(&merged), &before) < 2e-4,
                "{}",
                difference(&log_probs(&merged), &before)
            );
            assert_eq!(
                log_probs(&policy),
                before,
                "merging leaves the policy as it is"
            );
            let (policy, prompt) = (policy.valid(), tokens(5, config.vocab_size, 2));
            let completions = policy.generate(&[&prompt], &generation(3, 8));
            for (sampled, (found, _)) in completions[0].iter().zip(recompute(
                &policy,
                &sequences(&[&prompt], &completions),
                1.0,
            )) {
                assert!(difference(&sampled.log_probs, &found) < 2e-5);
            }
        }
    }
}

/// dA = s B' dW and dB = s dW A', with dW the gradient of the weight that the adapter makes.
#[test]
fn gradients_are_those_of_the_full_weight() {
    for config in configs() {
        let policy = learned(&config, &lora());
        let gradients = GradientsParams::from_grads(loss(&policy).backward(), &policy);
        let parts = Parts::of(&policy, Some(gradients)).found;
        let merged = policy.merged();
        let gradients = GradientsParams::from_grads(loss(&merged).backward(), &merged);
        let full = Parts::of(&merged, Some(gradients)).found;
        for (name, (shape, _, weight)) in full
            .iter()
            .filter(|(name, _)| name.contains("_proj.weight"))
        {
            let place = name.strip_suffix("weight").unwrap();
            let (out, inner, r) = (shape[0], shape[1], 3);
            let (_, a, da) = &parts[&format!("{place}lora.a")];
            let (_, b, db) = &parts[&format!("{place}lora.b")];
            let (dw, da, db) = (
                weight.as_ref().unwrap(),
                da.as_ref().unwrap(),
                db.as_ref().unwrap(),
            );
            let scale = lora().scale();
            let close = |found: f32, expected: f64, largest: f64, what: &str| {
                let error = (f64::from(found) - scale * expected).abs();
                assert!(
                    error < 1e-4 * largest.max(1e-2),
                    "{place}{what}: {found}, expected {}",
                    scale * expected
                );
            };
            let largest =
                |values: &[f32]| f64::from(values.iter().fold(0f32, |m, x| m.max(x.abs())));
            for (i, j) in (0..r).flat_map(|i| (0..inner).map(move |j| (i, j))) {
                let sum = (0..out)
                    .map(|o| f64::from(b[o * r + i]) * f64::from(dw[o * inner + j]))
                    .sum();
                close(da[i * inner + j], sum, largest(da), "a");
            }
            for (o, i) in (0..out).flat_map(|o| (0..r).map(move |i| (o, i))) {
                let sum = (0..inner)
                    .map(|j| f64::from(dw[o * inner + j]) * f64::from(a[i * inner + j]))
                    .sum();
                close(db[o * r + i], sum, largest(db), "b");
            }
        }
    }
}

#[test]
fn written_and_read_back() {
    for config in configs() {
        for lora in [
            lora(),
            LoraConfig {
                rank_stabilized: true,
                alpha: 2.5,
                ..lora()
            },
            LoraConfig {
                targets: vec![Projection::QProj, Projection::DownProj],
                ..lora()
            },
        ] {
            let policy = learned(&config, &lora);
            let folder = tempfile::tempdir().unwrap();
            policy.save_lora(folder.path()).unwrap();
            let read = base(&config).load_lora(folder.path()).unwrap();
            assert_eq!(read.lora(), Some(&lora));
            assert_eq!(Parts::adapter(&read), Parts::adapter(&policy));
            assert_eq!(log_probs(&read), log_probs(&policy));
            // The adapter takes the place of another one.
            let other = base(&config).with_lora(&LoraConfig::default(), 9).unwrap();
            assert_eq!(
                log_probs(&other.load_lora(folder.path()).unwrap()),
                log_probs(&policy)
            );
            let file = fs::read(folder.path().join("adapter_model.safetensors")).unwrap();
            let file = safetensors::SafeTensors::deserialize(&file).unwrap();
            assert!(
                file.tensor("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight")
                    .is_ok()
            );
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let config = &configs()[0];
    let policy = learned(config, &lora());
    let folder = tempfile::tempdir().unwrap();
    // A model's files hold no adapter, and an adapter's no model.
    for error in [
        policy.to_safetensors().unwrap_err(),
        policy
            .save_folder(folder.path(), &SaveOptions::default())
            .unwrap_err(),
        base(config).save_lora(folder.path()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("adapter"), "{error}");
    }
    assert_eq!(
        policy.clone().with_lora(&lora(), 1).unwrap_err().field,
        "lora"
    );
    for (field, wrong) in [
        ("rank", LoraConfig { rank: 0, ..lora() }),
        (
            "alpha",
            LoraConfig {
                alpha: f64::NAN,
                ..lora()
            },
        ),
        (
            "targets",
            LoraConfig {
                targets: vec![],
                ..lora()
            },
        ),
    ] {
        assert_eq!(base(config).with_lora(&wrong, 1).unwrap_err().field, field);
    }

    policy.save_lora(folder.path()).unwrap();
    let path = folder.path().join("adapter_config.json");
    let whole: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for (field, value) in [
        ("peft_type", json!("LOHA")),
        ("r", json!(0)),
        ("r", Value::Null),
        ("lora_alpha", json!("16")),
        ("target_modules", json!(["q_proj", "lm_head"])),
        ("target_modules", json!("q_proj")),
        ("target_modules", json!([])),
        ("use_rslora", json!(1)),
        ("use_dora", json!(true)),
        ("bias", json!("all")),
        ("modules_to_save", json!(["norm"])),
        ("rank_pattern", json!({ "q_proj": 0 })),
        (
            "rank_pattern",
            json!({ "q_proj": 4, "self_attn.q_proj": 5 }),
        ),
        ("rank_pattern", json!({ "(": 4 })),
        ("alpha_pattern", json!({ "q_proj": -1 })),
        ("target_modules", json!("(")),
        ("target_modules", json!(".*(q_proj|lm_head)")),
        ("layers_to_transform", json!("first")),
        ("init_lora_weights", json!("pissa_niter_4")),
        ("init_lora_weights", json!("corda")),
        ("init_lora_weights", json!("loftq")),
        ("kasa_config", json!({ "rank": 2 })),
    ] {
        let mut file = whole.clone();
        file[field] = value;
        fs::write(&path, file.to_string()).unwrap();
        let error = base(config)
            .load_lora(folder.path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("adapter_config.json") && error.contains(&format!("`{field}`")),
            "{error}"
        );
    }
    // PEFT writes this at times.
    let mut file = whole.clone();
    let paths = |name: &Value| {
        let name = name.as_str().unwrap().to_string();
        let part = if name.len() == 6 && name != "up_proj" {
            "self_attn"
        } else {
            "mlp"
        };
        (0..config.num_hidden_layers).map(move |n| json!(format!("model.layers.{n}.{part}.{name}")))
    };
    let names = whole["target_modules"].as_array().unwrap().iter().rev();
    file["target_modules"] = names.flat_map(paths).collect();
    fs::write(&path, file.to_string()).unwrap();
    assert_eq!(
        base(config).load_lora(folder.path()).unwrap().lora(),
        Some(&lora())
    );
    fs::write(&path, whole.to_string()).unwrap();
    // The adapter is of another model, another rank, or other projections.
    let error = |config: &ModelConfig| {
        base(config)
            .load_lora(folder.path())
            .unwrap_err()
            .to_string()
    };
    assert!(
        error(&configs()[1]).contains("lora_A.weight") || error(&configs()[1]).contains("unknown")
    );
    for (field, value, part) in [
        ("r", json!(4), "shape [3, 32], expected [4, 32]"),
        (
            "r",
            json!(1u64 << 50),
            "shape [3, 32], expected [1125899906842624, 32]",
        ),
        (
            "rank_pattern",
            json!({ "q_proj": 4 }),
            "shape [3, 32], expected [4, 32]",
        ),
        (
            "layers_to_transform",
            json!([0]),
            "unknown: base_model.model.model.layers.1",
        ),
        (
            "modules_to_save",
            json!(["lm_head"]),
            "missing: base_model.model.lm_head.weight",
        ),
        (
            "target_modules",
            json!(["q_proj"]),
            "unknown: base_model.model.model.layers.0.mlp.down_proj.lora_A.weight",
        ),
    ] {
        let mut file = whole.clone();
        file[field] = value;
        fs::write(&path, file.to_string()).unwrap();
        assert!(error(config).contains(part), "{}", error(config));
    }
    fs::write(&path, whole.to_string()).unwrap();
    fs::remove_file(folder.path().join("adapter_model.safetensors")).unwrap();
    assert!(
        error(config).contains("adapter_model.safetensors"),
        "{}",
        error(config)
    );
}
