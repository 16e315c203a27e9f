//! The settings of a training program: one TOML file, the training's own fields at its top.

mod algorithm;
mod files;

use std::path::{Path, PathBuf};

use convrec_config::{ConfigError, Layers, check, to_toml};
use serde::Serialize;

pub use self::algorithm::Algorithm;
pub use self::files::{Dtype, Files};

use crate::decoder::Decoder;
use crate::model::Language;
use crate::optim::OptimizerConfig;
use crate::reward::GENRE;
use crate::rl::RlConfig;
use crate::run::RunOptions;
use crate::schedule::Schedule;
use crate::sft::SftConfig;

/// Tables of a config file whose keys are names, not fields.
const MAPS: [&str; 3] = ["reward_weights", "reward_targets", "reward_conditions"];
/// The bounds of the number of SFT updates that follows from the data.
const FEWEST_STEPS: usize = 20;
const MOST_STEPS: usize = 3000;

/// All settings of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Settings<T> {
    /// The training's own.
    #[serde(flatten)]
    pub training: T,
    /// What is read.
    pub files: Files,
    /// Where and how often the run writes, and when the doctor stops it.
    pub run: RunOptions,
    /// What the file leaves out.
    #[serde(skip)]
    defaults: T,
}

/// The settings of supervised fine-tuning.
pub type SftSettings = Settings<SftSetup>;
/// The settings of reinforcement learning.
pub type RlSettings = Settings<RlConfig>;

/// What the config file of SFT holds beside `[files]` and `[run]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SftSetup {
    /// The loop's settings.
    #[serde(flatten)]
    pub config: SftConfig,
    /// The shape of a new decoder, where no model is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder: Option<Decoder>,
    /// How `max_steps` was found, where nobody set it.
    #[serde(skip)]
    pub steps_rule: Option<String>,
}

impl SftSettings {
    /// Resolves the settings. Where nobody sets `max_steps`, it follows from the number of
    /// demonstrations: `num_train_epochs` passes over them (20 for a new decoder, 3 for a model, as
    /// in TRL), but at least 20 and at most 3,000 updates.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
    pub fn resolve(mut layers: Layers, demonstrations: Option<usize>) -> Result<Self, ConfigError> {
        layers = layers.maps(&MAPS);
        let (files, run) = common(&mut layers)?;
        refuse(
            &layers,
            &files,
            &[
                ("conversations", &files.conversations),
                ("blocklist", &files.blocklist),
                ("sampler", &files.sampler),
            ],
        )?;
        let decoder = match (&files.model, layers.has("decoder")) {
            (Some(_), true) => {
                let expected = "none beside a model, which has its own shape";
                let error = ConfigError::new("decoder", "", expected);
                return Err(layers.locate(error));
            }
            (Some(_), false) => None,
            (None, _) => {
                let parts = layers.take("decoder")?;
                Some(parts.resolve(Decoder::default())?)
            }
        };
        let without_ids = decoder.as_ref().is_none_or(|decoder| !decoder.semantic_ids);
        if let (Some(path), true) = (&files.item_embeddings, without_ids) {
            let expected = "`semantic_ids = true` under `[decoder]` (`--semantic-ids`) with it: a \
                            new decoder learns semantic ids from it";
            let error = ConfigError::new("files.item_embeddings", path.display(), expected);
            return Err(layers.locate(error));
        }
        let mut defaults = sft_defaults(decoder.is_none());
        let epochs: Option<f64> = layers.take_field("num_train_epochs")?;
        let batch = layers.get("batch_size")?.unwrap_or(defaults.batch_size);
        let steps = layers.get("max_steps")?;
        let mut steps_rule = None;
        if steps.is_none() {
            let usual = if decoder.is_some() { 20.0 } else { 3.0 };
            let epochs = epochs.unwrap_or(usual);
            let sane = epochs > 0.0 && epochs <= 1e6;
            let rule = (
                "num_train_epochs",
                sane,
                "a number above 0, at most 1,000,000",
            );
            check(&serde_json::json!({ "num_train_epochs": epochs }), &[rule])?;
            defaults.max_steps = steps_of(demonstrations, epochs, batch);
            steps_rule = Some(rule_of_steps(
                defaults.max_steps,
                demonstrations,
                epochs,
                batch,
            ));
        } else if epochs.is_some() {
            let expected = "either `num_train_epochs` or `max_steps`, not both";
            return Err(ConfigError::new("num_train_epochs", "", expected));
        }
        let steps: usize = steps.unwrap_or(defaults.max_steps);
        defaults.optimizer.warmup_steps = 50.min(steps / 10);
        let config: SftConfig = layers.resolve(defaults.clone())?;
        config.check().map_err(|e| layers.locate(e))?;
        if let Some(decoder) = &decoder {
            decoder.check()?;
        }
        let setup = |config| SftSetup {
            config,
            decoder: decoder.clone(),
            steps_rule: steps_rule.clone(),
        };
        Ok(Self {
            training: setup(config),
            files,
            run,
            defaults: setup(defaults),
        })
    }
}

