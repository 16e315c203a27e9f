//! Reading 2,000 completions of 20 items, decorated as models do it.

use std::hint::black_box;

use convrec_core::Item;
use convrec_text::parse::parse_reference;
use convrec_text::{ListFormat, Style, Years};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Titles, one a line.
const TITLES: &str = "Heat
The Godfather: Part II
2001: A Space Odyssey
(500) Days of Summer
Amélie
M*A*S*H
Mission: Impossible - Fallout
Birdman or (The Unexpected Virtue of Ignorance)
千と千尋の神隠し
What's Up, Doc?
Spider-Man: No Way Home
Se7en";

/// Completions of four kinds: plain, numbered, numbered and bold with blank lines, quoted bullets
/// with remarks.
fn completions() -> Vec<String> {
    let titles: Vec<&str> = TITLES.lines().collect();
    let item = |n: usize| Item::new(titles[n * 7 % titles.len()], 1930 + (n * 31 % 95) as i32);
    (0..2000)
        .map(|row| {
            let items: Vec<Item> = (0..20).map(|rank| item(row * 20 + rank)).collect();
            let each = |line: &dyn Fn(usize, &Item) -> String| {
                items
                    .iter()
                    .enumerate()
                    .map(|(rank, item)| line(rank, item))
                    .collect::<String>()
            };
            match row % 4 {
                0 => ListFormat::default().render(&items),
                1 => ListFormat {
                    style: Style::Numbered,
                    years: Years::Required,
                }
                .render(&items),
                2 => format!(
                    "Here are 20 films:\n\n{}",
                    each(&|rank, item| format!("{}. **{item}**\n\n", rank + 1))
                ),
                _ => each(&|_, item| {
                    format!(
                        "- \"{}\" ({}) - a classic\n",
                        item.title,
                        item.year.unwrap_or(0)
                    )
                }),
            }
        })
        .collect()
}

fn parse(c: &mut Criterion) {
    let texts = completions();
    let mut group = c.benchmark_group("parse 2,000 completions of 20 items");
    group.throughput(Throughput::Bytes(
        texts.iter().map(|text| text.len() as u64).sum(),
    ));
    group.bench_function("default", |b| {
        b.iter(|| {
            texts
                .iter()
                .map(|text| black_box(ListFormat::default().parse(text)).entries.len())
                .sum::<usize>()
        })
    });
    group.bench_function("reference", |b| {
        b.iter(|| {
            texts
                .iter()
                .map(|text| black_box(parse_reference(text)).len())
                .sum::<usize>()
        })
    });
}

criterion_group!(benches, parse);
criterion_main!(benches);
