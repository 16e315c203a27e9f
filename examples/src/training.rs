//! What the training binaries ask for alike: files, the run, checkpoints, evaluation while
//! training.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use convrec_core::Example;
use convrec_core::files::{self, write_atomic};
use convrec_core::hash::sha256_file;
use convrec_policy::{LoraConfig, Policy, Projection};
use convrec_train::{Observer, RunOptions, Sample, StepView, Stop, Task, TrainError};
use convrec_watch::tui::{Board, Screen};
use serde::{Deserialize, Serialize};

use crate::data::read_examples;
use crate::settings::Given;
use crate::{Paused, plan, settings, show};

/// Options of every training run.
#[derive(Debug, Args)]
pub struct TrainingOptions {
    /// Catalog: JSON lines, CSV, or a pickled list of titles and years.
    #[arg(long)]
    pub catalog: Option<PathBuf>,
    /// Conversations to evaluate on while training, JSON lines.
    #[arg(long)]
    pub validation: Option<PathBuf>,
    /// At most so many of them, evenly spread. [default: 300]
    #[arg(long, value_parser = at_least_one)]
    pub validation_samples: Option<usize>,
    /// The run's folder: log, completions, checkpoints, and at the end the trained model.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Go on from the newest checkpoint in the folder; begin where there is none.
    #[arg(long)]
    pub resume: bool,
    /// Let lists be whatever the policy writes, in rollouts and evaluations. Without it only lists
    /// of N different unseen catalog items can be written.
    #[arg(long)]
    pub unconstrained: bool,
    /// All settings, TOML, as `--print-config` writes them: what the file leaves out keeps its
    /// default, and flags go before it.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Print all settings as TOML, with what the config file and the flags say, and do nothing
    /// else.
    #[arg(long)]
    pub print_config: bool,
    /// Load everything, take three steps in memory, and print what the run would take: tokens,
    /// time, memory.
    #[arg(long, conflicts_with = "print_config")]
    pub dry_run: bool,
    /// A full-screen view of the run in place of a progress bar; q leaves it.
    #[arg(long)]
    pub view: bool,
    /// Write event files for TensorBoard into the folder.
    #[arg(long)]
    pub tensorboard: bool,
    /// Stop after so many steps, with a checkpoint; `--resume` goes on.
    #[arg(long, value_parser = at_least_one)]
    pub stop_after: Option<usize>,
    /// Steps: updates of SFT, batches of rollouts of RL.
    #[arg(long)]
    pub max_steps: Option<usize>,
    /// The largest learning rate.
    #[arg(long, allow_negative_numbers = true)]
    pub learning_rate: Option<f64>,
    /// Of everything random.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Train low-rank adapters of this rank, and leave the weights as they are. The trained model
    /// has them merged; they alone lie in its folder `adapter`.
    #[arg(long)]
    pub lora_rank: Option<usize>,
    /// What adapters add is scaled by alpha / rank.
    #[arg(long, allow_negative_numbers = true)]
    pub lora_alpha: Option<f64>,
    /// The projections with an adapter: some of
    /// q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj.
    #[arg(long, value_delimiter = ',')]
    pub lora_targets: Option<Vec<Projection>>,
    /// Steps between evaluations; 0 is never. [default: 100]
    #[arg(long)]
    pub evaluate_every: Option<usize>,
    /// Steps between checkpoints; 0 is only at the end. [default: 100]
    #[arg(long)]
    pub checkpoint_every: Option<usize>,
}

/// What a run reads, `[files]` in a config file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Files {
    /// The catalog.
    pub catalog: Option<PathBuf>,
    /// The model's folder.
    pub model: Option<PathBuf>,
    /// Demonstrations (SFT).
    pub demonstrations: Option<PathBuf>,
    /// Conversations to train on (RL).
    pub conversations: Option<PathBuf>,
    /// Conversations to evaluate on.
    pub validation: Option<PathBuf>,
    /// At most so many of them.
    pub validation_samples: usize,
    /// Items that should not be recommended (RL).
    pub blocklist: Option<PathBuf>,
    /// The servers that sample (RL).
    pub sampler: Option<PathBuf>,
    /// Whether lists are unconstrained.
    pub unconstrained: bool,
}

/// All settings of a run: one TOML file, the training's own fields at its top.
#[derive(Debug, Clone, Serialize)]
pub struct Settings<T> {
    /// The training's.
    #[serde(flatten)]
    pub training: T,
    /// What is read.
    pub files: Files,
    /// Where and how often is written, and when the doctor stops it.
    pub run: RunOptions,
    /// What the config file alone said.
    #[serde(skip)]
    given: toml::Table,
}