fn steps_of(demonstrations: Option<usize>, epochs: f64, batch: usize) -> usize {
    let updates = |n: usize| (epochs * n as f64 / batch.max(1) as f64).ceil() as usize;
    demonstrations
        .map_or(MOST_STEPS, updates)
        .clamp(FEWEST_STEPS, MOST_STEPS)
}

fn rule_of_steps(steps: usize, demonstrations: Option<usize>, epochs: f64, batch: usize) -> String {
    let bounds = format!("at least {FEWEST_STEPS}, at most {MOST_STEPS}");
    let found = match demonstrations {
        Some(n) => format!("{steps}: {epochs} epochs of {n} demonstrations"),
        None => {
            format!("follows from the demonstrations, of which none are named: {epochs} epochs")
        }
    };
    format!("max_steps {found} in batches of {batch} ({bounds})")
}

impl RlSettings {
    /// Resolves the settings for a model. The length at which completions are cut and, for chat
    /// models, the learning rate are the model's where nobody sets them.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong, and when an algorithm is named beside a
    /// file that says which it is.
    pub fn resolve(
        layers: Layers,
        algorithm: Option<Algorithm>,
        language: &Language,
    ) -> Result<Self, ConfigError> {
        Self::resolve_with_rewards(layers, algorithm, language, &[])
    }

    /// Resolves the settings as [`resolve`](Self::resolve) does. They may also name the reward
    /// functions of `rewards`, which the program hands to
    /// [`Runner::with_rewards`](crate::Runner::with_rewards).
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn resolve_with_rewards(
        mut layers: Layers,
        algorithm: Option<Algorithm>,
        language: &Language,
        rewards: &[&str],
    ) -> Result<Self, ConfigError> {
        layers = layers.maps(&MAPS);
        let (files, run) = common(&mut layers)?;
        refuse(
            &layers,
            &files,
            &[
                ("demonstrations", &files.demonstrations),
                ("item_embeddings", &files.item_embeddings),
            ],
        )?;
        let decided = [
            "reward",
            "loss.importance_sampling_level",
            "loss.aggregation",
        ];
        let decided = decided.into_iter().find(|field| layers.has(field));
        if let (Some(algorithm), Some(field)) = (algorithm, decided) {
            let expected =
                format!("no such field beside --algorithm {algorithm}: leave out either");
            return Err(layers.locate(ConfigError::new(field, "", expected)));
        }
        let defaults = algorithm.unwrap_or_default().defaults();
        let mut adapted = defaults.clone();
        adapted.max_completion_length = language.format.max_new_tokens;
        if language.format.is_chat() {
            // The paper's for a pretrained model, or what suits an adapter.
            let rate = if layers.has("lora") { 1e-5 } else { 1e-6 };
            adapted.optimizer.learning_rate = rate;
        }
        let config: RlConfig = layers.resolve(adapted)?;
        let off = "a weight above 0; `kl = false` turns the penalty off";
        let beta = config.loss.kl.as_ref().map(|kl| kl.beta);
        check(&config, &[("loss.kl.beta", beta != Some(0.0), off)])
            .map_err(|e| layers.locate(e))?;
        config.check().map_err(|e| layers.locate(e))?;
        check_rewards(&config, &files, rewards).map_err(|e| layers.locate(e))?;
        Ok(Self {
            training: config,
            files,
            run,
            // A file that is printed is read without `--algorithm`.
            defaults: Algorithm::default().defaults(),
        })
    }
}

/// The tables that both trainings have.
fn common(layers: &mut Layers) -> Result<(Files, RunOptions), ConfigError> {
    let (files_layers, run_layers) = (layers.take("files")?, layers.take("run")?);
    let files = files_layers.resolve(Files::default())?;
    let run = run_layers.resolve(run_defaults())?;
    let least = "at least 1";
    let samples = ("validation_samples", files.validation_samples > 0, least);
    check(&files, &[samples]).map_err(|e| files_layers.locate(e))?;
    let rules = [
        ("keep_checkpoints", run.keep_checkpoints > 0, least),
        ("stop_after", run.stop_after != Some(0), least),
    ];
    check(&run, &rules).map_err(|e| run_layers.locate(e))?;
    let doctor = run.watch.doctor.check();
    doctor.map_err(|e| run_layers.locate(e.within("watch")))?;
    if let (Some(folder), Some(model)) = (&run.folder, &files.model) {
        let place = |path: &Path| path.canonicalize().ok();
        if place(folder).is_some() && place(folder) == place(model) {
            let expected = "another folder than the model's";
            let error = ConfigError::new("folder", folder.display(), expected);
            return Err(run_layers.locate(error));
        }
    }
    Ok((files, run))
}

/// How often a program writes, where nobody says otherwise.
fn run_defaults() -> RunOptions {
    RunOptions {
        checkpoint_every: 100,
        keep_checkpoints: 2,
        evaluate_every: 100,
        ..RunOptions::default()
    }
}

