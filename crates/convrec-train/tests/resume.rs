//! A run that is cut and resumed ends as one that was not, bit for bit: weights, optimiser and log.

mod common;

use std::collections::BTreeMap;
use std::fs;

use burn::module::Module;
use common::{bytes, lora, policy, retrieved, run, world};
use convrec_core::Item;
use convrec_policy::{LoraConfig, Policy, Sequence};
use convrec_train::evaluate::Decoding;
use convrec_train::{
    RunOptions, SftConfig, SftJob, StepView, Task, TokenPair, TrainError, Validation, train_sft,
};

#[test]
fn a_resumed_run_is_the_uninterrupted_one() {
    let (world, with_retriever) = (world(), retrieved(4, 1.0));
    for kind in [
        "sft",
        "rank_grpo",
        "constrained",
        "everything",
        "sft+lora",
        "constrained+lora",
        "sft+bf16",
        "constrained+lora+bf16",
        "constrained+async",
        "everything+async",
        "constrained+lora+bf16+async",
        "retriever: constrained sft",
        "retriever: everything",
    ] {
        let world = match kind.starts_with("retriever: ") {
            true => &with_retriever,
            false => &world,
        };
        let kind = kind.trim_start_matches("retriever: ");
        let folder = tempfile::tempdir().unwrap();
        let whole = run(world, kind, 5, &folder.path().join("whole"), false).unwrap();
        let log = fs::read(folder.path().join("whole/log.jsonl")).unwrap();
        assert_eq!(log.iter().filter(|byte| **byte == b'\n').count(), 5);
        if kind.starts_with("everything") {
            let prices = prices(&log);
            assert!(prices[0] == 0.0 && prices[2] != prices[3], "{prices:?}");
        }
        // The run is cut after step 2: later files are gone, and the log's last line was being
        // written.
        let cut = folder.path().join("cut");
        run(world, kind, 5, &cut, false).unwrap();
        for step in 3..=5 {
            fs::remove_dir_all(cut.join(format!("checkpoint-{step:06}"))).unwrap();
        }
        let third = log
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(2)
            .unwrap()
            .0;
        fs::write(cut.join("log.jsonl"), &log[..third + 10]).unwrap();
        let resumed = run(world, kind, 5, &cut, true).unwrap();
        assert!(
            bytes(&whole) == bytes(&resumed),
            "{kind}: the weights differ"
        );
        assert_eq!(
            resumed.checkpoints(),
            kind.contains("+bf16"),
            "{kind}: gradient checkpointing"
        );
        assert!(
            log == fs::read(cut.join("log.jsonl")).unwrap(),
            "{kind}: the log differs"
        );
    }
}

/// The multiplier of the target of `everything`, by step.
fn prices(log: &[u8]) -> Vec<f64> {
    let lines = log.split(|byte| *byte == b'\n');
    let read = |line| serde_json::from_slice::<serde_json::Value>(line).ok();
    let price = |record: serde_json::Value| record["targets/genre:odd/multiplier"].as_f64();
    lines.filter_map(read).filter_map(price).collect()
}

/// A run with an adapter leaves the weights as they were, and a trained adapter.
#[test]
fn an_adapter_learns_beside_weights_that_stay() {
    let (world, folder) = (world(), tempfile::tempdir().unwrap());
    let first = policy(&world);
    for kind in ["sft+lora", "constrained+lora"] {
        let path = folder.path().join(kind);
        let trained = run(&world, kind, 4, &path, false).unwrap();
        assert!(
            bytes(&trained.without_lora()) == bytes(&first),
            "{kind}: the weights"
        );
        let fresh = first.clone().with_lora(&lora(), 0).unwrap();
        assert!(bytes(&trained) != bytes(&fresh), "{kind}: the adapter");
        assert!(
            bytes(&trained.merged()) != bytes(&first),
            "{kind}: what it makes of the weights"
        );
        let checkpoint = path.join("checkpoint-000004");
        assert!(
            checkpoint.join("adapter_model.safetensors").exists()
                && !checkpoint.join("model.safetensors").exists()
        );
        let log = fs::read_to_string(path.join("log.jsonl")).unwrap();
        for record in log
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        {
            // Sampler and trainer agree, and the reference is where the policy starts (two updates
            // a batch).
            if let Some(difference) = record.get("sampling/sampling_logp_difference/max") {
                assert!(difference.as_f64().unwrap() < 1e-5, "{record}");
                assert!(
                    record["step"] != 1 || record["kl"].as_f64().unwrap().abs() < 1e-4,
                    "{record}"
                );
            }
        }
    }
    let message = |result: Result<Policy, TrainError>| result.map(|_| ()).unwrap_err().to_string();
    let other = message(run(&world, "sft", 4, &folder.path().join("sft+lora"), true));
    assert!(other.contains("config field `lora"), "{other}");
    let wrong = SftConfig {
        lora: Some(LoraConfig { rank: 0, ..lora() }),
        ..SftConfig::default()
    };
    assert_eq!(wrong.check().unwrap_err().field, "lora.rank");
}

