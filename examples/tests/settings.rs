//! The settings of the training programs: the documented file, and files that are printed.

use std::path::Path;

use convrec_config::{Layer, Layers};
use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};
use convrec_train::{
    Algorithm, DynamicSampling, Language, Prompts, RewardTarget, RlSettings, Schedule, SftSettings,
    TaskFormat,
};

fn language() -> Language {
    let config = TrainConfig {
        vocab_size: 300,
        ..TrainConfig::default()
    };
    let tokenizer = TextTokenizer::train(["a"].iter(), &config).unwrap();
    let format = TaskFormat {
        prompts: Prompts::Marked(PromptFormat::default()),
        n_ranks: 2,
        max_new_tokens: 77,
    };
    Language::small(tokenizer, format)
}

fn rl(text: &str, algorithm: Option<Algorithm>) -> Result<RlSettings, String> {
    let layer = Layer::parse(text, Path::new("run.toml")).map_err(|e| e.to_string())?;
    let resolved = RlSettings::resolve(Layers::new([layer]), algorithm, &language());
    resolved.map_err(|e| e.to_string())
}

/// The n-th TOML file of the page on training, from 0.
fn documented(n: usize) -> &'static str {
    let page = include_str!("../../docs/training.md");
    let file = page.split("```toml\n").nth(n + 1).unwrap();
    file.split("```").next().unwrap()
}

#[test]
fn documented_targets_and_conditions_are_read_and_printed() {
    let settings = rl(documented(1), None).unwrap();
    let training = &settings.training;
    let blocked = &training.reward_targets["blocked"];
    assert_eq!(*blocked, RewardTarget::at_most(0.01));
    let western = &training.reward_targets["genre:Western"];
    let expected = RewardTarget {
        learning_rate: 0.5,
        multiplier: 0.2,
        ..RewardTarget::at_least(0.05)
    };
    assert_eq!(*western, expected);
    assert_eq!(training.reward_conditions["novelty"].given, "relevance");
    let printed = settings.to_toml().unwrap();
    assert_eq!(&rl(&printed, None).unwrap().training, training, "{printed}");
}

#[test]
fn the_documented_file_is_read_as_a_whole() {
    let settings = rl(documented(0), None).unwrap();
    let training = &settings.training;
    let dynamic = DynamicSampling {
        max_batches: 4,
        min_ranks: 1,
    };
    assert_eq!(
        (training.max_steps, training.dynamic_sampling),
        (200, Some(dynamic))
    );
    let schedule = Schedule::Step {
        after: 300,
        factor: 0.1,
    };
    assert_eq!(training.optimizer.lr_scheduler_type, schedule);
    // Fields that the file leaves out are the model's, or the default.
    assert_eq!(training.max_completion_length, 77);
    assert_eq!(
        (settings.run.checkpoint_every, settings.run.keep_checkpoints),
        (50, 2)
    );
}

#[test]
fn what_is_printed_is_what_is_read_back() {
    for algorithm in [Algorithm::RankGrpo, Algorithm::Grpo, Algorithm::Gspo] {
        for text in [
            "",
            "[loss]\nkl = false",
            "[lora]\nrank = 4",
            "[loss.kl]\nbeta = 0.25",
        ] {
            let written = rl(text, Some(algorithm)).unwrap();
            let printed = written.to_toml().unwrap();
            let read = rl(&printed, None).unwrap();
            assert_eq!(read.training, written.training, "{printed}");
            assert_eq!(
                (&read.files, &read.run.watch),
                (&written.files, &written.run.watch)
            );
        }
    }
    let layers = |text: &str| Layers::new([Layer::parse(text, Path::new("run.toml")).unwrap()]);
    let file = "batch_size = 4\n[files]\ndemonstrations = \"lists.jsonl\"";
    let written = SftSettings::resolve(layers(file), Some(100)).unwrap();
    let read = SftSettings::resolve(layers(&written.printed().unwrap()), Some(7)).unwrap();
    assert_eq!(read.training.config, written.training.config);
    assert_eq!(read.training.config.max_steps, 500);
}

#[test]
fn contradictions_are_named() {
    let error = |text: &str, algorithm| rl(text, algorithm).unwrap_err();
    let both = error("reward = \"dcg\"", Some(Algorithm::Gspo));
    assert!(
        both.starts_with("run.toml, field `reward`: expected no such field"),
        "{both}"
    );
    let off = error("[loss.kl]\nbeta = 0.0", None);
    assert!(off.contains("`kl = false` turns the penalty off"), "{off}");
    let unknown = error("[reward_weights]\nfun = 1.0", None);
    assert!(unknown.contains("expected some of relevance"), "{unknown}");
    let unused = error("[reward_weights]\nblocklist = 1.0", None);
    assert!(unused.contains("--blocklist FILE"), "{unused}");
    let unused = error("[reward_targets]\nblocked = { at_most = 0.01 }", None);
    assert!(
        unused.starts_with("run.toml, field `reward_targets.blocked`: expected --blocklist FILE"),
        "{unused}"
    );
    let unused = error("[files]\nblocklist = \"x\"", None);
    assert!(
        unused.contains("`blocked = { at_most = 0.01 }`"),
        "{unused}"
    );
    let unknown = error("[reward_targets]\nfun = { at_most = 0.01 }", None);
    assert!(
        unknown.contains("field `reward_targets`") && unknown.contains("fun"),
        "{unknown}"
    );
    let both = error(
        "[reward_targets]\nnovelty = { at_most = 1, at_least = 0 }",
        None,
    );
    assert!(
        both.contains("expected either `at_most` or `at_least`"),
        "{both}"
    );
    let misspelt = error("[reward_targets]\nnovelty = { at_mots = 1 }", None);
    assert!(
        misspelt.contains("at_mots") && misspelt.contains("run.toml"),
        "{misspelt}"
    );
    let idle = error(
        "[reward_conditions]\nnovelty = { given = \"relevance\", threshold = 1 }",
        None,
    );
    assert!(idle.contains("a name with a weight or a target"), "{idle}");
}
