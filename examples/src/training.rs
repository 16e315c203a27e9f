//! What the training binaries ask for alike: files, seed, checkpoints, evaluation while training.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use convrec_core::Example;
use convrec_policy::{LoraConfig, Projection};
use convrec_train::{RunOptions, Sample, Task};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::read_examples;
use crate::settings;

/// Options of every training run.
#[derive(Debug, Args)]
pub struct TrainingOptions {
    /// Catalog: JSON lines, CSV, or a pickled list of titles and years.
    #[arg(long)]
    pub catalog: PathBuf,
    /// Conversations to evaluate on while training, JSON lines.
    #[arg(long)]
    pub validation: Option<PathBuf>,
    /// At most so many of them, evenly spread.
    #[arg(long, default_value_t = 300, value_parser = at_least_one)]
    pub validation_samples: usize,
    /// The run's folder: log, checkpoints, and at the end the trained model.
    #[arg(long)]
    pub out: PathBuf,
    /// Go on from the newest checkpoint in the folder; begin where there is none.
    #[arg(long)]
    pub resume: bool,
    /// Let lists be whatever the policy writes, in rollouts and evaluations. Without it only lists of N different unseen
    /// catalog items can be written.
    #[arg(long)]
    pub free: bool,
    /// Settings of the training, TOML: what it leaves out keeps its default, and flags go before it. `bf16` and
    /// `gradient_checkpointing` are among them, for GPUs and for little memory.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Print all settings as TOML, with what the config file and the flags say, and do nothing else.
    #[arg(long)]
    pub print_config: bool,
    /// Steps: updates of SFT, batches of rollouts of RL.
    #[arg(long)]
    pub steps: Option<usize>,
    /// The largest learning rate.
    #[arg(long, allow_negative_numbers = true)]
    pub learning_rate: Option<f64>,
    /// Of everything random.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Train low-rank adapters of this rank, and leave the weights as they are. The trained model has them merged; they
    /// alone lie in its folder `adapter`.
    #[arg(long)]
    pub lora_rank: Option<usize>,
    /// What adapters add is scaled by alpha / rank.
    #[arg(long, allow_negative_numbers = true)]
    pub lora_alpha: Option<f64>,
    /// The projections with an adapter: some of q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj.
    #[arg(long, value_delimiter = ',')]
    pub lora_targets: Option<Vec<Projection>>,
    /// Steps between evaluations; 0 is never.
    #[arg(long, default_value_t = 100)]
    pub evaluate_every: usize,
    /// Steps between checkpoints; 0 is only at the end.
    #[arg(long, default_value_t = 100)]
    pub checkpoint_every: usize,
}

impl TrainingOptions {
    /// The settings: `defaults`, what the config file says, what the flags say. `common` names the fields of the flags.
    ///
    /// # Errors
    /// When the config file cannot be read or a field is wrong.
    pub fn settings<T: DeserializeOwned + Serialize>(
        &self,
        defaults: T,
        common: impl FnOnce(&mut T) -> (&mut usize, &mut f64, &mut u64, &mut Option<LoraConfig>),
    ) -> Result<T, Box<dyn Error>> {
        let mut config = settings::read(self.config.as_deref(), defaults)?;
        let (steps, learning_rate, seed, lora) = common(&mut config);
        settings::set(steps, self.steps);
        settings::set(learning_rate, self.learning_rate);
        settings::set(seed, self.seed);
        if self.lora_rank.is_some() || self.lora_alpha.is_some() || self.lora_targets.is_some() {
            let lora = lora.get_or_insert_default();
            settings::set(&mut lora.rank, self.lora_rank);
            settings::set(&mut lora.alpha, self.lora_alpha);
            settings::set(&mut lora.targets, self.lora_targets.clone());
        }
        Ok(config)
    }

    /// Whether neither a flag nor the config file says what the learning rate is.
    ///
    /// # Errors
    /// When the config file cannot be read.
    pub fn learning_rate_is_open(&self) -> Result<bool, Box<dyn Error>> {
        let Some(path) = &self.config else { return Ok(self.learning_rate.is_none()) };
        let file: toml::Table = toml::from_str(&convrec_core::files::read_text(path)?)?;
        let set = file.get("optimizer").and_then(|table| table.get("learning_rate")).is_some();
        Ok(self.learning_rate.is_none() && !set)
    }

    /// Where and how often the run writes. Two checkpoints are kept.
    pub fn run(&self) -> RunOptions {
        RunOptions {
            folder: Some(self.out.clone()),
            resume: self.resume,
            checkpoint_every: self.checkpoint_every,
            keep_checkpoints: 2,
            evaluate_every: self.evaluate_every,
            ..RunOptions::default()
        }
    }

    /// The samples to evaluate on.
    ///
    /// # Errors
    /// When the file cannot be read or a sample does not fit the task.
    pub fn validation(&self, task: &Task) -> Result<Vec<Sample>, Box<dyn Error>> {
        let Some(path) = &self.validation else { return Ok(vec![]) };
        let samples = read_samples(task, path)?;
        let stride = samples.len().div_ceil(self.validation_samples).max(1);
        Ok(samples.into_iter().step_by(stride).collect())
    }
}

/// The examples of the file at `path` in ids.
///
/// # Errors
/// When an example does not fit the task; the error names the file.
pub fn samples(task: &Task, examples: &[Example], path: &Path) -> Result<Vec<Sample>, Box<dyn Error>> {
    let samples = examples.iter().map(|example| task.sample(example)).collect::<Result<_, _>>();
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
