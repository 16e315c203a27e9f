//! Tries of random catalogs, and what their cursors allow along random lists. The tests of
//! `python/convrec_constraint` compare with it.
//!
//! ```text
//! cargo run --release -p convrec-text --example allowed_sets -- python/convrec_constraint/tests/data
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};

use convrec_core::{Item, ItemId};
use convrec_text::{ListFormat, ListTrie, Style, TextTokenizer, TrainConfig};
use serde_json::{Value, json};

/// Lists of each trie, half of them with twins.
const LISTS: usize = 12;

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os()
        .nth(1)
        .ok_or("give the folder to write to")?
        .into();
    let mut random = Random(7);
    let (items, tokenizer, end) = catalog()?;
    let named = |style, n| {
        let format = ListFormat {
            style,
            ..ListFormat::default()
        };
        ListTrie::new(&tokenizer, format, end, &items, n)
    };
    let tries = [
        ("plain", named(Style::Plain, 5)?),
        ("numbered", named(Style::Numbered, 4)?),
        ("ids", ListTrie::from_token_ids(&random.ids(), &[99], 7, 6)?),
        (
            "all",
            ListTrie::from_token_ids(&[[3, 1], [3, 2], [4, 1]], &[], 0, 3)?,
        ),
    ];
    let mut lists = vec![];
    for (name, trie) in tries {
        trie.save(folder.join(name).with_extension("trie"))?;
        for number in 0..LISTS {
            lists.push(list(&mut random, name, &trie, number % 2 == 1)?);
        }
    }
    write(&folder.join("allowed_sets.json"), &lists)
}

/// Walks one list, a random allowed token at a time.
fn list(
    random: &mut Random,
    name: &str,
    trie: &ListTrie,
    with_twins: bool,
) -> Result<Value, Box<dyn Error>> {
    let (n, count) = (trie.n_items(), trie.n_ranks());
    let spare = n - count;
    let groups = match with_twins && spare > 4 {
        true => vec![
            vec![ItemId(0), ItemId(1)],
            vec![ItemId(2), ItemId(4), ItemId(5)],
        ],
        false => vec![],
    };
    let trie = trie.clone().with_twins(&groups)?;
    // So few that enough are left, whichever they are: a group of twins has three items.
    let seen: Vec<ItemId> = (0..random.below(spare / 3 + 1))
        .map(|_| ItemId(random.below(n) as u32))
        .collect();
    let mut cursor = trie.cursor(&seen)?;
    let (mut tokens, mut allowed) = (vec![], vec![]);
    while !cursor.is_done() {
        let token = cursor.allowed()[random.below(cursor.allowed().len())];
        tokens.push(token);
        allowed.push(cursor.allowed().to_vec());
        cursor.push(token);
    }
    Ok(json!({
        "trie": name,
        "longest": trie.longest_list(),
        "twins": groups,
        "seen": seen,
        "tokens": tokens,
        "allowed": allowed,
        "items": cursor.items(),
    }))
}

/// Names that share beginnings, with a tokenizer trained on them.
fn catalog() -> Result<(Vec<Item>, TextTokenizer, u32), Box<dyn Error>> {
    let titles = [
        "Heat",
        "Heat 2",
        "The Return",
        "The Return of the King",
        "Up",
        "Alien",
    ];
    let items: Vec<Item> = (0..30)
        .map(|n| Item::new(titles[n % titles.len()], 1960 + (n * n % 61) as i32))
        .collect();
    let corpus: Vec<String> = items.iter().map(|item| format!("{item}\n")).collect();
    let config = TrainConfig {
        vocab_size: 320,
        ..TrainConfig::default()
    };
    let tokenizer = TextTokenizer::train(corpus.iter(), &config)?;
    let end = tokenizer.special_id("<eos>")?;
    Ok((items, tokenizer, end))
}

fn write(path: &Path, lists: &[Value]) -> Result<(), Box<dyn Error>> {
    let lines: Vec<String> = lists.iter().map(Value::to_string).collect();
    Ok(std::fs::write(
        path,
        format!("[\n{}\n]\n", lines.join(",\n")),
    )?)
}

/// A linear congruential generator: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    /// Different items of one to four of five tokens.
    fn ids(&mut self) -> Vec<Vec<u32>> {
        let mut items: Vec<Vec<u32>> = (0..60)
            .map(|_| {
                (0..=self.below(4))
                    .map(|_| 10 + self.below(5) as u32)
                    .collect()
            })
            .collect();
        items.sort();
        items.dedup();
        items.reverse();
        items
    }
}
