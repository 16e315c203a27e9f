//! Remap of one answer, and one pass of Adjust, at the size of ReDial's catalog.

use std::hint::black_box;

use convrec_core::ItemId;
use convrec_demonstrations::{Named, Objective, Reduction, remap};
use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::{Array2, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ITEMS: usize = 6576;
const WIDTH: usize = 1024;

fn bench_remap(c: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let catalog = Array2::from_shape_fn((ITEMS, WIDTH), |_| rng.random_range(-0.05..0.05_f32));
    let list: Vec<Named<'_, f32>> = (0..20)
        .map(|k| Named {
            weight: 1.0 / f64::from(k + 1).sqrt(),
            embedding: catalog.row(7 * k as usize),
            exact: None,
        })
        .collect();
    c.bench_function("remap, 20 items to 6,576", |b| {
        b.iter(|| {
            remap(
                black_box(&list),
                catalog.view(),
                catalog.index_axis(Axis(0), 9),
                1.0,
            )
        });
    });
}

fn bench_adjust(c: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let scores = Array2::from_shape_fn((2000, ITEMS), |_| rng.random_range(0.0..3.0_f32));
    let ground_truth: Vec<Vec<ItemId>> = (0..2000)
        .map(|_| vec![ItemId(rng.random_range(0..ITEMS as u32))])
        .collect();
    let objective = Objective::new(&scores, &ground_truth, 0.01, Reduction::Mean);
    let x = [vec![1.0; ITEMS], vec![0.0; ITEMS]].concat();
    let mut group = c.benchmark_group("adjust");
    group.sample_size(10);
    group.bench_function("value and gradient, 2,000 x 6,576", |b| {
        b.iter(|| objective.value_and_gradient(black_box(&x)))
    });
}

criterion_group!(benches, bench_remap, bench_adjust);
criterion_main!(benches);
