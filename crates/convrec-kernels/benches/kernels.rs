//! Every operation, fused against composed, forward and backward, at the shapes of two small
//! decoders. The ratio within a pair matters: both run one after the other on the same machine.

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Int, Tensor};
use convrec_kernels::{DecodeCache, DecodeRow, Packing, composed};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// The allocator of the programs that train. With glibc's, page faults of large buffers hide the
/// kernels.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A decoder and its training batch.
struct Model {
    name: &'static str,
    width: usize,
    heads: usize,
    vocabulary: usize,
    batch: usize,
    length: usize,
}

impl Model {
    fn feed_forward(&self) -> usize {
        (self.width * 8 / 3).next_multiple_of(16)
    }
}

const MODELS: [Model; 2] = [
    Model {
        name: "d256",
        width: 256,
        heads: 4,
        vocabulary: 8192,
        batch: 16,
        length: 200,
    },
    Model {
        name: "d128",
        width: 128,
        heads: 2,
        vocabulary: 2000,
        batch: 32,
        length: 100,
    },
];

fn random<const N: usize>(shape: [usize; N], device: &Device) -> Tensor<N> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn tracked<const N: usize>(shape: [usize; N]) -> Tensor<N> {
    random(shape, &Device::flex().autodiff()).require_grad()
}

/// Times both bodies of an operation.
fn pair<T>(
    c: &mut Criterion,
    name: &str,
    model: &str,
    fused: impl Fn() -> T,
    composed: impl Fn() -> T,
) {
    let mut group = c.benchmark_group(name);
    group.sample_size(10);
    group.bench_function(BenchmarkId::new("fused", model), |b| {
        b.iter(|| black_box(fused()))
    });
    group.bench_function(BenchmarkId::new("composed", model), |b| {
        b.iter(|| black_box(composed()))
    });
    group.finish();
}

/// Times an operation with its backward pass, from a gradient of the output that is a full tensor.
fn train<const N: usize>(
    c: &mut Criterion,
    name: &str,
    model: &str,
    fused: impl Fn() -> Tensor<N>,
    composed: impl Fn() -> Tensor<N>,
) {
    let weights = random(fused().dims(), &Device::flex().autodiff());
    let run = |y: Tensor<N>| (y * weights.clone()).sum().backward();
    pair(c, name, model, || run(fused()), || run(composed()));
}

fn training(c: &mut Criterion) {
    for model in MODELS {
        let Model {
            name,
            width: d,
            heads: h,
            vocabulary: v,
            batch: b,
            length: t,
        } = model;
        let (m, inner) = (b * t, model.feed_forward());
        let x = tracked([m, d]);
        let (up, norm, head) = (tracked([inner, d]), tracked([d]), tracked([v, d]));
        let wide = [tracked([m, inner]), tracked([m, inner])];
        let [q, k, w] = [(); 3].map(|()| tracked([m, h, d / h]));
        let angles = random([m, d / h / 2], &Device::flex().autodiff());
        let packing = Packing::rectangle(b, t);
        let targets = Tensor::<1, Int>::from_data(
            (0..m)
                .map(|n| (n * 37 % v) as i64)
                .collect::<Vec<_>>()
                .as_slice(),
            &Device::flex().autodiff(),
        );
        macro_rules! bench {
            ($operation:ident, $($argument:expr),+) => {
                train(
                    c,
                    stringify!($operation),
                    name,
                    || convrec_kernels::$operation($($argument),+),
                    || composed::$operation($($argument),+),
                )
            };
        }
        bench!(linear, x.clone(), up.clone());
        bench!(rms_norm, x.clone(), norm.clone(), 1e-6);
        bench!(swiglu, wide[0].clone(), wide[1].clone());
        bench!(rotate, q.clone(), angles.clone(), angles.clone());
        bench!(attention, q.clone(), k.clone(), w.clone(), &packing);
        let hidden = Tensor::random(
            [m, d],
            Distribution::Normal(0.0, 0.05),
            &Device::flex().autodiff(),
        )
        .require_grad();
        let fused = || {
            convrec_kernels::token_log_probs(hidden.clone(), head.clone(), targets.clone(), 1.0).0
        };
        let plain =
            || composed::token_log_probs(hidden.clone(), head.clone(), targets.clone(), 1.0).0;
        train(c, "token_log_probs", name, fused, plain);
    }
}

