//! Writes the token trie of a catalog to a file, for `python/convrec_constraint`.
//!
//! ```text
//! cargo run --release -p convrec-formats --example save_trie -- --catalog films.csv --tokenizer MODEL/tokenizer.json --end '<|im_end|>' --n 10 --out films.trie
//! ```

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use convrec_core::{CatalogItem, Item};
use convrec_formats::{ReadOptions, read_catalog};
use convrec_text::{ListFormat, ListTrie, Style, TextTokenizer};

/// Writes the token trie of a catalog to a file.
#[derive(Parser)]
struct Options {
    /// Catalog: JSON lines, CSV, or any other format that is read. An item's id is its place.
    #[arg(long)]
    catalog: PathBuf,
    /// The model's `tokenizer.json`.
    #[arg(long)]
    tokenizer: PathBuf,
    /// The special token that ends a list: the one that ends the turns of a chat model.
    #[arg(long)]
    end: String,
    /// The number of items in a list.
    #[arg(long)]
    n: usize,
    /// The lines begin with their rank, as in `1. Heat (1995)`.
    #[arg(long)]
    numbered: bool,
    /// The file to write. One that is there is replaced.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let catalog = read_catalog(&options.catalog, &ReadOptions::default())?;
    let items: Vec<Item> = catalog.rows.iter().map(CatalogItem::item).collect();
    let tokenizer = TextTokenizer::load(&options.tokenizer)?;
    let end = tokenizer.special_id(&options.end)?;
    let format = ListFormat {
        style: if options.numbered {
            Style::Numbered
        } else {
            Style::Plain
        },
        ..ListFormat::default()
    };
    let trie = ListTrie::new(&tokenizer, format, end, &items, options.n)?;
    trie.save(&options.out)?;
    println!(
        "{}: {} items, lists of {} and at most {} tokens, ended by token {end}",
        options.out.display(),
        trie.n_items(),
        trie.n_ranks(),
        trie.longest_list(),
    );
    Ok(())
}
