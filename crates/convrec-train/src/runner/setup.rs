//! A run from settings and data.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use convrec_catalog::Embeddings;
use convrec_config::ConfigError;
use convrec_core::files;
use convrec_core::hash::sha256;
use convrec_core::{Example, Item, ItemId};
use convrec_policy::{Policy, SaveOptions};
use convrec_retrieve::Fitted;
use convrec_text::{PromptFormat, Years};
use serde::Serialize;

use crate::data::{self, DataReport};
use crate::decoder::Decoder;
use crate::inputs::hash_of_path;
use crate::model::{Language, Model, ModelError, ModelSource, Prompts, TaskFormat};
use crate::reward::{BlockedReward, BlocklistReward, RewardFunction};
use crate::run::{RunOptions, Stop};
use crate::sampler::Sampler;
use crate::settings::{Dtype, Files, RlSettings, Settings, SftSettings};
use crate::task::Task;

use super::error::{RunError, in_file, of_catalog, unusable};
use super::input::{RlData, SftData};
use super::{Job, Runner};

/// Tokens that a list may be longer than the longest demonstration.
const SPARE_TOKENS: usize = 16;

impl Runner {
    /// Sets up supervised fine-tuning. The policy is trained on the first of the devices; the
    /// others take a share of each batch.
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
                let embeddings = item_embeddings(files, data.catalog.len())?;
                let (catalog, demonstrations) = (&data.catalog, &data.demonstrations);
                let (embeddings, seed) = (embeddings.as_ref(), setup.config.seed);
                let ids = decoder.semantic_ids(catalog, demonstrations, embeddings, seed);
                let tokenizer = decoder.tokenizer(catalog, demonstrations, ids.as_ref());
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
                let mut language = Language::small(tokenizer, format);
                language.semantic_ids = ids.map(Arc::new);
                (None, language)
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
        facts.extend(codes(&language, setup.decoder.as_ref()));
        facts.extend(setup.steps_rule.clone().map(|rule| ("steps", rule)));
        let job = Job::Sft {
            config: setup.config.clone(),
            pairs,
        };
        let parts = Parts {
            job,
            model: Model { policy, language },
            task,
            report,
            facts,
            inputs,
        };
        parts.runner(&settings, &data.validation, devices)
    }

    /// Sets up reinforcement learning. The policy is trained on the first of the devices; the
    /// others take a share of the sampling and of each batch.
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
        let parts = Parts {
            job: Job::Rl {
                config: Box::new(config),
                samples,
                rewards,
                sampler,
            },
            model,
            task,
            report,
            facts,
            inputs,
        };
        parts.runner(&settings, &data.validation, devices)
    }

    fn with_validation(mut self, files: &Files, examples: &[Example]) -> Result<Self, RunError> {
        let Some(path) = files.validation.as_deref() else {
            return Ok(self);
        };
        let most = files.validation_samples;
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
}

/// The parts of a run that each training makes in its own way.
struct Parts {
    job: Job,
    model: Model,
    task: Task,
    report: DataReport,
    facts: Vec<(&'static str, String)>,
    inputs: BTreeMap<String, String>,
}

impl Parts {
    fn runner<T: Serialize + Clone>(
        self,
        settings: &Settings<T>,
        validation: &[Example],
        devices: &[Device],
    ) -> Result<Runner, RunError> {
        let Self {
            job,
            model,
            task,
            report,
            facts,
            inputs,
        } = self;
        let options = RunOptions {
            settings: Some(settings.to_toml()?),
            ..settings.run.clone()
        };
        let runner = Runner {
            save: save_options(settings.files.dtype, &model.policy),
            job,
            model,
            task,
            validation: vec![],
            report,
            validation_report: DataReport::default(),
            facts,
            inputs,
            options,
            devices: devices.to_vec(),
        };
        runner.with_validation(&settings.files, validation)
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

/// The embeddings that the settings name, one for each item.
fn item_embeddings(files: &Files, items: usize) -> Result<Option<Embeddings>, ConfigError> {
    let Some(path) = &files.item_embeddings else {
        return Ok(None);
    };
    let other = |problem: String| {
        let expected = format!(
            "a safetensors file with one f32 matrix `embeddings`, whose rows have length 1 and \
             are those of the {items} items of the catalog, in its order; {problem}"
        );
        ConfigError::new("files.item_embeddings", path.display(), expected)
    };
    let embeddings = Embeddings::open(path).map_err(|e| other(e.to_string()))?;
    match embeddings.rows().nrows() {
        rows if rows == items => Ok(Some(embeddings)),
        rows => Err(other(format!("it has {rows} rows"))),
    }
}

/// How items are written, where it is by semantic ids.
fn codes(language: &Language, decoder: Option<&Decoder>) -> Option<(&'static str, String)> {
    let (ids, levels) = (language.semantic_ids.as_ref()?, decoder?.semantic_levels);
    let longer = ids.iter().filter(|(_, codes)| codes.len() > levels).count();
    let told = format!(
        "{} tokens for {} items, {levels} an item; {longer} items have further ones, as they would \
         be written alike",
        ids.tokens().len(),
        ids.len()
    );
    Some(("semantic ids", told))
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
