//! The token trie of a catalog: building it, and walking it along lists of 20 items with 10 other
//! items seen.
//!
//! It is that of the Reddit-v2 catalog with SmolLM2's tokenizer where both are there, else of
//! made-up titles.

use std::hint::black_box;

use convrec_core::{CatalogItem, Item, ItemId, jsonl};
use convrec_text::{ListFormat, ListTrie, TextTokenizer, TrainConfig};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const N: usize = 20;

fn catalog() -> (Vec<Item>, TextTokenizer) {
    let data = convrec_testdata::data_path("catalog/reddit_v2.jsonl");
    if let (Some(data), Some(tokenizer)) = (data, convrec_testdata::tokenizer_path()) {
        let items: Vec<CatalogItem> = jsonl::read_file(data).expect("the catalog is read");
        let tokenizer = TextTokenizer::load(tokenizer).expect("the tokenizer is read");
        return (items.iter().map(CatalogItem::item).collect(), tokenizer);
    }
    let name = |n: usize| {
        format!(
            "{} of the {}",
            ["Heat", "Night", "Return", "Days"][n % 4],
            n * 7919 % 100_003
        )
    };
    let items: Vec<Item> = (0..7000)
        .map(|n| Item::new(name(n), 1930 + (n % 95) as i32))
        .collect();
    let corpus: Vec<String> = items.iter().map(|item| format!("{item}\n")).collect();
    let config = TrainConfig {
        vocab_size: 8192,
        ..TrainConfig::default()
    };
    (
        items,
        TextTokenizer::train(corpus.iter(), &config).expect("the vocabulary is large enough"),
    )
}

fn trie(c: &mut Criterion) {
    let (items, tokenizer) = catalog();
    let format = ListFormat::default();
    let build =
        || ListTrie::new(&tokenizer, format, 2, &items, N).expect("the lines can be told apart");
    let trie = build();

    // The items of a list are far apart, and the ten items before the first one are seen.
    let lists: Vec<(Vec<ItemId>, Vec<u32>)> = (0..64)
        .map(|list| {
            let place = |rank: usize| (list * 1009 + rank * 367 + 10) % items.len();
            let seen = (0..10)
                .map(|back| ItemId(((place(0) + items.len() - 1 - back) % items.len()) as u32))
                .collect();
            let line = |rank| {
                tokenizer
                    .encode(&format.line(rank, &items[place(rank)]))
                    .expect("plain text")
            };
            let mut tokens: Vec<u32> = (0..N).flat_map(line).collect();
            tokens.push(2);
            (seen, tokens)
        })
        .collect();
    let tokens = lists
        .iter()
        .map(|(_, tokens)| tokens.len() as u64)
        .sum::<u64>();

    let mut group = c.benchmark_group(format!("trie of {} items", items.len()));
    group.sample_size(20);
    group.bench_function("build", |b| b.iter(|| black_box(build())));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("trie");
    trie.save(&path).expect("the file is written");
    group.bench_function("save", |b| {
        b.iter(|| trie.save(&path).expect("the file is written"))
    });
    let size = std::fs::metadata(&path).expect("the file is there").len();
    println!(
        "{size} bytes, {:.1} an item",
        size as f64 / items.len() as f64
    );
    group.bench_function("open", |b| {
        b.iter(|| {
            black_box(
                ListTrie::open(&path, &tokenizer, format, 2, &items, N).expect("the file fits"),
            )
        })
    });
    group.bench_function("write the tokenizer", |b| {
        b.iter(|| black_box(tokenizer.to_json().expect("it can be written")))
    });
    let mut cursor = trie.cursor(&lists[0].0).expect("enough items are left");
    lists[0].1[..100]
        .iter()
        .for_each(|token| cursor.push(*token));
    group.bench_function("clone a cursor", |b| b.iter(|| black_box(cursor.clone())));
    group.throughput(Throughput::Elements(tokens));
    group.bench_function("walk 64 lists of 20 items", |b| {
        b.iter(|| {
            for (seen, tokens) in &lists {
                let mut cursor = trie.cursor(seen).expect("enough items are left");
                for token in tokens {
                    black_box(cursor.allowed());
                    cursor.push(*token);
                }
            }
        })
    });
}

criterion_group!(benches, trie);
criterion_main!(benches);
