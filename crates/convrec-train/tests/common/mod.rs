//! A world of six films, and runs in it.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_core::{CatalogItem, Demonstration, Example, Item, Turn};
use convrec_policy::{LoraConfig, ModelConfig, Policy, Projection};
use convrec_retrieve::Fitted;
use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};
use convrec_train::evaluate::Decoding;
use convrec_train::{
    DynamicSampling, KlControl, MultiObjectiveAggregation, Observer, RankGrpoTrainer,
    RewardCondition, RewardTarget, RlConfig, RunOptions, Sample, Sampler, SftConfig, SftJob, Task,
    TokenPair, TrainError, Validation, WatchConfig, train_sft,
};

pub struct World {
    pub task: Task,
    pub pairs: Vec<TokenPair>,
    pub samples: Vec<Sample>,
}

pub fn world() -> World {
    let item = |n: usize| CatalogItem {
        title: format!("Film {}", ["One", "Two", "Three", "Four", "Five", "Six"][n]),
        year: Some(1990 + n as i32),
        genres: vec![["even", "odd"][n % 2].to_string()],
        metadata: String::new(),
    };
    let catalog = Catalog::new((0..6).map(item).collect()).unwrap();
    let names: Vec<Item> = catalog.iter().map(|(_, item)| item.item()).collect();
    let lines = names.iter().map(|item| format!("{item}\n"));
    let corpus: Vec<String> = lines.chain(["something with robots".to_string()]).collect();
    let tokenizer = TextTokenizer::train(
        corpus.iter(),
        &TrainConfig {
            vocab_size: 320,
            ..Default::default()
        },
    )
    .unwrap();
    let task = Task::new(
        catalog,
        PromptFormat::default().prompter(&tokenizer).unwrap(),
        2,
    );
    let example = |n: usize| Example {
        id: format!("d{n}-1"),
        dialog: vec![Turn::user(format!("something with robots {n}"))],
        seen: vec![],
        ground_truth: vec![names[n % 6].clone()],
    };
    let demonstration = |n: usize| Demonstration {
        example: example(n),
        list: vec![names[n % 6].clone(), names[(n + 1) % 6].clone()],
    };
    World {
        pairs: (0..12)
            .map(|n| task.pair(&demonstration(n)).unwrap())
            .collect(),
        samples: (0..12).map(|n| task.sample(&example(n)).unwrap()).collect(),
        task,
    }
}

/// Conversations in the world: after a film with an odd number somebody is recommended the next
/// one.
pub fn conversations(catalog: &Catalog) -> Vec<Example> {
    let names: Vec<Item> = catalog.iter().map(|(_, item)| item.item()).collect();
    let example = |n: usize| Example {
        id: format!("d{n}-1"),
        dialog: vec![Turn::user("something with robots")],
        seen: vec![names[2 * (n % 3)].clone()],
        ground_truth: vec![names[2 * (n % 3) + 1].clone()],
    };
    (0..12).map(example).collect()
}

/// The world with a retriever, which finds `n_candidates` films and is as loud as `weight`.
pub fn retrieved(n_candidates: usize, weight: f32) -> World {
    let World { task, .. } = world();
    let examples = conversations(task.catalog());
    let mut fitted = Fitted::fit(task.catalog(), &examples).unwrap();
    (fitted.n_candidates, fitted.weight) = (n_candidates, weight);
    let retriever = fitted.over(task.catalog());
    let lists = retriever.demonstrations(&examples, 2, true, 0);
    let task = task.constrained().unwrap().with_retriever(retriever.into());
    World {
        pairs: lists.iter().map(|list| task.pair(list).unwrap()).collect(),
        samples: examples.iter().map(|x| task.sample(x).unwrap()).collect(),
        task,
    }
}

pub fn policy(world: &World) -> Policy {
    let shape = ModelConfig::small(world.task.prompter().tokenizer().vocab_size(), 16, 1, 2);
    Policy::new(&shape, 1, &Device::flex().autodiff()).unwrap()
}

pub fn lora() -> LoraConfig {
    LoraConfig {
        rank: 2,
        targets: vec![Projection::QProj, Projection::UpProj],
        ..LoraConfig::default()
    }
}

/// Keeps every checkpoint.
pub fn options(folder: &Path, resume: bool) -> RunOptions {
    RunOptions {
        folder: Some(folder.into()),
        resume,
        checkpoint_every: 1,
        keep_checkpoints: 100,
        evaluate_every: 2,
        watch: WatchConfig {
            completions_every: 2,
            keep_completions: 2,
            ..WatchConfig::default()
        },
        ..RunOptions::default()
    }
}

/// Runs `kind` in `folder`; a run that is not resumed starts anew.
pub fn run(
    world: &World,
    kind: &str,
    steps: usize,
    folder: &Path,
    resume: bool,
) -> Result<Policy, TrainError> {
    run_with(world, kind, steps, &options(folder, resume))
}

