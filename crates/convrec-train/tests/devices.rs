//! Work is dealt out to several devices: here to several replicas on the CPU, each with a thread of
//! its own. Collective operations between GPUs are burn's, and are not tested here.

mod common;

use std::collections::BTreeMap;

use burn::tensor::Device;
use common::{World, bytes, policy, world};
use convrec_policy::Policy;
use convrec_train::evaluate::Decoding;
use convrec_train::{
    RankGrpoTrainer, Record, RlConfig, RunOptions, SftConfig, SftJob, StepView, Validation,
    train_sft,
};

fn weights(policy: &Policy) -> Vec<f32> {
    // The bytes behind the header; all tensors are f32.
    let bytes = bytes(policy);
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..]
        .chunks(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect()
}

fn train(world: &World, kind: &str, further: usize, steps: usize) -> (Policy, Vec<Record>) {
    let devices = vec![Device::flex(); further];
    let task = world.task.clone().constrained().unwrap();
    let validation = Validation {
        task: &task,
        samples: &[],
        decoding: Decoding::greedy(24, 8),
    };
    let mut log = Vec::new();
    let mut observe = |view: &StepView<'_>| log.push(view.record.clone());
    let (first, options, inputs) = (policy(world), RunOptions::default(), BTreeMap::new());
    let trained = if kind == "sft" {
        let config = SftConfig {
            max_steps: steps,
            batch_size: 7,
            micro_batch: 2,
            ..SftConfig::default()
        };
        let job = SftJob {
            task: &task,
            data: &world.pairs,
            validation,
            devices: &devices,
        };
        train_sft(first, job, &config, &options, inputs, &mut observe)
    } else {
        let config = RlConfig {
            max_steps: steps,
            prompts_per_step: 5,
            num_generations: 4,
            num_iterations: 2,
            micro_batch: 3,
            ..RlConfig::default()
        };
        RankGrpoTrainer::new(first, &task, &world.samples)
            .config(config)
            .devices(&devices)
            .observer(&mut observe)
            .train()
    };
    (trained.unwrap(), log)
}

#[test]
fn several_devices_do_the_work_of_one() {
    let world = world();
    for kind in ["sft", "rank_grpo"] {
        let (alone, log) = train(&world, kind, 0, 1);
        for further in [1, 2, 6] {
            let (together, log_together) = train(&world, kind, further, 1);
            // The same lists are drawn, so the rewards are the same.
            for field in [
                "reward",
                "rank_relevance",
                "completions/mean_length",
                "completion_tokens",
            ] {
                assert_eq!(
                    log[0].get(field),
                    log_together[0].get(field),
                    "{kind}, {further} further, {field}"
                );
            }
            let number = |log: &[Record], field: &str| log[0][field].as_f64().unwrap();
            for field in ["loss", "grad_norm"] {
                let (a, b) = (number(&log, field), number(&log_together, field));
                assert!(
                    (a - b).abs() < 1e-5 * a.abs().max(1.0),
                    "{kind}, {further} further, {field}: {a} and {b}"
                );
            }
            let pairs = weights(&alone).into_iter().zip(weights(&together));
            // A step of Adam moves a weight by the learning rate, even where rounding decides the
            // gradient's sign.
            let apart = pairs.filter(|(a, b)| (a - b).abs() > 1e-5).count();
            assert!(
                apart * 100 < weights(&alone).len(),
                "{kind}, {further} further: {apart} weights differ"
            );
        }
    }
}

#[test]
fn the_same_devices_give_the_same_bits() {
    let world = world();
    for kind in ["sft", "rank_grpo"] {
        let (first, log) = train(&world, kind, 2, 4);
        let (second, log_again) = train(&world, kind, 2, 4);
        assert!(bytes(&first) == bytes(&second), "{kind}");
        assert_eq!(log, log_again, "{kind}");
    }
}