/// The fields that flags of every training set: steps, learning rate, seed and adapter.
pub type Common<'a> = (
    &'a mut usize,
    &'a mut f64,
    &'a mut u64,
    &'a mut Option<LoraConfig>,
);

impl TrainingOptions {
    /// The settings: defaults, what the config file says, what the flags say. `training` reads the
    /// training's own, and `common` names the fields of the flags in them.
    ///
    /// # Errors
    /// When the config file cannot be read or a field is wrong.
    pub fn settings<T: Serialize>(
        &self,
        training: impl FnOnce(Given, &Files) -> Result<T, Box<dyn Error>>,
        common: impl FnOnce(&mut T) -> Common<'_>,
    ) -> Result<Settings<T>, Box<dyn Error>> {
        let run = RunOptions {
            checkpoint_every: 100,
            keep_checkpoints: 2,
            evaluate_every: 100,
            ..RunOptions::default()
        };
        let files = Files {
            validation_samples: 300,
            ..Files::default()
        };
        let given = self
            .config
            .as_deref()
            .map_or(Ok(toml::Table::new()), settings::table)?;
        let mut parts = Given::new(
            self.config.as_deref().unwrap_or(Path::new("")),
            given.clone(),
        );
        let (files, run) = (parts.part("files", files)?, parts.part("run", run)?);
        let mut settings = Settings {
            training: training(parts, &files)?,
            files,
            run,
            given,
        };
        let (steps, learning_rate, seed, lora) = common(&mut settings.training);
        settings::set(steps, self.max_steps);
        settings::set(learning_rate, self.learning_rate);
        settings::set(seed, self.seed);
        if self.lora_rank.is_some() || self.lora_alpha.is_some() || self.lora_targets.is_some() {
            let lora = lora.get_or_insert_default();
            settings::set(&mut lora.rank, self.lora_rank);
            settings::set(&mut lora.alpha, self.lora_alpha);
            settings::set(&mut lora.targets, self.lora_targets.clone());
        }
        self.set_files(&mut settings.files);
        self.set_run(&mut settings.run);
        settings.check()?;
        Ok(settings)
    }

    fn set_files(&self, files: &mut Files) {
        settings::set_some(&mut files.catalog, &self.catalog);
        settings::set_some(&mut files.validation, &self.validation);
        settings::set(&mut files.validation_samples, self.validation_samples);
        files.unconstrained |= self.unconstrained;
    }

    fn set_run(&self, run: &mut RunOptions) {
        settings::set_some(&mut run.folder, &self.out);
        settings::set(&mut run.evaluate_every, self.evaluate_every);
        settings::set(&mut run.checkpoint_every, self.checkpoint_every);
        settings::set_some(&mut run.stop_after, &self.stop_after);
        run.resume |= self.resume;
        run.watch.tensorboard |= self.tensorboard;
    }
}

impl<T: Serialize> Settings<T> {
    /// What is not the training's own to check.
    fn check(&self) -> Result<(), String> {
        let rules = [
            (
                "files.validation_samples",
                self.files.validation_samples > 0,
            ),
            ("run.keep_checkpoints", self.run.keep_checkpoints > 0),
            ("run.stop_after", self.run.stop_after != Some(0)),
        ];
        let wrong = rules.iter().find(|(_, holds)| !holds);
        wrong.map_or(Ok(()), |(field, _)| {
            Err(format!("config, field `{field}`: expected at least 1"))
        })?;
        let doctor = self.run.watch.doctor.check();
        doctor.map_err(|e| e.within("run.watch").to_string())
    }

