//! Catalogs, vocabularies and walks.

use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use convrec_core::{CatalogItem, Item, jsonl};
use convrec_text::{ListFormat, TextTokenizer};
use rand::seq::{IndexedRandom, index};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::walks::{N, SEEN, Walk, Walks};

/// Lists of each catalog.
const LISTS: usize = 50;

#[derive(clap::Args)]
pub struct Options {
    /// A catalog of real titles, JSON lines.
    #[arg(long)]
    catalog: PathBuf,
    /// A tokenizer, as NAME=tokenizer.json=END: its name in the table, its file, and the token that
    /// ends a list.
    #[arg(long)]
    tokenizer: Vec<String>,
    /// Sizes of catalogs beside that of real titles. Their titles are made of its words.
    #[arg(long)]
    sizes: Vec<usize>,
    /// The folder to write to.
    #[arg(long)]
    out: PathBuf,
}

pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(&options.out)?;
    let rows: Vec<CatalogItem> = jsonl::read_file(&options.catalog)?;
    let real: Vec<Item> = rows.iter().map(CatalogItem::item).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut catalogs = vec![real.clone()];
    catalogs.extend(options.sizes.iter().map(|n| made(&real, *n, &mut rng)));

    for tokenizer in &options.tokenizer {
        let parts: Vec<&str> = tokenizer.split('=').collect();
        let [name, file, end] = parts[..] else {
            return Err(format!("{tokenizer}: expected NAME=FILE=END").into());
        };
        let tokenizer = TextTokenizer::load(file)?;
        fs::copy(file, options.out.join(format!("{name}.json")))?;
        let hex = |id: usize| {
            let bytes = tokenizer.token_bytes(id as u32).iter();
            bytes.map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let vocabulary: Vec<String> = (0..tokenizer.vocab_size()).map(hex).collect();
        write(
            &options.out,
            &format!("vocabulary-{name}.json"),
            &vocabulary,
        )?;
        let end = tokenizer.special_id(end)?;
        for items in &catalogs {
            let walks = Walks {
                end,
                vocabulary: tokenizer.vocab_size(),
                walks: (0..LISTS)
                    .map(|_| walk(items, &tokenizer, end, &mut rng))
                    .collect::<Result<_, _>>()?,
            };
            write(
                &options.out,
                &format!("walks-{}-{name}.json", items.len()),
                &walks,
            )?;
        }
    }
    for items in &catalogs {
        let names: Vec<String> = items.iter().map(Item::to_string).collect();
        write(&options.out, &format!("names-{}.json", items.len()), &names)?;
    }
    Ok(())
}

/// `n` different names. A title has as many words as a real one, and each word is one that stands
/// at its place in some real title.
fn made(real: &[Item], n: usize, rng: &mut ChaCha8Rng) -> Vec<Item> {
    let titles: Vec<Vec<&str>> = real
        .iter()
        .map(|item| item.title.split_whitespace().collect())
        .collect();
    let mut at_place: Vec<Vec<&str>> = vec![];
    for title in &titles {
        for (place, word) in title.iter().enumerate() {
            if place == at_place.len() {
                at_place.push(vec![]);
            }
            at_place[place].push(word);
        }
    }
    let mut names = HashSet::new();
    let mut items = vec![];
    while items.len() < n {
        let words = titles.choose(rng).expect("there are titles").len();
        let title: Vec<&str> = at_place[..words]
            .iter()
            .map(|words| *words.choose(rng).expect("some title has this word"))
            .collect();
        let item = Item::new(title.join(" "), rng.random_range(1930..2026));
        if names.insert(item.to_string()) {
            items.push(item);
        }
    }
    items
}

fn walk(
    items: &[Item],
    tokenizer: &TextTokenizer,
    end: u32,
    rng: &mut ChaCha8Rng,
) -> Result<Walk, Box<dyn Error>> {
    let drawn = index::sample(rng, items.len(), N + SEEN).into_vec();
    let (listed, seen) = drawn.split_at(N);
    let ids = |places: &[usize]| places.iter().map(|place| *place as u32).collect();
    let (mut text, mut tokens) = (String::new(), vec![]);
    for (rank, place) in listed.iter().enumerate() {
        let line = ListFormat::default().line(rank, &items[*place]);
        tokens.extend(tokenizer.encode_exactly(&line)?);
        text += &line;
    }
    tokens.push(end);
    let quoted = |place: &usize| serde_json::to_string(&items[*place].to_string());
    let quoted: Vec<String> = listed.iter().map(quoted).collect::<Result<_, _>>()?;
    let json = format!("[{}]", quoted.join(", "));
    let mut json_tokens = tokenizer.encode_exactly(&json)?;
    json_tokens.push(end);
    Ok(Walk {
        seen: ids(seen),
        items: ids(listed),
        text,
        tokens,
        json,
        json_tokens,
    })
}

fn write(folder: &Path, name: &str, content: &impl Serialize) -> Result<(), Box<dyn Error>> {
    Ok(fs::write(folder.join(name), serde_json::to_vec(content)?)?)
}
