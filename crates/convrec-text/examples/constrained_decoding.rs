//! Constrained decoding with the logits of any model: no burn, no tokenizer, only token ids.
//!
//! ```text
//! cargo run -p convrec-text --example constrained_decoding
//! ```

use convrec_text::{ListTrie, TrieError};

fn main() -> Result<(), TrieError> {
    // Items by their tokens: of your tokenizer, or semantic ids. Items may begin alike.
    let titles = ["Heat", "Heat 2", "Alien", "Up"];
    let items = [vec![11, 12], vec![11, 12, 13], vec![14], vec![15, 12]];
    let (separator, end, vocabulary) = (1, 2, 32);
    let trie = ListTrie::from_token_ids(&items, &[separator], end, 3)?;

    let mut cursor = trie.cursor(&[])?;
    while !cursor.is_done() {
        let mut logits = your_model(vocabulary, cursor.items().len());
        cursor.mask(&mut logits);
        let best = (0..vocabulary).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        cursor.push(best.unwrap_or_default() as u32);
    }
    for (rank, item) in cursor.items().iter().enumerate() {
        println!("{}. {}", rank + 1, titles[item.index()]);
    }
    Ok(())
}

/// Stands for a model: made-up logits, `[vocabulary]`.
fn your_model(vocabulary: usize, seed: usize) -> Vec<f32> {
    let logit = |token| ((token * 37 + seed * 101) % 64) as f32 / 8.0;
    (0..vocabulary).map(logit).collect()
}
