//! Times of exact, normalised and fuzzy lookup at the size of Reddit-v2's catalog and at 10^6
//! items, and the memory of the indexes.
//!
//! The titles are real ones where the data folder is there, else made up. Those of the large
//! catalog are made of their words.

use std::collections::HashSet;
use std::hint::black_box;

use convrec_catalog::{CONFIDENT, Catalog, FuzzyIndex, YEAR_TOLERANCE};
use convrec_core::{CatalogItem, Item, jsonl};
use convrec_testdata::data_path;
use convrec_testdata::memory::{Counting, held};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LARGE: usize = 1_000_000;
const LOOKUPS: usize = 1000;

fn titled(title: String, year: i32) -> CatalogItem {
    CatalogItem {
        title,
        year: Some(year),
        genres: vec![],
        metadata: String::new(),
    }
}

fn small(rng: &mut ChaCha8Rng) -> Vec<CatalogItem> {
    if let Some(path) = data_path("catalog/reddit_v2.jsonl") {
        return jsonl::read_file(path).unwrap();
    }
    const WORDS: [&str; 16] = [
        "The",
        "Night",
        "of",
        "Amélie",
        "King",
        "Return",
        "Straße",
        "Love",
        "Dead",
        "House",
        "Man",
        "Dragon",
        "Winter",
        "Stranger",
        "Godfather",
        "Summer",
    ];
    let words = WORDS.map(String::from);
    put_together(&words, 7404, rng)
}

/// `n` items with different titles, of two to five of the words.
fn put_together(words: &[String], n: usize, rng: &mut ChaCha8Rng) -> Vec<CatalogItem> {
    let mut titles = HashSet::new();
    let mut items = Vec::with_capacity(n);
    while items.len() < n {
        let count = rng.random_range(2..=5);
        let title = (0..count)
            .map(|_| words.choose(rng).unwrap().as_str())
            .collect::<Vec<_>>()
            .join(" ");
        if titles.insert(title.clone()) {
            items.push(titled(title, rng.random_range(1930..2025)));
        }
    }
    items
}

/// Names that the exact rules find, the same in another case, and with a typo.
fn names(items: &[CatalogItem], rng: &mut ChaCha8Rng) -> [Vec<Item>; 3] {
    let exact: Vec<Item> = (0..LOOKUPS)
        .map(|_| items.choose(rng).unwrap().item())
        .collect();
    let upper = exact
        .iter()
        .map(|item| Item::new(item.title.to_uppercase(), item.year))
        .collect();
    let mut typo = |item: &Item| {
        let mut letters: Vec<char> = item.title.chars().collect();
        let place = rng.random_range(0..letters.len());
        letters[place] = 'q';
        Item::new(letters.into_iter().collect::<String>(), item.year)
    };
    let typos = exact.iter().map(&mut typo).collect();
    [exact, upper, typos]
}

/// Seconds of processor time of this thread, which other work on the machine does not lengthen
/// (Linux).
fn on_processor() -> f64 {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedule
        .split(' ')
        .next()
        .and_then(|text| text.parse::<f64>().ok())
        .unwrap_or(f64::NAN)
        / 1e9
}

/// Lookups a second of processor time.
fn rate(names: &[Item], find: impl Fn(&Item) -> bool) -> f64 {
    let start = on_processor();
    black_box(names.iter().filter(|name| find(black_box(name))).count());
    names.len() as f64 / (on_processor() - start)
}

fn lookup(c: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let small = small(&mut rng);
    let words: Vec<String> = small
        .iter()
        .flat_map(|item| item.title.split(' '))
        .map(String::from)
        .collect();
    let large = put_together(&words, LARGE, &mut rng);
    for items in [small, large] {
        let n = items.len();
        let (copy, of_items) = held(|| items.clone());
        let start = on_processor();
        let (catalog, of_index) = held(|| Catalog::new(copy).unwrap());
        println!(
            "{n} items: built in {:.3} s of processor time, exact index",
            on_processor() - start
        );
        let start = on_processor();
        let (index, of_fuzzy) = held(|| FuzzyIndex::new(&catalog));
        println!(
            "{n} items: built in {:.3} s of processor time, fuzzy index",
            on_processor() - start
        );
        let each = |bytes: usize| bytes as f64 / n as f64;
        println!(
            "{n} items, bytes an item: {:.0} the items, {:.1} the exact index, {:.0} the fuzzy \
             index",
            each(of_items),
            each(of_index),
            each(of_fuzzy)
        );
        let [exact, upper, typos] = names(&items, &mut rng);
        let fuzzy = rate(&typos, |name| {
            index.resolve(name, YEAR_TOLERANCE).best.is_some()
        });
        println!("{n} items: {fuzzy:.0} fuzzy lookups a second of processor time");
        let resolved = exact.iter().zip(&typos).filter(|(exact, typo)| {
            index.resolve(typo, YEAR_TOLERANCE).at_least(CONFIDENT) == catalog.find(exact)
        });
        println!(
            "{n} items: {} of {LOOKUPS} typos resolved",
            resolved.count()
        );

        let mut group = c.benchmark_group(format!("{n} items"));
        group.throughput(Throughput::Elements(LOOKUPS as u64));
        group.bench_function("exact", |b| {
            b.iter(|| {
                exact
                    .iter()
                    .filter(|name| catalog.find(black_box(name)).is_some())
                    .count()
            })
        });
        group.bench_function("normalised", |b| {
            b.iter(|| {
                upper
                    .iter()
                    .filter(|name| {
                        catalog
                            .find_within(black_box(name), YEAR_TOLERANCE)
                            .is_some()
                    })
                    .count()
            })
        });
        group.sample_size(10);
        group.bench_function("fuzzy", |b| {
            b.iter(|| {
                typos
                    .iter()
                    .filter(|name| {
                        index
                            .resolve(black_box(name), YEAR_TOLERANCE)
                            .best
                            .is_some()
                    })
                    .count()
            })
        });
        group.finish();
    }
}

criterion_group!(benches, lookup);
criterion_main!(benches);