/// One step of 64 rows, 8 for each of 8 prompts, and one of a single row.
fn decoding(c: &mut Criterion) {
    let device = Device::flex();
    for decoder in MODELS {
        let Model {
            name,
            width: d,
            heads: h,
            length: t,
            ..
        } = decoder;
        for (prompts, group) in [(8, 8), (1, 1)] {
            let rows = prompts * group;
            let model = format!("{name}, {rows} rows");
            let (x, weight) = (
                random([rows, d], &device),
                random([decoder.feed_forward(), d], &device),
            );
            let (fused, plain) = (
                || convrec_kernels::linear(x.clone(), weight.clone()),
                || composed::linear(x.clone(), weight.clone()),
            );
            pair(c, "linear, decoding", &model, fused, plain);
            let pool = || random([(prompts + rows) * (t / 2), h, d / h], &device);
            let q = random([rows, h, d / h], &device);
            let cache = DecodeCache {
                k: pool(),
                v: pool(),
                window: None,
            };
            let of_row = |row| DecodeRow {
                prompt: row / group * (t / 2),
                prompt_length: t / 2,
                own: (prompts + row) * (t / 2),
                filled: t / 4,
                new: 1,
            };
            let rows: Vec<DecodeRow> = (0..rows).map(of_row).collect();
            let (fused, plain) = (
                || convrec_kernels::decode_attention(q.clone(), &cache, &rows),
                || composed::decode_attention(q.clone(), &cache, &rows),
            );
            pair(c, "decode_attention", &model, fused, plain);
        }
    }
}

/// The output layer under the trie of a large catalog, as in a step of 64 lists. Rows that begin an
/// item choose among 1,108 tokens of a vocabulary, others among a few. It compares all logits with
/// those of the allowed tokens.
fn sparse_head(c: &mut Criterion) {
    for (name, v, d) in [
        ("V 49,152, D 576", 49_152, 576),
        ("V 151,936, D 896", 151_936, 896),
    ] {
        let set = |row: usize| -> Vec<u32> {
            let size = if row % 5 < 2 { 1108 } else { 6 };
            (0..size)
                .map(|n| (n * (v / size) + row % 7) as u32)
                .collect()
        };
        let m = 160;
        let sets: Vec<Vec<u32>> = (0..m).map(set).collect();
        let allowed: Vec<&[u32]> = sets.iter().map(Vec::as_slice).collect();
        let hidden = random([m, d], &Device::flex());
        let weight = Tensor::<2>::random([v, d], Distribution::Normal(0.0, 0.05), &Device::flex());
        let mut group = c.benchmark_group("sampling head, 160 rows");
        group.sample_size(10);
        group.bench_function(BenchmarkId::new("all tokens", name), |b| {
            b.iter(|| black_box(convrec_kernels::linear(hidden.clone(), weight.clone())));
        });
        group.bench_function(BenchmarkId::new("allowed tokens", name), |b| {
            b.iter(|| {
                black_box(convrec_kernels::logits_constrained(
                    hidden.clone(),
                    weight.clone(),
                    &allowed,
                ))
            });
        });
        group.finish();
        let (hidden, weight) = (
            hidden.autodiff().require_grad(),
            weight.autodiff().require_grad(),
        );
        let targets: Vec<i64> = sets
            .iter()
            .map(|set| i64::from(set[set.len() / 2]))
            .collect();
        let targets = Tensor::<1, Int>::from_data(targets.as_slice(), &Device::flex().autodiff());
        let mut group = c.benchmark_group("training head, 160 rows");
        group.sample_size(10);
        group.bench_function(BenchmarkId::new("all tokens", name), |b| {
            let run = || {
                convrec_kernels::token_log_probs(
                    hidden.clone(),
                    weight.clone(),
                    targets.clone(),
                    1.0,
                )
                .0
            };
            b.iter(|| black_box(run().sum().backward()));
        });
        group.bench_function(BenchmarkId::new("allowed tokens", name), |b| {
            let (hidden, weight) = (&hidden, &weight);
            let run = || {
                let targets = targets.clone();
                convrec_kernels::token_log_probs_constrained(
                    hidden.clone(),
                    weight.clone(),
                    targets,
                    &allowed,
                    &[],
                    1.0,
                )
                .0
            };
            b.iter(|| black_box(run().sum().backward()));
        });
        group.finish();
    }
}

criterion_group!(benches, training, decoding, sparse_head);
criterion_main!(benches);
