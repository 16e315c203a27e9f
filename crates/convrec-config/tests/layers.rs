//! Layers over each other, what errors name, and settings through their own file.

use std::collections::BTreeMap;
use std::path::Path;

use convrec_config::{ConfigError, Layer, Layers, check, read, to_toml};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    steps: usize,
    scale: f32,
    weights: BTreeMap<String, f64>,
    loss: Loss,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Loss {
    clip: Clip,
    kl: Option<Kl>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Clip {
    Ppo { low: f64, high: f64 },
    Cispo { highest: f64 },
    None,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kl {
    beta: f64,
}

impl Default for Loss {
    fn default() -> Self {
        Self {
            clip: Clip::Ppo {
                low: 0.2,
                high: 0.28,
            },
            kl: Some(Kl { beta: 0.1 }),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            steps: 100,
            scale: 0.2,
            weights: BTreeMap::from([("relevance".into(), 1.0)]),
            loss: Loss::default(),
        }
    }
}

fn layers(text: &str) -> Layers {
    let layer = Layer::parse(text, Path::new("run.toml")).unwrap();
    Layers::new([layer]).maps(&["weights"])
}

fn resolved(text: &str) -> Settings {
    layers(text).resolve(Settings::default()).unwrap()
}

fn error(text: &str) -> String {
    match Layer::parse(text, Path::new("run.toml")) {
        Err(error) => error.to_string(),
        Ok(layer) => {
            let error = Layers::new([layer]).resolve(Settings::default());
            error.unwrap_err().to_string()
        }
    }
}

#[test]
fn a_layer_changes_what_it_names_and_nothing_else() {
    let mut expected = Settings::default();
    expected.loss.clip = Clip::Ppo {
        low: 0.1,
        high: 0.28,
    };
    assert_eq!(resolved("[loss.clip.ppo]\nlow = 0.1"), expected);
    expected.loss.clip = Clip::Cispo { highest: 5.0 };
    assert_eq!(
        resolved("loss.clip = { cispo = { highest = 5.0 } }"),
        expected
    );
    expected.loss.clip = Clip::None;
    assert_eq!(resolved("loss.clip = \"none\""), expected);
}

#[test]
fn maps_are_added_to_and_choices_are_replaced() {
    for text in ["[weights]\nnovelty = 0.5", "weights = { novelty = 0.5 }"] {
        let weights = resolved(text).weights;
        assert_eq!((weights["relevance"], weights["novelty"]), (1.0, 0.5));
    }
}

#[test]
fn false_turns_an_optional_table_off_and_a_table_turns_it_on() {
    assert_eq!(resolved("loss.kl = false").loss.kl, None);
    let mut flags = Layer::flags();
    flags.set("loss.kl.beta", Some(0.5));
    let file = Layer::parse("loss.kl = false", Path::new("run.toml")).unwrap();
    let both: Settings = Layers::new([file, flags])
        .resolve(Settings::default())
        .unwrap();
    assert_eq!(both.loss.kl, Some(Kl { beta: 0.5 }));
}

#[test]
fn settings_go_through_their_own_file_with_floats_as_written() {
    let mut settings = Settings {
        scale: 0.1,
        ..Settings::default()
    };
    for kl in [None, Some(Kl { beta: 1e-3 })] {
        settings.loss.kl = kl;
        let text = to_toml(&settings, &Settings::default()).unwrap();
        assert!(text.contains("scale = 0.1\n"), "{text}");
        assert_eq!(resolved(&text), settings, "{text}");
    }
    // Without a header of its own the table gets one.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer {
        kl: Option<Kl>,
    }
    let (off, on) = (
        Outer { kl: None },
        Outer {
            kl: Some(Kl { beta: 1.0 }),
        },
    );
    assert_eq!(to_toml(&off, &on).unwrap(), "kl = false\n");
}

#[test]
fn an_error_names_file_field_what_was_found_and_what_is_expected() {
    assert!(
        error("stepz = 1").starts_with("run.toml, field `stepz`: unknown field `stepz`, expected")
    );
    assert_eq!(
        error("loss.kl.beta = \"x\""),
        "run.toml, field `loss.kl.beta`: invalid type: string \"x\", expected f64"
    );
    assert!(error("steps = = 3").contains("line 1"));
    assert!(error("loss.clip = \"cispo\"").contains("`loss.clip.cispo`"));
    assert!(error("loss.clip = \"cispo\"").contains("write its fields as well"));
    assert_eq!(
        error("scale = nan"),
        "run.toml, field `scale`: found NaN, expected a finite number"
    );
    let layers = layers("steps = 0");
    let rules = [("steps", false, "at least 1")];
    let wrong = check(&layers.resolve(Settings::default()).unwrap(), &rules).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "config, field `steps`: found 0, expected at least 1"
    );
    let wrong = layers.locate(wrong);
    assert_eq!(
        wrong.to_string(),
        "run.toml, field `steps`: found 0, expected at least 1"
    );
}

#[test]
fn a_flag_is_not_blamed_on_the_file() {
    let mut flags = Layer::flags();
    flags.set("steps", Some(0));
    let file = Layer::parse("steps = 7", Path::new("run.toml")).unwrap();
    let layers = Layers::new([file, flags]);
    assert_eq!(layers.get::<usize>("steps").unwrap(), Some(0));
    let error = layers.locate(ConfigError::new("steps", 0, "at least 1"));
    assert_eq!(error.file, None);
}

#[test]
fn tables_are_taken_out_and_named_in_errors() {
    let mut whole = layers("steps = 1\n[loss.kl]\nbeta = 1\nx = 2");
    let loss = whole.take("loss").unwrap();
    assert_eq!(whole.resolve(Settings::default()).unwrap().steps, 1);
    let error = loss.resolve(Loss::default()).unwrap_err();
    assert_eq!(error.field, "loss.kl.x");
    let error = layers("loss = 3").take("loss").unwrap_err().to_string();
    assert_eq!(
        error,
        "run.toml, field `loss`: found 3, expected a table, `[loss]`"
    );
}

#[test]
fn only_files_of_a_sane_size_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path: &Path| {
        read(Some(path), Settings::default())
            .unwrap_err()
            .to_string()
    };
    assert!(error(folder.path()).contains("no regular file"));
    assert!(error(&folder.path().join("none.toml")).contains("cannot be read"));
    let path = folder.path().join("large.toml");
    std::fs::write(&path, "# ".to_string() + &"x".repeat(1 << 20)).unwrap();
    assert!(error(&path).contains("larger than 1 MiB"));
    assert_eq!(
        read(None, Settings::default()).unwrap(),
        Settings::default()
    );
}
