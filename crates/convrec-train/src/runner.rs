//! A training run from settings and data: what a training program does after it has read both.

mod error;
mod input;
mod setup;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use convrec_collective::ProcessGroup;
use convrec_config::ConfigError;
use convrec_core::files;
use convrec_policy::SaveOptions;
use convrec_watch::Observer;

use crate::data::DataReport;
use crate::model::Model;
use crate::plan::Plan;
use crate::reward::RewardFunction;
use crate::rl::{RankGrpoTrainer, RlConfig};
use crate::run::{RunOptions, Stop, TrainError, Validation};
use crate::sampler::Sampler;
use crate::sft::{SftConfig, SftJob, train_sft};
use crate::task::{Sample, Task, TokenPair};

pub use self::error::RunError;
pub use self::input::{RlData, SftData};

/// A run that is ready to start: its model is loaded, its data is checked, and what it depends on
/// is hashed.
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
    /// [`RunError::Train`] with [`TrainError::Stopped`] when the run was stopped and can be
    /// resumed; another error when it failed.
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
