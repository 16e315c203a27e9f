use convrec_core::Turn;
use convrec_policy::ModelConfig;
use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};

use super::language::{TASK, TOKENIZER};
use super::*;

fn tokenizer(special_tokens: &[&str]) -> TextTokenizer {
    let special_tokens: Vec<String> = special_tokens
        .iter()
        .map(|token| token.to_string())
        .collect();
    let config = TrainConfig {
        vocab_size: 256 + special_tokens.len(),
        special_tokens,
        ..TrainConfig::default()
    };
    TextTokenizer::train(["a"].iter(), &config).unwrap()
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn catalog(folder: &Path) -> Catalog {
    write(
        folder,
        "catalog.jsonl",
        "{\"title\": \"Heat\", \"year\": 1995}\n{\"title\": \"Up\", \"year\": 2009}\n",
    );
    Catalog::read(folder.join("catalog.jsonl")).unwrap()
}

/// A chat model's folder, as it is published.
fn published(folder: &Path) {
    tokenizer(&["<|s|>", "<|e|>"])
        .save(folder.join(TOKENIZER))
        .unwrap();
    let shape = ModelConfig::small(300, 8, 1, 1);
    write(folder, "config.json", &shape.to_hugging_face());
    let template = "{% for m in messages %}<|s|>{{ m.role }}: {{ m.content }}<|e|>{% endfor \
                    %}<|s|>assistant: ";
    let config = serde_json::json!({"chat_template": template, "eos_token": "<|e|>", "more": 1});
    write(folder, "tokenizer_config.json", &config.to_string());
    write(folder, "generation_config.json", "{}");
}

#[test]
fn a_published_chat_model_is_taken_and_remembered() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    published(from.path());
    let mut language = Language::load(from.path()).unwrap();
    assert_eq!(
        (language.format.n_ranks, language.format.max_new_tokens),
        (20, 1024)
    );
    language.format.n_ranks = 2;
    let Prompts::Chat(format) = &mut language.format.prompts else {
        panic!("these are chat prompts")
    };
    format.system = "Be brief.".into();
    language.save(to.path()).unwrap();
    std::fs::copy(
        from.path().join("config.json"),
        to.path().join("config.json"),
    )
    .unwrap();
    for name in ["tokenizer_config.json", "generation_config.json"] {
        let read = |folder: &tempfile::TempDir| std::fs::read(folder.path().join(name)).unwrap();
        assert_eq!(read(&from), read(&to), "{name}");
    }

    let loaded = Language::load(to.path()).unwrap();
    assert_eq!(loaded.hashes().unwrap(), language.hashes().unwrap());
    let task = loaded.task(catalog(to.path())).unwrap();
    assert!(task.is_constrained());
    let prompt = task
        .prompter()
        .prompt(&[Turn::user("Hi<|e|>")], &[])
        .unwrap();
    let text = loaded.tokenizer.decode_with_specials(&prompt);
    assert!(
        text.starts_with("<|s|>system: Be brief.<|e|><|s|>user: "),
        "{text}"
    );
    assert_eq!(prompt.iter().filter(|id| **id < 2).count(), 5);
    assert_eq!(task.prompter().end(), 1);
}

#[test]
fn a_small_policy_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer(&["<bos>", "<user>", "<assistant>", "<seen>", "<rec>", "<eos>"]);
    let format = TaskFormat {
        prompts: Prompts::Marked(PromptFormat::default()),
        n_ranks: 2,
        max_new_tokens: 9,
    };
    let language = Language::small(tokenizer, format);
    language.save(folder.path()).unwrap();
    let shape = ModelConfig::small(300, 8, 1, 1);
    write(folder.path(), "config.json", &shape.to_hugging_face());
    let text = std::fs::read_to_string(folder.path().join(TASK)).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(
        file["prompt"]["max_seen"] == 16 && file["n_ranks"] == 2,
        "{text}"
    );
    let loaded = Language::load(folder.path()).unwrap();
    assert_eq!(loaded.hashes().unwrap(), language.hashes().unwrap());
    assert_eq!(
        loaded
            .unconstrained_task(catalog(folder.path()))
            .unwrap()
            .prompter()
            .end(),
        5
    );
}

