//! Lists that a chat model writes under the constraint, with their log-probabilities. The tests of
//! `python/convrec_constraint` compare those of transformers with them.
//!
//! ```text
//! cargo run --release -p convrec-train --example constrained_lists -- MODEL CATALOG.jsonl FOLDER
//! ```

use std::error::Error;
use std::path::PathBuf;

use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_core::{CatalogItem, Example, ItemId, Turn, jsonl};
use convrec_policy::{Generation, Policy, Sampling, Sequence};
use convrec_train::{Language, Task};
use serde_json::json;

/// N, the number of items in a list.
const N: usize = 5;
const TEMPERATURES: [f32; 2] = [1.0, 0.7];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [model, catalog, folder] = &arguments[..] else {
        return Err(
            "give a model's folder, a catalog of JSON lines, and a folder to write to".into(),
        );
    };
    let mut language = Language::load(model)?;
    language.format.n_ranks = N;
    let catalog = Catalog::new(jsonl::read_file::<CatalogItem>(catalog)?)?;
    let seen = vec![catalog[ItemId(0)].item(), catalog[ItemId(7)].item()];
    let task = Task::new(catalog, language.prompter()?, N)
        .constrained_by_file(folder.join("films.trie"))?;
    let text = "I loved Heat (1995). Something like it?";
    let sample = task.sample(&Example {
        id: "1".into(),
        dialog: vec![Turn::user(text)],
        seen,
        ground_truth: vec![],
    })?;
    let policy = Policy::load_folder(model, &Device::flex())?;
    let mut lists = vec![];
    for temperature in TEMPERATURES {
        let generation = Generation {
            sampling: Sampling {
                temperature,
                ..Sampling::default()
            },
            group_size: 2,
            max_new_tokens: task.longest_list().unwrap_or_default(),
            end_token: u32::MAX,
            max_rows: 8,
            seed: 7,
        };
        let begin = |_| task.constraint(&sample).expect("the task is constrained");
        let drawn = policy.generate_constrained(&[&sample.prompt], &generation, &begin);
        for list in &drawn[0] {
            let allowed = task
                .allowed(&sample, &list.tokens)
                .expect("the task is constrained");
            let sequence = Sequence {
                prompt: &sample.prompt,
                completion: &list.tokens,
            };
            let trainer = policy.log_probs_constrained(&[sequence], &[&allowed], temperature);
            lists.push(json!({
                "temperature": temperature,
                "tokens": list.tokens,
                "items": task.answer(&sample, &list.tokens).items,
                "log_probs": list.log_probs,
                "trainer_log_probs": trainer.log_probs.into_data().try_into_vec::<f32>()?,
            }));
        }
    }
    let file = json!({ "prompt": sample.prompt, "seen": sample.seen, "lists": lists });
    Ok(std::fs::write(
        folder.join("smollm2_lists.json"),
        format!("{file}\n"),
    )?)
}
