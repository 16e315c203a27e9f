//! The quickstart's policy (D 128, 2 layers, 4 heads) at the sizes of its run: 16 prompts of about
//! 44 tokens, and completions of 44. Its tokenizer has about 2,000 tokens.
//!
//! Criterion's "elements" are tokens: new ones when decoding, all of prompt and completion when
//! training.

use std::time::Duration;

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Device;
use convrec_policy::{Generation, ModelConfig, Policy, Sampling, Sequence};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const PROMPTS: usize = 16;
const PROMPT_LENGTH: usize = 44;
const NEW_TOKENS: usize = 44;
const GROUP: usize = 8;

fn bench(criterion: &mut Criterion) {
    let config = ModelConfig::small(2048, 128, 2, 4);
    let policy = Policy::new(&config, 3407, &Device::flex().autodiff()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3407);
    let mut ids = |n: usize| {
        (0..n)
            .map(|_| rng.random_range(0..2048))
            .collect::<Vec<u32>>()
    };
    // Prompts have different lengths, as conversations have.
    let prompts: Vec<Vec<u32>> = (0..PROMPTS).map(|n| ids(PROMPT_LENGTH - 8 + n)).collect();
    let completions: Vec<Vec<u32>> = (0..PROMPTS).map(|_| ids(NEW_TOKENS)).collect();
    decode(criterion, &policy.valid(), &prompts);
    train(criterion, policy, &prompts, &completions);
}

fn decode(criterion: &mut Criterion, policy: &Policy, prompts: &[Vec<u32>]) {
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let config = Generation {
        sampling: Sampling::default(),
        group_size: GROUP,
        max_new_tokens: NEW_TOKENS,
        end_token: u32::MAX, // never: all completions are of the same length
        max_rows: PROMPTS * GROUP,
        seed: 1,
    };
    let mut group = criterion.benchmark_group("decode");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(10))
        .throughput(Throughput::Elements((PROMPTS * GROUP * NEW_TOKENS) as u64));
    group.bench_function("16 prompts x 8 completions", |bencher| {
        bencher.iter(|| policy.generate(&prompts, &config))
    });
    group.finish();
}

fn train(
    criterion: &mut Criterion,
    policy: Policy,
    prompts: &[Vec<u32>],
    completions: &[Vec<u32>],
) {
    let texts = prompts.iter().zip(completions);
    let rows: Vec<_> = texts
        .map(|(prompt, completion)| Sequence { prompt, completion })
        .collect();
    let tokens: usize = rows
        .iter()
        .map(|row| row.prompt.len() + row.completion.len())
        .sum();
    let mut group = criterion.benchmark_group("train");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(10))
        .throughput(Throughput::Elements(tokens as u64));
    group.bench_function("log-probs without gradients", |bencher| {
        let policy = policy.valid();
        bencher.iter(|| policy.log_probs(&rows, 1.0).log_probs.into_data());
    });
    group.bench_function("forward, backward and AdamW", |bencher| {
        let mut optimizer = AdamWConfig::new().init();
        let mut policy = Some(policy.clone());
        bencher.iter(|| {
            let before = policy.take().expect("put back after each step");
            let gradients = before
                .log_probs(&rows, 1.0)
                .log_probs
                .mean()
                .neg()
                .backward();
            let gradients = GradientsParams::from_grads(gradients, &before);
            policy = Some(optimizer.step(1e-3, before, gradients));
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
