//! A training run from settings and data: what a training program does after it has read both.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_collective::ProcessGroup;
use convrec_config::ConfigError;
use convrec_core::files;
use convrec_core::hash::sha256;
use convrec_core::{Demonstration, Example, Item, ItemId};
use convrec_policy::{Policy, SaveOptions};
use convrec_retrieve::Fitted;
use convrec_text::{PromptFormat, TrieError, Years};
use convrec_watch::Observer;
use serde::Serialize;

use crate::data::{self, DataReport};
use crate::inputs::hash_of_path;
use crate::model::{Language, Model, ModelError, ModelSource, Prompts, TaskFormat};
use crate::plan::Plan;
use crate::reward::{BlockedReward, BlocklistReward, RewardFunction};
use crate::rl::{RankGrpoTrainer, RlConfig};
use crate::run::{RunOptions, Stop, TrainError, Validation};
use crate::sampler::Sampler;
use crate::settings::{Dtype, Files, RlSettings, SftSettings};
use crate::sft::{SftConfig, SftJob, train_sft};
use crate::task::{Sample, Task, TaskError, TokenPair};

/// Tokens that a list may be longer than the longest demonstration.
const SPARE_TOKENS: usize = 16;

/// A run cannot be set up, or did not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The model cannot be read, written or used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Data does not fit the catalog or the model.
    #[error("{path}: {source}")]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: Box<TaskError>,
    },
    /// Lists cannot be constrained to the catalog.
    #[error("{path}: {source}")]
    Catalog {
        /// The catalog's file.
        path: PathBuf,
        /// Why.
        source: Box<TrieError>,
    },
    /// Nothing of the data can be used.
    #[error(
        "{path}: nothing can be used: {report}; see docs/training.md, \"Data that cannot be used\""
    )]
    Unusable {
        /// The file or folder.
        path: PathBuf,
        /// What became of the data.
        report: Box<DataReport>,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The servers cannot sample.
    #[cfg(feature = "http")]
    #[error(transparent)]
    Sampler(#[from] crate::http_sampler::HttpSamplerError),
    /// The training failed, or was stopped and can be resumed ([`TrainError::Stopped`]).
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// What supervised fine-tuning reads.
#[derive(Debug, Clone)]
pub struct SftData {
    /// The catalog.
    pub catalog: Catalog,
    /// What is imitated.
    pub demonstrations: Vec<Demonstration>,
    /// What the policy is evaluated on while it trains; may be empty.
    pub validation: Vec<Example>,
}

/// What reinforcement learning reads.
#[derive(Debug, Clone)]
pub struct RlData {
    /// The catalog.
    pub catalog: Catalog,
    /// The conversations that are trained on.
    pub conversations: Vec<Example>,
    /// What the policy is evaluated on while it trains; may be empty.
    pub validation: Vec<Example>,
    /// Items that should not be recommended; may be empty.
    pub blocklist: Vec<Item>,
}

/// A run that is ready to start: its model is loaded, its data is checked, and what it depends on is
/// hashed.
pub struct Runner {
    job: Job,
    model: Model,
    task: Task,
    validation: Vec<Sample>,
    report: DataReport,
    validation_report: DataReport,
    facts: Vec<(&'static str, String)>,
    inputs: BTreeMap<String, String>,
    options: RunOptions,
    save: SaveOptions,
    devices: Vec<Device>,
}

enum Job {
    Sft {
        config: SftConfig,
        pairs: Vec<TokenPair>,
    },
    Rl {
        config: Box<RlConfig>,
        samples: Vec<Sample>,
        rewards: Vec<Box<dyn RewardFunction>>,
        sampler: Option<Box<dyn Sampler>>,
    },
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("facts", &self.facts)
            .field("report", &self.report)
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

impl Runner {
    /// Sets up supervised fine-tuning. The policy is trained on the first of the devices; the others
    /// take a share of each batch.
    ///
    /// N, the length of the lists, is that of the model's `task.json`; for a new decoder, or a chat
    /// model without that file, it is the length of the longest demonstration.
    ///
    /// A file that `settings` names under `files` decides by its hash whether a run may be resumed.
    /// Data of a file that is not named is hashed itself.
    ///
    /// # Errors
    /// [`RunError`] when a setting, the model or the data is wrong.
    ///
    /// # Panics
    /// When there is no device.
    pub fn sft(settings: SftSettings, data: SftData, devices: &[Device]) -> Result<Self, RunError> {
        let files = &settings.files;
        let catalog_file = named(&files.catalog, "the catalog");
        let data_file = named(&files.demonstrations, "the demonstrations");
        let catalog_hash = hash_of_data(&files.catalog, data.catalog.iter().map(|(_, item)| item))?;
        let data_hash = hash_of_data(&files.demonstrations, data.demonstrations.iter())?;
        let setup = &settings.training;
        let device = devices[0].clone().autodiff();
        let (loaded, mut language) = match &setup.decoder {
            None => {
                let model = Model::load(settings.file("model", &files.model)?, &device)?;
                (Some(model.policy), model.language)
            }
            Some(decoder) => {
                let tokenizer = decoder.tokenizer(&data.catalog, &data.demonstrations);
                let format = PromptFormat {
                    max_dialog_tokens: decoder.dialog_tokens,
                    ..PromptFormat::default()
                };
                let format = TaskFormat {
                    prompts: Prompts::Marked(format),
                    n_ranks: 1,
                    max_new_tokens: 1,
                };
                let tokenizer = tokenizer.map_err(ModelError::from)?;
                (None, Language::small(tokenizer, format))
            }
        };
        fit_lists(&mut language, &data)?;
        retrieve(&mut language, files)?;
        let task = language
            .task_for(data.catalog, files.unconstrained)
            .map_err(|error| of_catalog(catalog_file, error))?;
        let whole = setup.config.constrained;
        let (pairs, report) = data::pairs(&task, &data.demonstrations, whole)
            .map_err(|source| in_file(data_file, source))?;
        if pairs.is_empty() {
            return Err(unusable(data_file, report));
        }
        let policy = match (loaded, &setup.decoder) {
            (None, Some(decoder)) => {
                decoder.policy(&task, &data.demonstrations, setup.config.seed, &device)?
            }
            (Some(policy), _) => policy,
            (None, None) => unreachable!("a model is loaded where no decoder is made"),
        };
        let mut inputs = language.hashes()?;
        inputs.insert("catalog_sha256".into(), catalog_hash);
        inputs.extend(rules(files));
        inputs.insert("demonstrations_sha256".into(), data_hash);
        let shape = sha256(policy.config().to_hugging_face().as_bytes());
        inputs.insert("policy_config_sha256".into(), shape);
        let lists = format!(
            "{} items, constrained: {}",
            task.n_ranks(),
            task.is_constrained()
        );
        inputs.insert("lists".into(), lists);
        let vectors = setup
            .decoder
            .as_ref()
            .is_some_and(|decoder| decoder.item_vectors);
        inputs.insert("item_vectors".into(), vectors.to_string());
        if let Some(model) = &files.model {
            let hash = ModelSource::find(model)?.weights_hash()?;
            inputs.insert("model_sha256".into(), hash);
        }
        let mut facts = vec![
            ("parameters", policy.num_params().to_string()),
            ("demonstrations", report.to_string()),
            (
                "tokens in the vocabulary",
                language.tokenizer.vocab_size().to_string(),
            ),
            ("items in a list", task.n_ranks().to_string()),
        ];
        facts.extend(setup.steps_rule.clone().map(|rule| ("steps", rule)));
        let job = Job::Sft {
            config: setup.config.clone(),
            pairs,
        };
        let text = settings.to_toml()?;
        let save = save_options(settings.files.dtype, &policy);
        let runner = Self {
            job,
            model: Model { policy, language },
            task,
            validation: vec![],
            report,
            validation_report: DataReport::default(),
            facts,
            inputs,
            options: settings.run.clone(),
            save,
            devices: devices.to_vec(),
        };
        runner.with_text(text).with_validation(
            settings.files.validation.as_deref(),
            settings.files.validation_samples,
            &data.validation,
        )
    }

    /// Sets up reinforcement learning. The policy is trained on the first of the devices; the others
    /// take a share of the sampling and of each batch.
    ///
    /// # Errors
    /// [`RunError`] when a setting, the model or the data is wrong.
    ///
    /// # Panics
    /// When there is no device.
    pub fn rank_grpo(
        settings: RlSettings,
        data: RlData,
        devices: &[Device],
    ) -> Result<Self, RunError> {
        let files = &settings.files;
        let catalog_file = named(&files.catalog, "the catalog");
        let data_file = named(&files.conversations, "the conversations");
        let catalog_hash = hash_of_data(&files.catalog, data.catalog.iter().map(|(_, item)| item))?;
        let data_hash = hash_of_data(&files.conversations, data.conversations.iter())?;
        let model_name = settings.file("model", &files.model)?;
        let mut model = Model::load(model_name, &devices[0].clone().autodiff())?;
        retrieve(&mut model.language, files)?;
        let task = model
            .language
            .task_for(data.catalog, files.unconstrained)
            .map_err(|error| of_catalog(catalog_file, error))?;
        let (samples, report) = data::samples(&task, &data.conversations)
            .map_err(|source| in_file(data_file, source))?;
        if samples.is_empty() {
            return Err(unusable(data_file, report));
        }
        let mut inputs = model.language.hashes()?;
        inputs.insert("catalog_sha256".into(), catalog_hash);
        inputs.extend(rules(files));
        inputs.insert("conversations_sha256".into(), data_hash);
        let weights = ModelSource::find(model_name)?.weights_hash()?;
        inputs.insert("model_sha256".into(), weights);
        let mut rewards: Vec<Box<dyn RewardFunction>> = vec![];
        if let Some(path) = &files.blocklist {
            inputs.insert("blocklist_sha256".into(), hash_of_path(path)?);
            let blocked = blocked(&task, path, &data.blocklist)?;
            rewards.push(Box::new(BlocklistReward(blocked.clone())));
            rewards.push(Box::new(BlockedReward(blocked)));
        }
        let config = settings.training.clone();
        let completions = config.prompts_per_step * config.num_generations;
        let facts = vec![
            ("parameters", model.policy.num_params().to_string()),
            ("conversations", report.to_string()),
            ("completions a step", completions.to_string()),
            ("items in a list", task.n_ranks().to_string()),
        ];
        let sampler = sampler(files.sampler.as_deref(), &task, &settings.run.stop)?;
        let text = settings.to_toml()?;
        let save = save_options(settings.files.dtype, &model.policy);
        let runner = Self {
            job: Job::Rl {
                config: Box::new(config),
                samples,
                rewards,
                sampler,
            },
            model,
            task,
            validation: vec![],
            report,
            validation_report: DataReport::default(),
            facts,
            inputs,
            options: settings.run.clone(),
            save,
            devices: devices.to_vec(),
        };
        runner.with_text(text).with_validation(
            settings.files.validation.as_deref(),
            settings.files.validation_samples,
            &data.validation,
        )
    }

    fn with_text(mut self, text: String) -> Self {
        self.options.settings = Some(text);
        self
    }

    fn with_validation(
        mut self,
        path: Option<&Path>,
        most: usize,
        examples: &[Example],
    ) -> Result<Self, RunError> {
        let Some(path) = path else { return Ok(self) };
        let (samples, report) =
            data::samples(&self.task, examples).map_err(|source| in_file(path, source))?;
        if samples.is_empty() {
            return Err(unusable(path, report));
        }
        self.validation = data::evenly(samples, most);
        self.validation_report = report;
        // With other validation samples the log is another one.
        let hash = format!("{} {most}", hash_of_path(path)?);
        self.inputs.insert("validation_sha256".into(), hash);
        self.facts
            .push(("validation samples", self.validation.len().to_string()));
        if !report.is_clean() {
            self.facts.push(("validation file", report.to_string()));
        }
        Ok(self)
    }

    /// The same run with further reward functions, which `reward_weights` may name. Supervised
    /// fine-tuning ignores them.
    #[must_use]
    pub fn with_rewards(
        mut self,
        functions: impl IntoIterator<Item = Box<dyn RewardFunction>>,
    ) -> Self {
        if let Job::Rl { rewards, .. } = &mut self.job {
            rewards.extend(functions);
        }
        self
    }

    /// The same run with completions from elsewhere. Supervised fine-tuning ignores it.
    #[must_use]
    pub fn with_sampler(mut self, other: Box<dyn Sampler>) -> Self {
        if let Job::Rl { sampler, .. } = &mut self.job {
            *sampler = Some(other);
        }
        self
    }

    /// The same run, shared with other processes. All must have been set up with the same files
    /// and settings. The devices of each take a share of the work. A sampler of
    /// [`with_sampler`](Self::with_sampler) is asked by process 0 alone.
    #[must_use]
    pub fn with_group(mut self, group: ProcessGroup) -> Self {
        self.options.group = group;
        self
    }

    /// Numbers that describe the run, with their names, for people to read.
    #[must_use]
    pub fn facts(&self) -> &[(&'static str, String)] {
        &self.facts
    }

    /// How much of the training data is used.
    #[must_use]
    pub fn data_report(&self) -> DataReport {
        self.report
    }

    /// How much of the validation file can be used.
    #[must_use]
    pub fn validation_report(&self) -> DataReport {
        self.validation_report
    }

    /// A short name of the training: `SFT` or `RL`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.job {
            Job::Sft { .. } => "SFT",
            Job::Rl { .. } => "RL",
        }
    }

    /// The fields of a record that matter most.
    #[must_use]
    pub fn fields(&self) -> &'static [&'static str] {
        match self.job {
            Job::Sft { .. } => &["loss", "grad_norm"],
            Job::Rl { .. } => &["reward", "kl", "entropy", "frac_reward_zero_std"],
        }
    }

    /// Steps in all.
    #[must_use]
    pub fn total_steps(&self) -> usize {
        match &self.job {
            Job::Sft { config, .. } => config.max_steps,
            Job::Rl { config, .. } => config.max_steps,
        }
    }

    /// Where and how often the run writes.
    #[must_use]
    pub fn options(&self) -> &RunOptions {
        &self.options
    }

    /// What stops the run after the step it is at.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.options.stop.clone()
    }

    /// Takes three steps in memory, and says what the whole run would take.
    ///
    /// # Errors
    /// [`RunError::Config`] when servers sample, which would get new weights; [`RunError::Train`]
    /// when a step fails.
    pub fn plan(mut self) -> Result<Plan, RunError> {
        if let Job::Rl {
            sampler: Some(sampler),
            ..
        } = &self.job
            && !sampler.is_trainer()
        {
            let expected = "none with --dry-run, which would load weights into the servers";
            return Err(ConfigError::new("files.sampler", "servers", expected).into());
        }
        let (facts, total) = (std::mem::take(&mut self.facts), self.total_steps());
        Plan::measure(facts, total, &self.options.clone(), |options, observer| {
            self.train(options, observer).map(|_| ())
        })
    }

    /// Trains, and writes the model into the run's folder, which is returned. Of several processes
    /// the first one writes.
    ///
    /// # Errors
    /// [`RunError::Train`] with [`TrainError::Stopped`] when the run was stopped and can be resumed;
    /// another error when it failed.
    pub fn run(self, observer: &mut dyn Observer) -> Result<PathBuf, RunError> {
        let missing = || {
            let expected = "--out FOLDER, or `folder` under `[run]` of the config file";
            ConfigError::new("run.folder", "", expected)
        };
        let folder = self.options.folder.clone().ok_or_else(missing)?;
        let writes = self.options.group.is_first();
        if writes {
            check_folder(&folder)?;
        }
        let (options, save) = (self.options.clone(), self.save);
        let model = self.train(&options, observer)?;
        if writes {
            model.save_as(&folder, &save)?;
        }
        Ok(folder)
    }

    fn train(self, options: &RunOptions, observer: &mut dyn Observer) -> Result<Model, TrainError> {
        let Model { policy, language } = self.model;
        let base = policy.base_name().map(str::to_string);
        let validation = Validation {
            task: &self.task,
            samples: &self.validation,
            decoding: language.format.greedy(),
        };
        let task = &self.task;
        let others = &self.devices[1..];
        let policy = match self.job {
            Job::Sft { config, pairs } => {
                let job = SftJob {
                    task,
                    data: &pairs,
                    validation,
                    devices: others,
                };
                train_sft(policy, job, &config, options, self.inputs, observer)?
            }
            Job::Rl {
                config,
                samples,
                rewards,
                sampler,
            } => {
                let mut sampler = sampler;
                let mut trainer = RankGrpoTrainer::new(policy, task, &samples)
                    .config(*config)
                    .reward_functions(rewards)
                    .devices(others)
                    .validation(validation)
                    .run(options.clone())
                    .inputs(self.inputs)
                    .observer(observer);
                if let Some(sampler) = &mut sampler {
                    trainer = trainer.sampler(sampler.as_mut());
                }
                trainer.train()?
            }
        };
        // A resumed run's policy has the checkpoint's name.
        let policy = match base {
            Some(base) => policy.with_base_name(base),
            None => policy,
        };
        Ok(Model { policy, language })
    }
}

/// N and the longest list, where the model does not say them; and whether items have years.
fn fit_lists(language: &mut Language, data: &SftData) -> Result<(), ModelError> {
    if data.catalog.iter().any(|(_, item)| item.year.is_none()) {
        language.format.list().years = Years::Optional;
    }
    let longest = data
        .demonstrations
        .iter()
        .map(|demonstration| demonstration.list.len())
        .max();
    if !language.has_task() {
        language.format.n_ranks = longest.unwrap_or(1).max(1);
    }
    let n = language.format.n_ranks;
    let prompter = language.prompter()?;
    let mut tokens = 1;
    for demonstration in &data.demonstrations {
        let list = &demonstration.list[..demonstration.list.len().min(n)];
        tokens = tokens.max(prompter.completion(list)?.len());
    }
    let needed = tokens + SPARE_TOKENS;
    let stated = language.format.max_new_tokens;
    language.format.max_new_tokens = if language.has_task() {
        stated.max(needed)
    } else {
        needed
    };
    Ok(())
}

/// Gives the model the retriever that the settings name.
fn retrieve(language: &mut Language, files: &Files) -> Result<(), RunError> {
    if let Some(path) = &files.retriever {
        if files.unconstrained {
            let expected = "none with --unconstrained, as only constrained lists have candidates";
            return Err(ConfigError::new("files.retriever", path.display(), expected).into());
        }
        language.retriever = Some(Arc::new(Fitted::read(path).map_err(ModelError::from)?));
    }
    Ok(())
}

/// The file that data came from, as errors name it.
fn named<'a>(file: &'a Option<PathBuf>, without: &'a str) -> &'a Path {
    file.as_deref().unwrap_or(Path::new(without))
}

/// The hash of the file that data came from, or of the data where a program made it.
fn hash_of_data<'a, T: Serialize + 'a>(
    file: &Option<PathBuf>,
    rows: impl Iterator<Item = &'a T>,
) -> Result<String, files::Error> {
    if let Some(path) = file {
        return hash_of_path(path);
    }
    // A hash of hashes: rows need not be in memory twice.
    let row = |row: &T| sha256(&serde_json::to_vec(row).expect("plain data can be written"));
    Ok(sha256(rows.map(row).collect::<String>().as_bytes()))
}

fn blocked(task: &Task, path: &Path, items: &[Item]) -> Result<HashSet<ItemId>, RunError> {
    let ids = items.iter().map(|item| {
        task.catalog().find(item).ok_or_else(|| {
            let expected = format!("items of the catalog in {}", path.display());
            RunError::Config(ConfigError::new(
                "files.blocklist",
                format!("\"{item}\""),
                expected,
            ))
        })
    });
    ids.collect()
}

#[cfg(feature = "http")]
fn sampler(
    path: Option<&Path>,
    task: &Task,
    stop: &Stop,
) -> Result<Option<Box<dyn Sampler>>, RunError> {
    use crate::http_sampler::{HttpSampler, SamplerSettings};
    let Some(path) = path else { return Ok(None) };
    if task.has_retriever() {
        let expected = "none, as servers do not get the candidates of the model's retriever";
        return Err(ConfigError::new("files.sampler", path.display(), expected).into());
    }
    let settings = SamplerSettings::read(path)?;
    Ok(Some(Box::new(HttpSampler::new(
        settings,
        task,
        &stop.flag(),
    )?)))
}

#[cfg(not(feature = "http"))]
fn sampler(path: Option<&Path>, _: &Task, _: &Stop) -> Result<Option<Box<dyn Sampler>>, RunError> {
    match path {
        None => Ok(None),
        Some(path) => {
            let expected = "none: servers sample only with the feature `http`";
            Err(ConfigError::new("files.sampler", path.display(), expected).into())
        }
    }
}

/// The model is written in the type that it came in, unless a setting says otherwise. A resumed run
/// holds a checkpoint's policy, so this is asked before.
fn save_options(dtype: Option<Dtype>, policy: &Policy) -> SaveOptions {
    let loaded = SaveOptions::as_loaded(policy);
    SaveOptions {
        dtype: dtype.map_or(loaded.dtype, Into::into),
        ..loaded
    }
}

/// Whether files can be written into a folder, which is made where it is not there.
fn check_folder(folder: &Path) -> Result<(), files::Error> {
    let probe = folder.join(format!("{}probe", files::ASIDE));
    let write = || {
        fs::create_dir_all(folder)?;
        fs::write(&probe, "")?;
        fs::remove_file(&probe)
    };
    write().map_err(|e| files::Error::new("write into", folder, e))
}

/// What besides the files decides which rows and items there are.
fn rules(files: &Files) -> Vec<(String, String)> {
    let set = [
        ("skip_bad", files.skip_bad),
        ("merge_twins", files.merge_twins),
    ];
    let set = set.into_iter().filter(|(_, is_set)| *is_set);
    set.map(|(name, _)| (name.to_string(), "true".to_string()))
        .collect()
}

fn of_catalog(path: &Path, error: ModelError) -> RunError {
    match error {
        ModelError::Trie(source) => RunError::Catalog {
            path: path.into(),
            source: Box::new(source),
        },
        error => error.into(),
    }
}

fn in_file(path: &Path, source: TaskError) -> RunError {
    RunError::Data {
        path: path.into(),
        source: Box::new(source),
    }
}

fn unusable(path: &Path, report: DataReport) -> RunError {
    RunError::Unusable {
        path: path.into(),
        report: Box::new(report),
    }
}
