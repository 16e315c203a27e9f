//! What weights in bf16 and int8 cost and save: lists, NDCG, memory and time beside those in f32.
//!
//! ```sh
//! cargo run --release -p convrec-serve --example weights -- --catalog films.jsonl --model FOLDER \
//!   --conversations test.jsonl [--lists 400]
//! ```
//!
//! Lists are the most likely ones, item by item. Time is that of one list alone and of 32 side by
//! side; on a busy machine processor time says more. Memory is that of the matrices.

mod support;

use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;
use convrec_core::{Example, jsonl};
use convrec_kernels::PackedType;
use convrec_metrics::Measure;
use convrec_policy::Policy;
use convrec_train::evaluate::{Decoding, Evaluation, evaluate};
use convrec_train::{Sample, Task};
use support::client::at;
use support::flags::Flags;
use support::model;
use support::process::processor_seconds;

const SIDE_BY_SIDE: usize = 32;

/// Lists that are written by themselves.
const ALONE: usize = 50;

fn main() {
    let flags = Flags::read();
    let device = Device::flex();
    let catalog = model::catalog(&flags);
    let model = model::model(&flags, &catalog, &device);
    let Some(conversations) = flags.text("conversations") else {
        eprintln!("error: no conversations; expected --conversations FILE");
        std::process::exit(2);
    };
    let examples: Vec<Example> = jsonl::read_file(conversations).unwrap();
    let task = model.task(catalog).unwrap();
    let samples = examples
        .iter()
        .filter_map(|example| task.sample(example).ok());
    let samples: Vec<Sample> = samples.take(flags.value("lists", 400)).collect();
    let decoding = Decoding {
        max_rows: SIDE_BY_SIDE,
        ..model.language.format.greedy()
    };
    let plain = model.policy.valid();
    let kinds = [None, Some(PackedType::Bf16), Some(PackedType::Int8)];
    println!("{} lists", samples.len());
    println!(
        "| weights | MB | equal lists | equal first items | NDCG@10 | one list, ms | {SIDE_BY_SIDE} side by side, lists/s | processor ms a list, alone and side by side |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut first: Option<Evaluation> = None;
    for kind in kinds {
        let policy = kind.map_or_else(|| plain.clone(), |kind| plain.packed(kind));
        let (began, spent) = (Instant::now(), processor_seconds());
        let found = evaluate(&policy, &task, &samples, &decoding);
        let rate = samples.len() as f64 / began.elapsed().as_secs_f64();
        let together = (processor_seconds() - spent) * 1e3 / samples.len() as f64;
        let spent = processor_seconds();
        let alone = alone(&policy, &task, &samples, &decoding);
        let single = (processor_seconds() - spent) * 1e3 / samples.len().min(ALONE) as f64;
        let expected = first.get_or_insert_with(|| found.clone());
        let pairs = || found.samples.iter().zip(&expected.samples);
        let share = |count: usize| count as f64 / samples.len() as f64;
        let equal = share(pairs().filter(|(a, b)| a.list == b.list).count());
        let firsts = share(
            pairs()
                .filter(|(a, b)| a.list.first() == b.list.first())
                .count(),
        );
        let ndcg = found.mean(Measure::Ndcg(10));
        let name = kind.map_or("f32".to_string(), |kind| format!("{kind:?}").to_lowercase());
        let megabytes = policy.matrix_bytes() as f64 / 1e6;
        println!(
            "| {name} | {megabytes:.1} | {equal:.3} | {firsts:.3} | {ndcg:.4} | {alone:.1} | {rate:.1} | {single:.1}, {together:.1} |"
        );
    }
}

/// The median time of a list by itself, in milliseconds.
fn alone(policy: &Policy, task: &Task, samples: &[Sample], decoding: &Decoding) -> f64 {
    let time = |sample: &Sample| {
        let began = Instant::now();
        evaluate(policy, task, std::slice::from_ref(sample), decoding);
        began.elapsed().as_secs_f64() * 1e3
    };
    let mut times: Vec<f64> = samples.iter().take(ALONE).map(time).collect();
    times.sort_by(f64::total_cmp);
    at(&times, 0.5)
}