    /// What else a run depends on: with other validation samples its log is another.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn validation_hash(&self) -> Result<BTreeMap<String, String>, files::Error> {
        let Some(path) = &self.files.validation else {
            return Ok(BTreeMap::new());
        };
        let hash = format!("{} {}", sha256_file(path)?, self.files.validation_samples);
        Ok(BTreeMap::from([("the validation samples".into(), hash)]))
    }

    /// A file of `[files]` that must be named.
    ///
    /// # Errors
    /// When neither the flag nor the config file names one that is there.
    pub fn file<'a>(&self, name: &str, path: &'a Option<PathBuf>) -> Result<&'a Path, String> {
        let flag = name.replace('_', "-");
        let path = path.as_deref().ok_or_else(|| {
            format!(
                "no {name}: expected --{flag} FILE, or `{name}` under `[files]` of the config file"
            )
        })?;
        if path.exists() {
            Ok(path)
        } else {
            Err(format!(
                "--{flag} {}: there is no such file",
                path.display()
            ))
        }
    }

    /// The run's folder.
    ///
    /// # Errors
    /// When neither the flag nor the config file names one, or it is the model's.
    pub fn folder(&self) -> Result<&Path, String> {
        let named = self.run.folder.as_deref();
        let folder = named
            .ok_or("no folder for the run: expected --out FOLDER, or `folder` under `[run]`")?;
        let place = |path: &Path| path.canonicalize().ok();
        let model = self.files.model.as_deref().and_then(place);
        if model.is_some() && model == place(folder) {
            return Err(format!(
                "--out {}: the model is in this folder; expected another one",
                folder.display()
            ));
        }
        Ok(folder)
    }

    /// Refuses files that this training reads nothing of.
    ///
    /// # Errors
    /// When one of them is named.
    pub fn refuse(&self, unused: &[(&str, &Option<PathBuf>)]) -> Result<(), String> {
        let named = unused.iter().find(|(_, path)| path.is_some());
        named.map_or(Ok(()), |(name, _)| {
            Err(format!(
                "config, field `files.{name}`: this training does not read it"
            ))
        })
    }

    /// Whether the config file sets the field at this path.
    pub fn is_given(&self, path: &[&str]) -> bool {
        let inner = |table: Option<&toml::Value>, name: &&str| table?.get(*name).cloned();
        let first = path.first().and_then(|name| self.given.get(*name)).cloned();
        path.iter()
            .skip(1)
            .fold(first, |table, name| inner(table.as_ref(), name))
            .is_some()
    }

    /// As a TOML file, without what is for this process alone.
    ///
    /// # Errors
    /// When a setting cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, Box<dyn Error>>
    where
        T: Clone,
    {
        let mut kept = self.clone();
        (kept.run.resume, kept.run.stop_after) = (false, None);
        Ok(toml::to_string(&kept)?)
    }

    /// The validation samples.
    ///
    /// # Errors
    /// When the file cannot be read or a sample does not fit the task.
    pub fn validation(&self, task: &Task) -> Result<Vec<Sample>, Box<dyn Error>> {
        if self.files.validation.is_none() {
            return Ok(vec![]);
        }
        let samples = read_samples(task, self.file("validation", &self.files.validation)?)?;
        let stride = samples
            .len()
            .div_ceil(self.files.validation_samples.max(1))
            .max(1);
        Ok(samples.into_iter().step_by(stride).collect())
    }
}

/// What a person sees of a run.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// Of the progress bar.
    pub name: &'a str,
    /// The record's fields in it: the numbers that matter.
    pub fields: &'a [&'a str],
    /// Steps in all.
    pub steps: usize,
}

