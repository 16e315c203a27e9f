//! From text to rewards in one go: 2,000 completions of 20 items, decorated as models do it,
//! parsed, matched with a catalog and rewarded by rank.
//!
//! The catalog is Reddit-v2's (7,404 items) where the data folder is there, else that of the
//! embedded world.

use std::hint::black_box;

use convrec_catalog::{Catalog, YEAR_TOLERANCE, reference, relevance};
use convrec_core::{CatalogItem, Item, ItemId, jsonl};
use convrec_metrics::rewards::log_decay;
use convrec_testdata::data_path;
use convrec_text::ListFormat;
use convrec_text::parse::parse_reference;
use convrec_world::World;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const N_RANKS: usize = 20;

struct Rollout {
    text: String,
    seen: Vec<Item>,
    ground_truth: Vec<Item>,
}

/// A quarter each: plain, numbered, bold with blank lines, quoted bullets with remarks; one name in
/// ten not in the catalog.
fn rollouts(items: &[Item]) -> Vec<Rollout> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut named = |row: usize, rank: usize| {
        let item = items.choose(&mut rng).expect("a catalog has items");
        let title = if rng.random_bool(0.1) {
            format!("{}: The Beginning", item.title)
        } else {
            item.title.clone()
        };
        let (year, place) = (item.year.unwrap_or(2000), rank + 1);
        let line = match row % 4 {
            0 => format!("{title} ({year})\n"),
            1 => format!("{place}. {title} ({year})\n"),
            2 => format!("{place}. **{title}** ({year})\n\n"),
            _ => format!("- \"{title}\" ({year}) - a classic\n"),
        };
        (line, Item::new(title, year))
    };
    let rollout = |row: usize| {
        let (lines, names): (Vec<String>, Vec<Item>) =
            (0..N_RANKS).map(|rank| named(row, rank)).unzip();
        Rollout {
            text: lines.concat(),
            seen: names[..2].to_vec(),
            ground_truth: names[5..8].to_vec(),
        }
    };
    (0..2000).map(rollout).collect()
}

fn default(catalog: &Catalog, rollouts: &[Rollout]) -> f64 {
    let find = |item: &Item| catalog.find_within(item, YEAR_TOLERANCE);
    let one = |rollout: &Rollout| {
        let list: Vec<Option<ItemId>> = ListFormat::default()
            .parse(&rollout.text)
            .items()
            .map(find)
            .collect();
        let ground_truth: Vec<ItemId> = rollout.ground_truth.iter().filter_map(find).collect();
        let seen: Vec<ItemId> = rollout
            .seen
            .iter()
            .flat_map(|item| catalog.may_mean(item, YEAR_TOLERANCE))
            .collect();
        log_decay(&relevance(&list, &ground_truth, &seen))
            .iter()
            .sum::<f64>()
    };
    rollouts.iter().map(one).sum()
}

fn by_the_public_codes_rules(catalog: &Catalog, rollouts: &[Rollout]) -> f64 {
    let in_catalog = |item: &Item| catalog.find(item).is_some();
    let one = |rollout: &Rollout| {
        let seen: Vec<String> = rollout.seen.iter().map(|item| item.title.clone()).collect();
        let list = parse_reference(&rollout.text);
        let hits = reference::hits(
            &list,
            &seen,
            &rollout.ground_truth,
            in_catalog,
            N_RANKS,
            YEAR_TOLERANCE,
        );
        log_decay(&hits).iter().sum::<f64>()
    };
    rollouts.iter().map(one).sum()
}

fn reward(c: &mut Criterion) {
    let catalog: Vec<CatalogItem> = match data_path("catalog/reddit_v2.jsonl") {
        Some(path) => jsonl::read_file(path).unwrap(),
        None => World::embedded().catalog(),
    };
    let items: Vec<Item> = catalog.iter().map(CatalogItem::item).collect();
    let (catalog, rollouts) = (Catalog::new(catalog).unwrap(), rollouts(&items));
    assert!(
        default(&catalog, &rollouts) > 1000.0
            && by_the_public_codes_rules(&catalog, &rollouts) > 1000.0
    );
    let mut group = c.benchmark_group("parse, match and reward 2,000 completions of 20 items");
    group.throughput(Throughput::Elements(rollouts.len() as u64));
    group.bench_function("default", |b| {
        b.iter(|| default(&catalog, black_box(&rollouts)))
    });
    group.bench_function("by the public code's rules", |b| {
        b.iter(|| by_the_public_codes_rules(&catalog, black_box(&rollouts)));
    });
    group.finish();
}

criterion_group!(benches, reward);
criterion_main!(benches);
