//! What tests with real processes have in common.

use convrec::policy::{ModelConfig, Policy};
use convrec::prelude::{Device, Language, Model};
use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};
use convrec_train::{Prompts, TaskFormat};

/// A tiny untrained model. It is the same one each time.
pub fn model(device: &Device) -> Model {
    let special_tokens = ["<bos>", "<user>", "<assistant>", "<seen>", "<rec>", "<eos>"];
    let config = TrainConfig {
        vocab_size: 262,
        special_tokens: special_tokens.map(str::to_string).to_vec(),
        ..TrainConfig::default()
    };
    let tokenizer = TextTokenizer::train(["a"].iter(), &config).unwrap();
    let format = TaskFormat {
        prompts: Prompts::Marked(PromptFormat::default()),
        n_ranks: 2,
        max_new_tokens: 60,
    };
    Model {
        policy: Policy::new(&ModelConfig::small(262, 32, 2, 2), 1, device).unwrap(),
        language: Language::small(tokenizer, format),
    }
}
