//! Giving the tokens of 256 completions of about 300 tokens to ranks.

use std::hint::black_box;

use convrec_core::Item;
use convrec_text::segments::Segmentation;
use convrec_text::{ListFormat, TextTokenizer, TrainConfig};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const TITLES: [&str; 8] = [
    "Heat",
    "The Godfather",
    "A Space Odyssey",
    "Days of Summer",
    "Amélie",
    "What's Up, Doc?",
    "No Way Home",
    "Se7en",
];

fn segment(c: &mut Criterion) {
    let lists: Vec<String> = (0..256)
        .map(|row| {
            let item =
                |n: usize| Item::new(TITLES[n * 7 % TITLES.len()], 1930 + (n * 31 % 95) as i32);
            ListFormat::default().render(&(row * 20..row * 20 + 20).map(item).collect::<Vec<_>>())
        })
        .collect();
    // The vocabulary is so small that a line takes about 15 tokens, as with a general tokenizer.
    let config = TrainConfig {
        vocab_size: 270,
        ..Default::default()
    };
    let tokenizer =
        TextTokenizer::train(lists.iter(), &config).expect("the vocabulary is large enough");
    let ids: Vec<Vec<u32>> = lists
        .iter()
        .map(|list| {
            tokenizer
                .encode(list)
                .expect("plain text")
                .into_iter()
                .take(300)
                .collect()
        })
        .collect();
    let parsed: Vec<_> = ids
        .iter()
        .map(|ids| ListFormat::default().parse(&tokenizer.decode(ids)))
        .collect();

    let mut group = c.benchmark_group("segment 256 x 300 tokens");
    group.throughput(Throughput::Elements(
        ids.iter().map(|ids| ids.len() as u64).sum(),
    ));
    for mode in [Segmentation::OneParse, Segmentation::Reference] {
        group.bench_function(format!("{mode:?}"), |b| {
            b.iter(|| {
                for (ids, list) in ids.iter().zip(&parsed) {
                    let tokens = ids.iter().map(|&id| tokenizer.token_bytes(id));
                    black_box(mode.segment(list, tokens, false));
                }
            })
        });
    }
    group.bench_function("decode, parse, OneParse", |b| {
        b.iter(|| {
            for ids in &ids {
                let list = ListFormat::default().parse(&tokenizer.decode(ids));
                let tokens = ids.iter().map(|&id| tokenizer.token_bytes(id));
                black_box(Segmentation::OneParse.segment(&list, tokens, false));
            }
        })
    });
}

criterion_group!(benches, segment);
criterion_main!(benches);