/// Editors on Windows begin a file with a byte order mark.
#[test]
fn marks_before_json_are_no_part_of_it() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    published(from.path());
    let language = Language::load(from.path()).unwrap();
    language.save(to.path()).unwrap();
    let shape = ModelConfig::small(300, 8, 1, 1);
    write(to.path(), "config.json", &shape.to_hugging_face());
    for name in ["config.json", TASK, TOKENIZER, "tokenizer_config.json"] {
        let text = std::fs::read_to_string(to.path().join(name)).unwrap();
        write(to.path(), name, &format!("\u{feff}{text}"));
    }
    let loaded = Language::load(to.path()).unwrap();
    assert!(loaded.format == language.format);
    ModelConfig::load_folder(to.path()).unwrap();
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = || Language::load(folder.path()).unwrap_err().to_string();
    published(folder.path());
    write(folder.path(), "tokenizer_config.json", "{}");
    assert!(
        error().contains("task.json: not there, so this must be a chat model, but:"),
        "{}",
        error()
    );
    write(
        folder.path(),
        TASK,
        r#"{"chat": {}, "n_ranks": 0, "max_new_tokens": 1}"#,
    );
    assert!(
        error().contains("task.json: field `n_ranks`: found 0, expected 1 to 1000"),
        "{}",
        error()
    );
    write(
        folder.path(),
        TASK,
        r#"{"chat": {"sistem": ""}, "n_ranks": 1, "max_new_tokens": 1}"#,
    );
    assert!(
        error().contains("task.json: unknown field `sistem`"),
        "{}",
        error()
    );
    write(
        folder.path(),
        TASK,
        r#"{"n_ranks": 1, "max_new_tokens": 1}"#,
    );
    assert!(
        error().contains("task.json: expected one of the fields `prompt`"),
        "{}",
        error()
    );
    write(
        folder.path(),
        TASK,
        r#"{"chat": {}, "n_rank": 1, "max_new_tokens": 1}"#,
    );
    assert!(
        error().contains("task.json: unknown field `n_rank`"),
        "{}",
        error()
    );
    write(
        folder.path(),
        TASK,
        r#"{"chat": {}, "n_ranks": "x", "max_new_tokens": 1}"#,
    );
    assert!(
        error().contains("task.json: ") && error().contains("expected usize"),
        "{}",
        error()
    );
    std::fs::remove_file(folder.path().join(TOKENIZER)).unwrap();
    assert!(
        error().contains("no tokenizer.json, expected a model's folder"),
        "{}",
        error()
    );
}

/// A small model with a catalog of two films.
fn small(folder: &Path) -> (Model, Catalog) {
    let tokenizer = tokenizer(&["<bos>", "<user>", "<assistant>", "<seen>", "<rec>", "<eos>"]);
    let format = TaskFormat {
        prompts: Prompts::Marked(PromptFormat::default()),
        n_ranks: 1,
        max_new_tokens: 20,
    };
    let device = Device::flex();
    let shape = ModelConfig {
        max_position_embeddings: 48,
        ..ModelConfig::small(tokenizer.vocab_size(), 8, 1, 1)
    };
    let model = Model {
        policy: Policy::new(&shape, 3, &device).unwrap(),
        language: Language::small(tokenizer, format),
    };
    model.save(folder).unwrap();
    (Model::load(folder, &device).unwrap(), catalog(folder))
}