/// The policy has learned nothing, and still writes nothing but two different films.
#[test]
fn a_constrained_run_never_leaves_the_catalog() {
    let (world, folder) = (world(), tempfile::tempdir().unwrap());
    let path = folder.path().join("run");
    run(&world, "constrained", 4, &path, false).unwrap();
    for line in fs::read_to_string(path.join("log.jsonl")).unwrap().lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| record[name].as_f64().unwrap();
        assert_eq!(
            (number("in_catalog"), number("duplicates"), number("items")),
            (1.0, 0.0, 2.0)
        );
        assert_eq!(number("complete_lists"), 1.0);
        assert!(number("sampling/sampling_logp_difference/max") < 1e-5);
    }
    let other = run(&world, "rank_grpo", 4, &path, true)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(
        other.contains("the kind of lists (`lists`) is not the one it was started with"),
        "{other}"
    );
}

#[test]
fn what_does_not_fit_is_refused_and_named() {
    let world = world();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    run(&world, "sft", 2, &path, false).unwrap();
    let message = |result: Result<Policy, TrainError>| result.map(|_| ()).unwrap_err().to_string();
    assert!(message(run(&world, "sft", 2, &path, false)).contains("holds a run already"));
    assert!(
        message(run(&world, "sft", 3, &path, true))
            .contains("config field `max_steps` was 2 and is 3 now")
    );
    assert!(
        message(run(&world, "rank_grpo", 2, &path, true))
            .contains("its kind was sft and is rank_grpo now")
    );
    let weights = path.join("checkpoint-000002/model.safetensors");
    let mut damaged = fs::read(&weights).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&weights, damaged).unwrap();
    assert!(message(run(&world, "sft", 2, &path, true)).contains("model.safetensors: SHA-256"));
}

#[test]
fn the_constraint_comes_from_its_file_where_it_fits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trie");
    let changed = || std::fs::metadata(&path).unwrap().modified().unwrap();
    let task = world().task;
    assert!(
        task.clone()
            .constrained_by_file(&path)
            .unwrap()
            .is_constrained()
    );
    let first = changed();
    task.clone().constrained_by_file(&path).unwrap();
    assert_eq!(changed(), first);
    // A trie of another task is replaced, and so is a damaged one.
    let other = Task::new(task.catalog().clone(), task.prompter().clone(), 3);
    other.constrained_by_file(&path).unwrap();
    assert_ne!(changed(), first);
    std::fs::write(&path, "listtrie").unwrap();
    task.constrained_by_file(&path).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() > 100);
    assert!(world().task.constrained_by_file(folder.path()).is_err());
}

/// The loss is -log pi under the constraint, over the tokens with a choice, as a slow version
/// computes it token by token. A sample that does not fit the constraint is refused before
/// training.
#[test]
fn a_constrained_loss_is_that_of_the_constrained_policy() {
    let world = world();
    let task = world.task.clone().constrained().unwrap();
    let validation = Validation {
        task: &task,
        samples: &[],
        decoding: Decoding::greedy(24, 8),
    };
    let train = |task: &Task, pairs: &[TokenPair]| {
        let config = SftConfig {
            max_steps: 1,
            batch_size: pairs.len(),
            micro_batch: 5,
            constrained: true,
            ..Default::default()
        };
        let mut loss = f64::NAN;
        let mut read = |view: &StepView<'_>| loss = view.record["loss"].as_f64().unwrap();
        let (options, job) = (
            RunOptions::default(),
            SftJob {
                task,
                data: pairs,
                validation,
                devices: &[],
            },
        );
        train_sft(
            policy(&world),
            job,
            &config,
            &options,
            BTreeMap::new(),
            &mut read,
        )
        .map(|_| loss)
    };
    let found = train(&task, &world.pairs).unwrap();
    let (mut sum, mut decisions) = (0.0, 0);
    let policy = policy(&world).valid();
    for pair in &world.pairs {
        let items: Vec<Item> = task.catalog().iter().map(|(_, item)| item.item()).collect();
        let (tokenizer, list) = (task.prompter().tokenizer(), task.prompter().list());
        let trie =
            convrec_text::ListTrie::new(tokenizer, list, task.prompter().end(), &items, 2).unwrap();
        let mut cursor = trie.cursor(&pair.seen).unwrap();
        for t in 0..pair.completion.len() {
            let log_prob = |token: u32| {
                let completion = [&pair.completion[..t], &[token]].concat();
                let sequence = Sequence {
                    prompt: &pair.prompt,
                    completion: &completion,
                };
                let log_probs = policy
                    .log_probs(&[sequence], 1.0)
                    .log_probs
                    .into_data()
                    .try_into_vec::<f32>()
                    .unwrap();
                f64::from(log_probs[t])
            };
            let all: f64 = cursor
                .allowed()
                .iter()
                .map(|token| log_prob(*token).exp())
                .sum();
            sum -= log_prob(pair.completion[t]) - all.ln();
            decisions += usize::from(cursor.allowed().len() > 1);
            cursor.push(pair.completion[t]);
        }
    }
    assert!(
        (found - sum / decisions as f64).abs() < 1e-4,
        "{found}, expected {}",
        sum / decisions as f64
    );

    let mut pairs = world.pairs.clone();
    pairs[3].seen = vec![convrec_core::ItemId(3)];
    let error = train(&task, &pairs).unwrap_err().to_string();
    assert!(
        error.contains("`data.3`: found another list, expected a list of 2 different items"),
        "{error}"
    );
    let error = train(&world.task, &world.pairs).unwrap_err().to_string();
    assert!(
        error.contains("`constrained`: found true, expected false"),
        "{error}"
    );
}