/// Runs `kind`, one of `sft`, `constrained sft`, `rank_grpo`, `constrained` and `everything`, with
/// `+lora`, `+bf16`, `+slow` and `+async` behind it, in this order, or without.
pub fn run_with(
    world: &World,
    kind: &str,
    steps: usize,
    options: &RunOptions,
) -> Result<Policy, TrainError> {
    run_observed(world, kind, steps, options, &mut ())
}

/// The same with an observer.
pub fn run_observed(
    world: &World,
    kind: &str,
    steps: usize,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<Policy, TrainError> {
    run_on(world, kind, steps, options, &[], observer)
}

/// The same on further devices.
pub fn run_on(
    world: &World,
    kind: &str,
    steps: usize,
    options: &RunOptions,
    devices: &[Device],
    observer: &mut dyn Observer,
) -> Result<Policy, TrainError> {
    let how = (options, devices);
    run_sampled(world, kind, steps, how, None, observer)
}

/// The same with a sampler of the test's own.
pub fn run_sampled(
    world: &World,
    kind: &str,
    steps: usize,
    (options, devices): (&RunOptions, &[Device]),
    sampler: Option<&mut dyn Sampler>,
    observer: &mut dyn Observer,
) -> Result<Policy, TrainError> {
    let validation = Validation {
        task: &world.task,
        samples: &world.samples,
        decoding: Decoding::greedy(24, 8),
    };
    let inputs = BTreeMap::from([("catalog".to_string(), "x".to_string())]);
    let first = policy(world);
    let (kind, one_step_off_policy) = match kind.strip_suffix("+async") {
        Some(kind) => (kind, true),
        None => (kind, false),
    };
    // The policy moves by less than what stops a run whose sampler is another policy.
    let (kind, slow) = match kind.strip_suffix("+slow") {
        Some(kind) => (kind, 0.01),
        None => (kind, 1.0),
    };
    // These settings are not in a checkpoint.
    let (kind, bf16) = match kind.strip_suffix("+bf16") {
        Some(kind) => (kind, true),
        None => (kind, false),
    };
    let gradient_checkpointing = bf16;
    let (kind, lora) = match kind.strip_suffix("+lora") {
        Some(kind) => (kind, Some(lora())),
        None => (kind, None),
    };
    let task = match kind {
        "constrained" | "everything" | "constrained sft" => {
            world.task.clone().constrained().unwrap()
        }
        _ => world.task.clone(),
    };
    if kind.ends_with("sft") {
        let config = SftConfig {
            max_steps: steps,
            batch_size: 4,
            micro_batch: 3,
            constrained: task.is_constrained(),
            lora,
            bf16,
            gradient_checkpointing,
            ..SftConfig::default()
        };
        let job = SftJob {
            task: &task,
            data: &world.pairs,
            validation,
            devices,
        };
        return train_sft(first, job, &config, options, inputs, observer);
    }
    let mut config = RlConfig {
        max_steps: steps,
        prompts_per_step: 2,
        num_generations: 4,
        num_iterations: 2,
        one_step_off_policy,
        micro_batch: 3,
        max_completion_length: 24,
        lora,
        bf16,
        gradient_checkpointing,
        ..RlConfig::default()
    };
    config.optimizer.learning_rate *= slow;
    let config = match kind {
        "everything" => everything(config),
        _ => config,
    };
    let trainer = RankGrpoTrainer::new(first, &task, &world.samples)
        .config(config)
        .devices(devices)
        .validation(validation)
        .run(options.clone())
        .inputs(inputs)
        .observer(observer);
    match sampler {
        Some(sampler) => trainer.sampler(sampler).train(),
        None => trainer.train(),
    }
}

/// A config whose steps depend on earlier steps: by the place in the data, the weight of the KL and
/// the multiplier of a target.
fn everything(config: RlConfig) -> RlConfig {
    let condition = RewardCondition {
        given: "genre:odd".into(),
        threshold: 1.0,
    };
    RlConfig {
        mini_batches: 2,
        reward_weights: ["relevance", "novelty", "diversity"]
            .map(|name| (name.to_string(), 1.0))
            .into(),
        reward_targets: [("genre:odd".to_string(), RewardTarget::at_most(0.2))].into(),
        reward_conditions: [("diversity".to_string(), condition)].into(),
        multi_objective_aggregation: MultiObjectiveAggregation::NormalizeThenSum,
        dynamic_sampling: Some(DynamicSampling {
            max_batches: 3,
            min_ranks: 2,
        }),
        kl_control: Some(KlControl {
            target: 1e-4,
            horizon: 50.0,
        }),
        ..config
    }
}

/// The bytes of the weights, and of the adapter where there is one.
pub fn bytes(policy: &Policy) -> Vec<u8> {
    let mut bytes = policy.without_lora().to_safetensors().unwrap();
    if policy.lora().is_some() {
        let folder = tempfile::tempdir().unwrap();
        policy.save_lora(folder.path()).unwrap();
        bytes.extend(fs::read(folder.path().join("adapter_model.safetensors")).unwrap());
    }
    bytes
}
