//! What the training binaries ask for alike: files, seed, checkpoints, evaluation while training.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use convrec_core::{Example, jsonl};
use convrec_train::{RunOptions, Sample, Task};

/// Options of every training run.
#[derive(Debug, Args)]
pub struct TrainingOptions {
    /// Catalog, JSON lines.
    #[arg(long)]
    pub catalog: PathBuf,
    /// Conversations to evaluate on while training, JSON lines.
    #[arg(long)]
    pub validation: Option<PathBuf>,
    /// At most so many of them, evenly spread.
    #[arg(long, default_value_t = 300)]
    pub validation_samples: usize,
    /// The run's folder: log, checkpoints, and at the end the trained model.
    #[arg(long)]
    pub out: PathBuf,
    /// Go on from the newest checkpoint in the folder.
    #[arg(long)]
    pub resume: bool,
    /// Settings of the training, TOML; a flag goes before it.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Steps: updates of SFT, batches of rollouts of RL.
    #[arg(long)]
    pub steps: Option<usize>,
    /// The largest learning rate.
    #[arg(long)]
    pub learning_rate: Option<f64>,
    /// Of everything random.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Steps between evaluations; 0 is never.
    #[arg(long, default_value_t = 100)]
    pub evaluate_every: usize,
    /// Steps between checkpoints; 0 is only at the end.
    #[arg(long, default_value_t = 100)]
    pub checkpoint_every: usize,
}

impl TrainingOptions {
    /// Where and how often the run writes. Two checkpoints are kept.
    pub fn run(&self) -> RunOptions {
        RunOptions {
            folder: Some(self.out.clone()),
            resume: self.resume,
            checkpoint_every: self.checkpoint_every,
            keep_checkpoints: 2,
            evaluate_every: self.evaluate_every,
        }
    }

    /// The samples to evaluate on.
    ///
    /// # Errors
    /// When the file cannot be read or a sample does not fit the task.
    pub fn validation(&self, task: &Task) -> Result<Vec<Sample>, Box<dyn Error>> {
        let Some(path) = &self.validation else { return Ok(vec![]) };
        let (_, samples) = read_samples(task, path)?;
        let stride = samples.len().div_ceil(self.validation_samples.max(1)).max(1);
        Ok(samples.into_iter().step_by(stride).collect())
    }
}

/// The examples of a file, and the same in ids.
///
/// # Errors
/// When the file cannot be read or an example's right answers are not in the catalog; the error names the file.
pub fn read_samples(task: &Task, path: &Path) -> Result<(Vec<Example>, Vec<Sample>), Box<dyn Error>> {
    let examples: Vec<Example> = jsonl::read_file(path)?;
    let samples = examples.iter().map(|example| task.sample(example)).collect::<Result<_, _>>();
    Ok((examples, samples.map_err(|e| format!("{}: {e}", path.display()))?))
}
