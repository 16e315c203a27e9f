//! Exact search among 10^6 embeddings of 384 numbers, mapped from a file: time and memory.

use std::hint::black_box;
use std::time::Instant;

use convrec_catalog::Embeddings;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, Axis, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const COUNT: usize = 1_000_000;
const WIDTH: usize = 384;
const BLOCK: usize = 10_000;
const K: usize = 20;

fn unit_rows(count: usize, seed: u64) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rows = Array2::from_shape_simple_fn((count, WIDTH), || rng.random::<f32>() - 0.5);
    for mut row in rows.axis_iter_mut(Axis(0)) {
        let length = row.dot(&row).sqrt();
        row /= length;
    }
    rows
}

/// The lines of /proc/self/status on resident memory: the process's own, and of mapped files.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status
        .lines()
        .filter(|line| line.starts_with("RssAnon") || line.starts_with("RssFile"));
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}

fn search(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("embeddings.safetensors");
    // One block is written again and again, as drawing 10^6 rows would take longer than writing
    // them.
    let block = unit_rows(BLOCK, 1);
    let start = Instant::now();
    Embeddings::write(
        &path,
        [COUNT, WIDTH],
        std::iter::repeat_n(block, COUNT / BLOCK),
    )
    .unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!(
        "write: {:.1} s, {:.1} bytes an item",
        start.elapsed().as_secs_f64(),
        bytes as f64 / COUNT as f64
    );
    let start = Instant::now();
    let items = Embeddings::open(&path).unwrap();
    println!("open and check: {:.2} s", start.elapsed().as_secs_f64());
    println!("resident after opening: {}", resident());

    let queries = unit_rows(1024, 2);
    let mut group = c.benchmark_group("10^6 x 384");
    group.sample_size(10);
    group.bench_function("top 20 of one query", |b| {
        b.iter(|| items.top_k(black_box(queries.row(0)), K))
    });
    group.throughput(Throughput::Elements(64));
    group.bench_function("top 20 of 64 queries", |b| {
        b.iter(|| items.top_k_batch(black_box(queries.slice(s![..64, ..])), K))
    });
    group.finish();
    items.top_k_batch(queries.view(), K);
    println!("resident after 1,024 queries: {}", resident());
}

criterion_group!(benches, search);
criterion_main!(benches);
