//! The time of rewards in training: 2,000 completions of 20 items against a catalog of the size of
//! Reddit-v2's.
//!
//! The catalog is Reddit-v2's where the data folder is there, else one of its size with made-up
//! titles.

use std::hint::black_box;

use convrec_catalog::{Catalog, YEAR_TOLERANCE, normalise, reference, relevance};
use convrec_core::{CatalogItem, Example, Item, jsonl};
use convrec_metrics::rewards;
use convrec_testdata::data_path;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const N_COMPLETIONS: usize = 2000;
const GROUP: usize = 8;
const N_RANKS: usize = 20;

fn catalog_items(rng: &mut ChaCha8Rng) -> Vec<CatalogItem> {
    if let Some(path) = data_path("catalog/reddit_v2.jsonl") {
        return jsonl::read_file(path).unwrap();
    }
    const WORDS: [&str; 12] = [
        "The", "Night", "of", "Amélie", "King", "Return", "Straße", "Love", "2", "Dead", "House",
        "Man",
    ];
    let item = |n| {
        let words: Vec<&str> = (0..rng.random_range(1..5))
            .map(|_| *WORDS.choose(rng).unwrap())
            .collect();
        let title = format!("{} {n}", words.join(" "));
        CatalogItem {
            title,
            year: Some(rng.random_range(1930..2025)),
            genres: vec![],
            metadata: String::new(),
        }
    };
    (0..7404).map(item).collect()
}

/// An item as a trained policy names it: most often exactly, else with another case, another year,
/// or invented.
fn named(items: &[CatalogItem], rng: &mut ChaCha8Rng) -> Item {
    let Item { title, year } = items.choose(rng).unwrap().item();
    match rng.random_range(0..20) {
        0 => Item {
            title: title.to_uppercase(),
            year,
        },
        1 => Item {
            title,
            year: year.map(|year| year + 1),
        },
        2 => Item {
            title: format!("{title}: The Beginning"),
            year,
        },
        _ => Item { title, year },
    }
}

/// One example for each group of completions, and the completions.
fn rollouts(items: &[CatalogItem], rng: &mut ChaCha8Rng) -> Vec<(Example, Vec<Vec<Item>>)> {
    let mut names = |n: usize| (0..n).map(|_| named(items, rng)).collect::<Vec<_>>();
    let mut group = |n: usize| {
        let lists: Vec<Vec<Item>> = (0..GROUP).map(|_| names(N_RANKS)).collect();
        // Two of the items that the completions name are relevant, so that there are hits.
        let ground_truth = vec![
            lists[0][n % N_RANKS].clone(),
            lists[1][(n / 3) % N_RANKS].clone(),
        ];
        (
            Example {
                id: format!("bench-{n}"),
                dialog: vec![],
                seen: names(3),
                ground_truth,
            },
            lists,
        )
    };
    (0..N_COMPLETIONS / GROUP).map(&mut group).collect()
}

fn by_id(catalog: &Catalog, rollouts: &[(Example, Vec<Vec<Item>>)]) -> f64 {
    let find = |item: &Item| catalog.find_within(item, YEAR_TOLERANCE);
    let mut total = 0.0;
    for (example, lists) in rollouts {
        let ground_truth: Vec<_> = example.ground_truth.iter().filter_map(find).collect();
        let seen: Vec<_> = example
            .seen
            .iter()
            .flat_map(|item| catalog.may_mean(item, YEAR_TOLERANCE))
            .collect();
        for list in lists {
            let list: Vec<_> = list.iter().map(find).collect();
            total += rewards::log_decay(&relevance(&list, &ground_truth, &seen))
                .iter()
                .sum::<f64>();
        }
    }
    total
}

fn by_reference(catalog: &Catalog, rollouts: &[(Example, Vec<Vec<Item>>)]) -> f64 {
    let in_catalog = |item: &Item| catalog.find(item).is_some();
    let mut total = 0.0;
    for (example, lists) in rollouts {
        let seen: Vec<String> = example.seen.iter().map(|item| item.title.clone()).collect();
        for list in lists {
            let hits = reference::hits(
                list,
                &seen,
                &example.ground_truth,
                in_catalog,
                N_RANKS,
                YEAR_TOLERANCE,
            );
            total += rewards::log_decay(&hits).iter().sum::<f64>();
        }
    }
    total
}

fn matching(c: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let items = catalog_items(&mut rng);
    let catalog = Catalog::new(items.clone()).unwrap();
    let rollouts = rollouts(&items, &mut rng);
    let lookups: Vec<&Item> = rollouts
        .iter()
        .flat_map(|(_, lists)| lists)
        .flatten()
        .collect();
    assert!(
        by_id(&catalog, &rollouts) > 100.0 && by_reference(&catalog, &rollouts) > 100.0,
        "hardly any hits"
    );

    let mut group = c.benchmark_group("2000 completions of 20 items");
    group.throughput(Throughput::Elements(lookups.len() as u64));
    group.bench_function("match and reward", |b| {
        b.iter(|| by_id(&catalog, black_box(&rollouts)))
    });
    group.bench_function("match and reward by the public code's rule", |b| {
        b.iter(|| by_reference(&catalog, black_box(&rollouts)))
    });
    group.bench_function("look up", |b| {
        b.iter(|| {
            lookups
                .iter()
                .filter(|item| {
                    catalog
                        .find_within(black_box(item), YEAR_TOLERANCE)
                        .is_some()
                })
                .count()
        })
    });
    group.bench_function("normalise", |b| {
        b.iter(|| {
            lookups
                .iter()
                .map(|item| normalise(black_box(&item.title)).len())
                .sum::<usize>()
        })
    });
    group.finish();

    let mut group = c.benchmark_group("catalog");
    group.throughput(Throughput::Elements(items.len() as u64));
    group.bench_function("build", |b| {
        b.iter_with_setup(|| items.clone(), |items| Catalog::new(items).unwrap())
    });
    group.finish();
}

criterion_group!(benches, matching);
criterion_main!(benches);
