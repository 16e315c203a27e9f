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

/// The model of `--model`, or an untrained one of the default shape over a tokenizer of the
/// catalog.
pub fn model(flags: &Flags, catalog: &Catalog, device: &Device) -> Model {
    match flags.text("model") {
        Some(folder) => Model::load(folder, device).unwrap(),
        None => untrained(catalog, device, &Shape::default()),
    }
}

/// The shape of an untrained model, and of its lists.
pub struct Shape {
    pub vocab_size: usize,
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    pub n_ranks: usize,
    pub max_new_tokens: usize,
}

impl Default for Shape {
    /// That of a new model of `train_sft`.
    fn default() -> Self {
        Self {
            vocab_size: 8192,
            width: 256,
            layers: 4,
            heads: 4,
            n_ranks: 20,
            max_new_tokens: 1024,
        }
    }
}

/// An untrained model over a tokenizer of the catalog. It is the same one each time.
pub fn untrained(catalog: &Catalog, device: &Device, shape: &Shape) -> Model {
    let special_tokens = ["<bos>", "<user>", "<assistant>", "<seen>", "<rec>", "<eos>"];
    let config = TrainConfig {
        vocab_size: shape.vocab_size,
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
        n_ranks: shape.n_ranks,
        max_new_tokens: shape.max_new_tokens,
    };
    let config = ModelConfig::small(
        tokenizer.vocab_size(),
        shape.width,
        shape.layers,
        shape.heads,
    );
    Model {
        policy: Policy::new(&config, 1, device).unwrap(),
        language: Language::small(tokenizer, format),
    }
}
