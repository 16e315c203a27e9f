//! The model and the catalog that a measurement is of.

use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_policy::{ModelConfig, Policy};
use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};
use convrec_train::{Language, Model, Prompts, TaskFormat};

use super::flags::Flags;

/// The catalog of `--catalog`. The program ends where there is none.
pub fn catalog(flags: &Flags) -> Catalog {
    let Some(catalog) = flags.text("catalog") else {
        eprintln!("error: no catalog; expected --catalog FILE");
        std::process::exit(2);
    };
    Catalog::read(catalog).unwrap()
}

/// The model of `--model`, or an untrained one of the default shape over a tokenizer of the catalog.
pub fn model(flags: &Flags, catalog: &Catalog, device: &Device) -> Model {
    match flags.text("model") {
        Some(folder) => Model::load(folder, device).unwrap(),
        None => untrained(catalog, device),
    }
}

fn untrained(catalog: &Catalog, device: &Device) -> Model {
    let special_tokens = ["<bos>", "<user>", "<assistant>", "<seen>", "<rec>", "<eos>"];
    let config = TrainConfig {
        vocab_size: 8192,
        special_tokens: special_tokens.map(str::to_string).to_vec(),
        ..TrainConfig::default()
    };
    let lines: Vec<String> = catalog
        .iter()
        .map(|(_, item)| format!("{}\n", item.item()))
        .collect();
    let tokenizer = TextTokenizer::train(lines.iter(), &config).unwrap();
    let format = TaskFormat {
        prompts: Prompts::Marked(PromptFormat::default()),
        n_ranks: 20,
        max_new_tokens: 1024,
    };
    let shape = ModelConfig::small(tokenizer.vocab_size(), 256, 4, 4);
    let policy = Policy::new(&shape, 1, device).unwrap();
    Model {
        policy,
        language: Language::small(tokenizer, format),
    }
}