/// Refuses files that a training reads nothing of.
fn refuse(
    layers: &Layers,
    _: &Files,
    unused: &[(&str, &Option<PathBuf>)],
) -> Result<(), ConfigError> {
    match unused.iter().find(|(_, path)| path.is_some()) {
        None => Ok(()),
        Some((name, path)) => {
            let found = path.as_deref().unwrap_or(Path::new("")).display();
            let expected = "nothing: this training does not read it";
            Err(layers.locate(ConfigError::new(format!("files.{name}"), found, expected)))
        }
    }
}

/// Whether there is a reward function for each name, before anything is loaded.
fn check_rewards(config: &RlConfig, files: &Files, own: &[&str]) -> Result<(), ConfigError> {
    const OF_A_FILE: [&str; 2] = ["blocklist", "blocked"];
    const BUILT_IN: [&str; 4] = ["relevance", "novelty", "popularity", "diversity"];
    let named = config.named_rewards();
    let known = [&BUILT_IN, &OF_A_FILE[..], own].concat();
    let unknown = |(_, name): &&(String, &str)| !known.contains(name) && !name.starts_with(GENRE);
    if let Some((field, name)) = named.iter().find(unknown) {
        let expected = format!("some of {}, {GENRE}NAME", known.join(", "));
        let table = field.strip_suffix(&format!(".{name}"));
        return Err(ConfigError::new(table.unwrap_or(field), name, expected));
    }
    let of_file = named.iter().find(|(_, name)| OF_A_FILE.contains(name));
    match (&files.blocklist, of_file) {
        (None, Some((field, _))) => Err(ConfigError::new(field, "", "--blocklist FILE with it")),
        (Some(path), None) => {
            let expected = "a use for it: `blocklist = 1.0` under `[reward_weights]`, or \
                            `blocked = { at_most = 0.01 }` under `[reward_targets]`";
            let found = path.display();
            Err(ConfigError::new("files.blocklist", found, expected))
        }
        _ => Ok(()),
    }
}

impl<T: Serialize + Clone> Settings<T> {
    /// The settings as a TOML file, without what is for this process alone.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        let mut kept = self.clone();
        (kept.run.resume, kept.run.stop_after) = (false, None);
        let mut defaults = kept.clone();
        defaults.training = self.defaults.clone();
        to_toml(&kept, &defaults)
    }
}

impl SftSettings {
    /// What `--print-config` shows: [`to_toml`](Settings::to_toml), with a line on how the number
    /// of steps was found. Without demonstrations there is no number yet.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting cannot be written as TOML.
    pub fn printed(&self) -> Result<String, ConfigError> {
        let text = self.to_toml()?;
        let Some(rule) = &self.training.steps_rule else {
            return Ok(text);
        };
        let is_open = self.files.demonstrations.is_none();
        let warmup = |setup: &SftSetup| setup.config.optimizer.warmup_steps;
        // The warm-up follows from the steps, where nobody has set it.
        let follows = warmup(&self.training) == warmup(&self.defaults);
        let kept = text.lines().filter(|line| {
            let steps = line.starts_with("max_steps = ");
            !(is_open && (steps || follows && line.starts_with("warmup_steps = ")))
        });
        let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
        Ok(format!("# {rule}\n{kept}"))
    }
}

impl<T> Settings<T> {
    /// A file of `[files]` that must be named.
    ///
    /// # Errors
    /// [`ConfigError`] when neither a flag nor the config file names it.
    pub fn file<'a>(&self, name: &str, path: &'a Option<PathBuf>) -> Result<&'a Path, ConfigError> {
        path.as_deref().ok_or_else(|| {
            let flag = name.replace('_', "-");
            let expected = format!("--{flag}, or `{name}` under `[files]` of the config file");
            ConfigError::new(format!("files.{name}"), "", expected)
        })
    }

    /// The run's folder.
    ///
    /// # Errors
    /// [`ConfigError`] when neither a flag nor the config file names one.
    pub fn folder(&self) -> Result<&Path, ConfigError> {
        self.run.folder.as_deref().ok_or_else(|| {
            let expected = "--out FOLDER, or `folder` under `[run]` of the config file";
            ConfigError::new("run.folder", "", expected)
        })
    }
}

/// What worked for a decoder of some millions of parameters, or the paper's for a pretrained model.
fn sft_defaults(is_pretrained: bool) -> SftConfig {
    let optimizer = OptimizerConfig {
        learning_rate: 2e-3,
        adam_beta2: 0.98,
        weight_decay: 0.05,
        lr_scheduler_type: Schedule::Linear,
        ..OptimizerConfig::default()
    };
    let optimizer = match is_pretrained {
        false => optimizer,
        true => OptimizerConfig {
            learning_rate: 5e-5,
            lr_scheduler_type: Schedule::Cosine,
            ..OptimizerConfig::default()
        },
    };
    SftConfig {
        optimizer,
        ..SftConfig::default()
    }
}
