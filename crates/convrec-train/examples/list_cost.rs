//! What the lists of models cost and are worth: tokens, choices, time, Recall and NDCG. It compares
//! ways of writing items: titles, a token for each title, semantic ids.
//!
//! ```text
//! cargo run --release -p convrec-train --example list_cost -- CATALOG.jsonl CONVERSATIONS.jsonl MODEL...
//! ```

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_core::{Example, Item, ItemId, jsonl};
use convrec_metrics::Measure;
use convrec_train::evaluate::evaluate;
use convrec_train::{Model, data};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [catalog, conversations, models @ ..] = &arguments[..] else {
        return Err("give a catalog and conversations of JSON lines, and folders of models".into());
    };
    let catalog = Catalog::read(catalog)?;
    let examples: Vec<Example> = jsonl::read_file(conversations)?;
    println!(
        "| model | tokens known | parameters | tokens a list | choices a list | ms a list | \
         Recall@20 | NDCG@20 |\n|---|---|---|---|---|---|---|---|"
    );
    for folder in models {
        let model = Model::load(folder, &Device::flex())?;
        let task = model.task(catalog.clone())?;
        let (samples, _) = data::samples(&task, &examples)?;
        let begun = Instant::now();
        let decoding = model.language.format.greedy();
        let found = evaluate(&model.policy.valid(), &task, &samples, &decoding);
        let time = begun.elapsed().as_secs_f64() * 1e3 / samples.len() as f64;
        let (mut tokens, mut choices) = (0, 0);
        for (sample, answered) in samples.iter().zip(&found.samples) {
            let items = answered.answer.items.iter().flatten();
            let items: Vec<Item> = items.map(|id: &ItemId| catalog[*id].item()).collect();
            let mut constraint = task
                .constraint(sample)
                .ok_or("the task is not constrained")?;
            for token in task.prompter().completion(&items)? {
                tokens += 1;
                choices += usize::from(constraint.allowed().len() > 1);
                constraint.push(token);
            }
        }
        let mean = |count: usize| count as f64 / samples.len() as f64;
        println!(
            "| {} | {} | {} | {:.1} | {:.1} | {time:.1} | {:.4} | {:.4} |",
            folder.display(),
            model.language.tokenizer.vocab_size(),
            model.policy.num_params(),
            mean(tokens),
            mean(choices),
            found.mean(Measure::Recall(20)),
            found.mean(Measure::Ndcg(20)),
        );
    }
    Ok(())
}
