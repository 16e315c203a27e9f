//! The loss forward and backward at a training step's size: B = 64, T = 512, 20 ranks.

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;

use burn::tensor::{Device, Tensor, TensorData};
use criterion::{Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rank_grpo::{LossConfig, LossInputs, Segments, group_advantages, spread};

const B: usize = 64;
const T: usize = 512;
const N_RANKS: usize = 20;
const GROUP: usize = 8;

fn bench(criterion: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(3407);
    let log_probs: Vec<f64> = (0..B * T).map(|_| -3.0 * rng.random::<f64>()).collect();
    let mut near = |width: f64| {
        log_probs
            .iter()
            .map(|x| x + width * (rng.random::<f64>() - 0.5))
            .collect::<Vec<_>>()
    };
    let (old, reference) = (near(0.1), near(0.5));
    let mut lengths = ChaCha8Rng::seed_from_u64(1);
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    for _ in 0..B {
        let length = lengths.random_range(T / 2..=T);
        ids.extend((0..T).map(|t| {
            if t < length {
                (t * N_RANKS / length) as i64
            } else {
                -1
            }
        }));
        mask.extend((0..T).map(|t| t < length));
    }
    let rewards: Vec<Vec<f64>> = (0..B)
        .map(|_| {
            (0..N_RANKS)
                .map(|_| f64::from(lengths.random::<f64>() < 0.1))
                .collect()
        })
        .collect();

    criterion.bench_function("advantages of 8 groups of 8", |bencher| {
        bencher.iter(|| group_advantages(black_box(&rewards), GROUP, Default::default()).unwrap())
    });

    let segments = Segments::ranks(&ids, N_RANKS);
    let advantages = group_advantages(&rewards, GROUP, Default::default()).unwrap();
    let advantages = spread(&advantages.values, &segments).unwrap();
    let inputs = LossInputs {
        old_log_probs: Some(old),
        ref_log_probs: Some(reference),
        ..LossInputs::new([B, T], mask, segments, advantages)
    };
    let device = Device::flex().autodiff();
    let values: Vec<f32> = log_probs.iter().map(|x| *x as f32).collect();
    let leaf = Tensor::<2>::from_data(TensorData::new(values, [B, T]), &device).require_grad();
    let presets = [
        (
            "rank",
            LossConfig {
                kl: None,
                ..LossConfig::paper()
            },
        ),
        ("rank, with KL", LossConfig::paper()),
        ("token, with KL", LossConfig::grpo()),
        ("sequence", LossConfig::gspo()),
    ];
    for (name, config) in presets {
        criterion.bench_function(
            &format!("the tests' tensor oracle, its uploads included, {name}"),
            |bencher| {
                bencher.iter(|| {
                    let loss = common::composed::loss(&config, &inputs, black_box(leaf.clone()));
                    leaf.grad(&loss.backward()).unwrap()
                })
            },
        );
        let loss = config.check().unwrap();
        criterion.bench_function(&format!("forward and backward 64x512, {name}"), |bencher| {
            bencher.iter(|| {
                let output = loss.forward(black_box(leaf.clone()), &inputs).unwrap();
                leaf.grad(&output.loss.backward()).unwrap()
            })
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
