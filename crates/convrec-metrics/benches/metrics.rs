//! 2,000 lists of 20 items at 4 cut-offs, against a catalog of 7,404: the size of one evaluation in
//! the paper.

use std::collections::HashSet;
use std::hint::black_box;

use convrec_metrics::protocol::{NamedList, Protocol, TitleYear};
use convrec_metrics::{JudgedList, Measure, stats};
use criterion::{Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const N_LISTS: usize = 2000;
const LENGTH: usize = 20;
const N_ITEMS: u32 = 7404;
const CUTOFFS: [usize; 4] = [5, 10, 15, 20];

/// Item numbers; those from `N_ITEMS` on are not in the catalog.
struct List {
    recommended: Vec<u32>,
    seen: Vec<u32>,
    ground_truth: Vec<u32>,
}

/// Popular items more often, one in twenty off the catalog, repeats, and a relevant item in every
/// third list.
fn lists(rng: &mut ChaCha8Rng) -> Vec<List> {
    let popular = |rng: &mut ChaCha8Rng| (rng.random::<f64>().powi(3) * f64::from(N_ITEMS)) as u32;
    let one = |rng: &mut ChaCha8Rng| {
        let mut recommended: Vec<u32> = (0..LENGTH).map(|_| popular(rng)).collect();
        recommended[rng.random_range(0..LENGTH)] += N_ITEMS;
        let mut ground_truth: Vec<u32> =
            (0..rng.random_range(1..4)).map(|_| popular(rng)).collect();
        if rng.random_bool(1.0 / 3.0) {
            ground_truth.push(recommended[rng.random_range(0..LENGTH)] % N_ITEMS);
        }
        List {
            recommended,
            seen: (0..rng.random_range(0..5)).map(|_| popular(rng)).collect(),
            ground_truth,
        }
    };
    (0..N_LISTS).map(|_| one(rng)).collect()
}

/// Titles as long as real ones, with shared beginnings, in one to four words; one in four is a
/// remake.
fn titles(rng: &mut ChaCha8Rng) -> Vec<(String, i32)> {
    const WORDS: [&str; 12] = [
        "The", "Return", "of", "Night", "Last", "House", "Man", "Love", "in", "Star", "Dead",
        "Summer",
    ];
    let title = |number: u32, rng: &mut ChaCha8Rng| {
        let words: Vec<&str> = (0..rng.random_range(0..4))
            .map(|_| WORDS[rng.random_range(0..WORDS.len())])
            .collect();
        format!("{} {}", words.join(" "), number * 3 / 4)
    };
    (0..2 * N_ITEMS)
        .map(|number| (title(number, rng), rng.random_range(1950..2025)))
        .collect()
}

fn metrics(c: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (titles, lists) = (titles(&mut rng), lists(&mut rng));
    let name =
        |&number: &u32| TitleYear::new(&titles[number as usize].0, titles[number as usize].1);
    let named = |numbers: &[u32]| numbers.iter().map(name).collect::<Vec<TitleYear>>();
    let catalog: HashSet<TitleYear> = (0..N_ITEMS).map(|number| name(&number)).collect();
    let by_name: Vec<_> = lists
        .iter()
        .map(|list| {
            let seen: Vec<&str> = list.seen.iter().map(|number| name(number).title).collect();
            (named(&list.recommended), seen, named(&list.ground_truth))
        })
        .collect();

    let mut group = c.benchmark_group("2000 lists at 4 cut-offs");
    for protocol in Protocol::ALL {
        group.bench_function(format!("titles, {protocol}"), |b| {
            b.iter(|| {
                for (recommended, seen, ground_truth) in &by_name {
                    let sample = NamedList {
                        recommended,
                        seen,
                        ground_truth,
                    };
                    black_box(protocol.evaluate(&sample, &catalog, &CUTOFFS));
                }
            });
        });
    }
    group.bench_function("ids, Recall and NDCG", |b| {
        b.iter(|| {
            for list in &lists {
                let judged = JudgedList::from_ids(
                    &list.recommended,
                    &list.ground_truth.iter().copied().collect(),
                );
                for k in CUTOFFS {
                    black_box((Measure::Recall(k).of(&judged), Measure::Ndcg(k).of(&judged)));
                }
            }
        });
    });
    group.finish();

    let judge = |list: &List| {
        JudgedList::from_ids(
            &list.recommended,
            &list.ground_truth.iter().copied().collect(),
        )
    };
    let values: Vec<f64> = lists
        .iter()
        .map(|list| Measure::Ndcg(LENGTH).of(&judge(list)))
        .collect();
    let dialogs: Vec<usize> = (0..N_LISTS).map(|index| index / 3).collect();
    c.bench_function("interval of 2000 samples, 10000 resamples", |b| {
        b.iter(|| stats::cluster_bootstrap(black_box(&values), &dialogs, 1, 10_000));
    });
}

criterion_group!(benches, metrics);
criterion_main!(benches);
