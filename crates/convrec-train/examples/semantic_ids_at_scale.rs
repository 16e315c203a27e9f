//! Semantic ids of a large made-up catalog, whose items have random vectors: time, tokens, memory.
//!
//! ```text
//! cargo run --release -p convrec-train --example semantic_ids_at_scale -- 1000000
//! ```

use std::error::Error;
use std::fs::read_to_string;
use std::time::Instant;

use convrec_catalog::{Catalog, Embeddings};
use convrec_core::{CatalogItem, Item};
use convrec_text::{ListTrie, PromptFormat, TextTokenizer, TrainConfig};
use convrec_train::semantic_ids;
use ndarray::{Array2, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const WIDTH: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let n: usize = std::env::args().nth(1).unwrap_or_default().parse()?;
    let film = |n: usize| CatalogItem {
        title: format!("Film {n}"),
        year: None,
        genres: vec![],
        metadata: String::new(),
    };
    let catalog = Catalog::new((0..n).map(film).collect())?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    // The sum of three numbers is near to a normal one.
    let mut normal = || (0..3).map(|_| rng.random::<f32>() - 0.5).sum::<f32>();
    let mut rows = Array2::from_shape_simple_fn((n, WIDTH), &mut normal);
    for mut row in rows.axis_iter_mut(Axis(0)) {
        let length = row.dot(&row).sqrt();
        row /= length;
    }
    let embeddings = Embeddings::new(rows)?;
    told("the catalog and its embeddings");

    let begun = Instant::now();
    let ids = semantic_ids(&catalog, &[], Some(&embeddings), [3, 256], 0);
    let longer = ids.iter().filter(|(_, codes)| codes.len() > 3).count();
    println!(
        "{n} items in {:.1} s: {} tokens, {longer} items with further ones",
        begun.elapsed().as_secs_f64(),
        ids.tokens().len()
    );
    told("the codes");

    let mut config = TrainConfig::default();
    config.special_tokens.extend(ids.tokens());
    let tokenizer = TextTokenizer::train(["Film 1\n"].iter(), &config)?;
    let begun = Instant::now();
    let prompter = PromptFormat::default()
        .prompter(&tokenizer)?
        .with_semantic_ids(&ids)?;
    let items = catalog.iter().map(|(_, item)| item.item());
    let line = |item: Item| prompter.line(0, &item);
    let lines = items.map(line).collect::<Result<Vec<_>, _>>()?;
    let trie = ListTrie::from_token_ids(&lines, &[], prompter.end(), 20)?;
    println!(
        "a trie in {:.1} s: {} first tokens, at most {} tokens a list",
        begun.elapsed().as_secs_f64(),
        trie.first_tokens().len(),
        trie.longest_list()
    );
    told("the trie");
    Ok(())
}

/// The most memory that the process has had, where the system says it.
fn told(what: &str) {
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(line) = status.lines().find(|line| line.starts_with("VmHWM")) {
        println!("with {what}: {line}");
    }
}