/// Trains as the options ask: for real, with its settings kept in the folder and an end by Ctrl-C
/// that loses nothing, or dry, where nothing is returned. `facts` begin a plan.
///
/// # Errors
/// When training fails or is stopped.
pub fn train<T: Serialize + Clone>(
    options: &TrainingOptions,
    settings: &Settings<T>,
    look: Look<'_>,
    facts: &[(&str, String)],
    stop: &Stop,
    train: impl FnOnce(&RunOptions, &mut dyn Observer) -> Result<Policy, TrainError>,
) -> Result<Option<Policy>, Box<dyn Error>> {
    if options.dry_run {
        plan::print(&settings.run, look.steps, facts, train)?;
        return Ok(None);
    }
    let folder = settings.folder()?;
    crate::check_folder(folder)?;
    let run = RunOptions {
        stop: stop.clone(),
        ..settings.run.clone()
    };
    let stop = stop.clone();
    // Twice ends at once.
    ctrlc::set_handler(move || {
        if stop.ask() {
            std::process::exit(130)
        }
        eprintln!("stopping after this step, with a checkpoint; once more ends at once");
    })?;
    if !convrec_watch::log::exists(folder)? {
        let text = settings.to_toml()?;
        write_atomic(folder.join("config.toml"), |out| {
            out.write_all(text.as_bytes())
        })?;
    }
    let screen = match options.view {
        true => Screen::open(Board::new(look.name, run.watch.doctor.clone())?)?,
        false => None,
    };
    let trained = match screen {
        Some(mut screen) => train(&run, &mut screen),
        None => {
            let bar = show::bar(look.name, look.steps);
            let trained = train(&run, &mut |view: &StepView<'_>| {
                show::step(&bar, view, look.fields);
                show::evaluation(&bar, view.record);
            });
            bar.abandon();
            trained
        }
    };
    match trained {
        Ok(policy) => Ok(Some(policy)),
        Err(stopped @ TrainError::Stopped { .. }) => {
            Err(Paused(format!("{stopped}, by --resume")).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The examples of the file at `path` in ids.
///
/// # Errors
/// When an example does not fit the task; the error names the file.
pub fn samples(
    task: &Task,
    examples: &[Example],
    path: &Path,
) -> Result<Vec<Sample>, Box<dyn Error>> {
    let samples = examples
        .iter()
        .map(|example| task.sample(example))
        .collect::<Result<_, _>>();
    samples.map_err(|e| format!("{}: {e}", path.display()).into())
}

/// [`read_examples`] and [`samples`] in one.
///
/// # Errors
/// Theirs.
pub fn read_samples(task: &Task, path: &Path) -> Result<Vec<Sample>, Box<dyn Error>> {
    samples(task, &read_examples(task.catalog(), path)?, path)
}

/// A count that may not be 0.
///
/// # Errors
/// When it is, or is no number.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected at least 1".into()),
        Ok(count) => Ok(count),
        Err(_) => Err("expected a whole number from 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use convrec_train::{DynamicSampling, RlConfig, Schedule};

    use super::*;

    fn options(config: Option<PathBuf>) -> TrainingOptions {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            options: TrainingOptions,
        }
        let Alone { mut options } =
            <Alone as clap::Parser>::parse_from(["train", "--seed", "9", "--out", "runs/x"]);
        options.config = config;
        options
    }

    fn common(c: &mut RlConfig) -> Common<'_> {
        (
            &mut c.max_steps,
            &mut c.optimizer.learning_rate,
            &mut c.seed,
            &mut c.lora,
        )
    }

    /// The file that the documentation shows.
    #[test]
    fn the_documented_file_is_read_as_a_whole() {
        let page = include_str!("../../docs/training.md");
        let file = page
            .split("```toml\n")
            .nth(1)
            .unwrap()
            .split("```")
            .next()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, file).unwrap();
        let settings = options(Some(path))
            .settings(|given, _| given.rest(RlConfig::default()), common)
            .unwrap();
        settings.training.check().unwrap();
        let dynamic = Some(DynamicSampling {
            max_batches: 4,
            min_ranks: 1,
        });
        assert_eq!(
            (
                settings.training.max_steps,
                settings.training.dynamic_sampling
            ),
            (200, dynamic)
        );
        assert_eq!(
            settings.training.optimizer.lr_scheduler_type,
            Schedule::Step {
                after: 300,
                factor: 0.1
            }
        );
        // Flags go before the file; what neither says keeps its default.
        assert_eq!(settings.training.seed, 9);
        assert_eq!(settings.folder().unwrap(), Path::new("runs/x"));
        assert_eq!(
            (settings.run.checkpoint_every, settings.run.keep_checkpoints),
            (50, 2)
        );
        assert!(
            settings.is_given(&["optimizer", "learning_rate"])
                && !settings.is_given(&["optimizer", "adam_beta1"])
        );
    }

    /// What is written is what is read back.
    #[test]
    fn settings_go_through_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        let written = options(None)
            .settings(
                |given, _| given.rest(RlConfig::default().printable()),
                common,
            )
            .unwrap();
        std::fs::write(&path, written.to_toml().unwrap()).unwrap();
        let read = options(Some(path))
            .settings(|given, _| given.rest(RlConfig::default()), common)
            .unwrap();
        assert_eq!(
            (&read.training, &read.files, &read.run.watch),
            (&written.training, &written.files, &written.run.watch)
        );
    }

    #[test]
    fn wrong_fields_of_every_table_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        let error = |text: &str| {
            std::fs::write(&path, text).unwrap();
            options(Some(path.clone()))
                .settings(|given, _| given.rest(RlConfig::default()), common)
                .unwrap_err()
                .to_string()
        };
        assert!(error("stepz = 1").contains("unknown field `stepz`"));
        assert!(error("[files]\ncatalogue = \"x\"").contains("`files.catalogue`"));
        assert!(error("[run.watch.doctor]\nwindow = \"x\"").contains("`run.watch.doctor.window`"));
        assert!(error("run = 3").contains("expected a table, `[run]`"));
    }
}