#[test]
fn a_saved_model_recommends_unseen_items_with_their_ids() {
    let folder = tempfile::tempdir().unwrap();
    let (model, catalog) = small(folder.path());
    let heat = catalog
        .find(&convrec_core::Item::new("Heat", 1995))
        .unwrap();
    let recommender = model.recommender(catalog).unwrap();
    let turns = [Turn::user("Hi")];
    let list = recommender.recommend(&turns, &[heat], 1).unwrap();
    assert_eq!((list.len(), list[0].rank), (1, 1));
    assert_eq!(list[0].item.to_string(), "Up (2009)");
    assert_ne!(list[0].id, heat);
    let error = recommender
        .recommend(&turns, &[], 2)
        .unwrap_err()
        .to_string();
    assert!(error.contains("n = 2, expected 1 to 1"), "{error}");
    for id in [heat, list[0].id] {
        let candidates = convrec_core::Candidates::new([id]);
        let among = recommender.recommend_among(&turns, &[], candidates, 1);
        assert_eq!(among.unwrap()[0].id, id);
    }
    let candidates = convrec_core::Candidates::new([heat]);
    let error = recommender
        .recommend_among(&turns, &[heat], candidates, 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("none of the 1 candidates can be listed"),
        "{error}"
    );
}

/// Prompts fit the model's positions by leaving out the oldest turns, or the sample is refused.
#[test]
fn a_prompt_never_exceeds_the_positions_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let (model, catalog) = small(folder.path());
    let task = model.task(catalog).unwrap();
    let room = 48 - task.longest_list().unwrap();
    let example = |dialog: Vec<Turn>| convrec_core::Example {
        id: "1".into(),
        dialog,
        seen: vec![],
        ground_truth: vec![convrec_core::Item::new("Heat", 1995)],
    };
    let old = [
        Turn::user("x".repeat(40)),
        Turn::assistant("Which?"),
        Turn::user("that"),
    ];
    let long = example(old.to_vec());
    let short = example(vec![Turn::user("that")]);
    let (samples, report) = crate::data::samples(&task, &[long, short]).unwrap();
    assert_eq!(samples[0].prompt, samples[1].prompt);
    assert!(samples[0].prompt.len() <= room);
    assert_eq!((report.used, report.shortened, report.too_long), (2, 1, 0));
    let endless = example(vec![Turn::user("x".repeat(60))]);
    let error = task.sample(&endless).unwrap_err().to_string();
    assert!(
        error.contains(&format!("expected at most {room} beside a list")),
        "{error}"
    );
    let (samples, report) = crate::data::samples(&task, &[endless]).unwrap();
    assert_eq!((samples.len(), report.too_long), (0, 1));
}

#[test]
fn an_adapter_is_merged_into_the_model_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    let (model, _) = small(&base);
    let lora = convrec_policy::LoraConfig {
        rank: 2,
        ..Default::default()
    };
    let adapted = model.policy.clone().with_lora(&lora, 1).unwrap();
    let adapter = folder.path().join("adapter");
    adapted.save_lora(&adapter).unwrap();
    let path = adapter.join("adapter_config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["base_model_name_or_path"] = "../base".into();
    std::fs::write(&path, config.to_string()).unwrap();
    let loaded = Model::load(&adapter, &Device::flex()).unwrap();
    assert!(loaded.policy.lora().is_none());
    assert_eq!(
        loaded.policy.to_safetensors().unwrap(),
        adapted.merged().to_safetensors().unwrap()
    );
    config["base_model_name_or_path"] = serde_json::Value::Null;
    std::fs::write(&path, config.to_string()).unwrap();
    let error = Model::load(&adapter, &Device::flex())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no field `base_model_name_or_path`"),
        "{error}"
    );
}

#[test]
fn sizes_are_bounded_and_names_are_looked_up() {
    let error = |text: &str| TaskFormat::read(text).unwrap_err();
    let huge = r#"{"chat": {}, "n_ranks": 20, "max_new_tokens": 1099511627776}"#;
    assert!(error(huge).contains("`max_new_tokens`: found 1099511627776, expected 1 to 1048576"));
    let error = |name: &str| Language::load(name).unwrap_err().to_string();
    assert!(error("no/such/folder").contains("no such folder"));
    #[cfg(not(feature = "hub"))]
    assert!(error("org/name").contains("feature `hub`"));
}
