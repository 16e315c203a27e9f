//! The common parts of both loops: the folder of a run, resuming, and the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use convrec_collective::{GroupError, ProcessGroup};
use convrec_config::ConfigError;
use convrec_core::files::write_atomic;
use convrec_core::{Item, ItemId};
use convrec_metrics::Measure;
use convrec_policy::Policy;
use convrec_watch::{
    CompletionRecord, Diagnosis, Journal, ListedItem, Observer, Record, StepView, Trouble,
    WatchConfig,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::checkpoint::{self, CheckpointError, Manifest};
use crate::evaluate::{Decoding, Evaluated, Evaluation, evaluate};
use crate::optim::Updates;
use crate::processes::{same_everywhere, same_weights};
use crate::sent;
use crate::task::{Answer, Sample, Task};

/// The folder of a run, and how often it writes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunOptions {
    /// The run's folder: log, completions and checkpoints. Without one nothing is written.
    pub folder: Option<PathBuf>,
    /// Whether the run goes on from the newest checkpoint in the folder. Otherwise a folder that
    /// holds a run is refused.
    pub resume: bool,
    /// Steps between checkpoints; 0 writes only the last.
    pub checkpoint_every: usize,
    /// Checkpoints kept, at least 1.
    pub keep_checkpoints: usize,
    /// Steps between evaluations on the validation samples. The last step always has one. 0 never
    /// evaluates.
    pub evaluate_every: usize,
    /// The files of the run beside checkpoints, and the settings of the doctor.
    pub watch: WatchConfig,
    /// Steps after which this process stops with a checkpoint, so that another process can go on.
    /// It is for machines that are lent by the hour.
    pub stop_after: Option<usize>,
    /// Stops the run after the current step with a checkpoint.
    #[serde(skip)]
    pub stop: Stop,
    /// The processes that train together. Process 0 writes the files, and the others need no
    /// folder. They share prompts and micro-batches, and take the same steps.
    #[serde(skip)]
    pub group: ProcessGroup,
    /// The text that is kept in the folder as `config.toml`.
    #[serde(skip)]
    pub settings: Option<String>,
}

/// Asks a run to stop after the current step, as at Ctrl-C. Clones ask the same run.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the run to stop. The training function then returns [`TrainError::Stopped`]. Returns
    /// whether it was asked before.
    pub fn ask(&self) -> bool {
        self.0.swap(true, Ordering::Relaxed)
    }

    /// The flag, for other parts of the program that should stop as well.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for Stop {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A run cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A checkpoint cannot be written or used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log, or another file of the run, cannot be written or read.
    #[error(transparent)]
    File(#[from] convrec_watch::Error),
    /// The doctor stopped the run. Its log has all steps; its newest checkpoint is from before.
    #[error(transparent)]
    Unhealthy(#[from] Diagnosis),
    /// The folder is in use.
    #[error("{0} holds a run already; resume it, or choose another folder")]
    Exists(PathBuf),
    /// The optimiser's state cannot be stored or read.
    #[error("optimiser state: {0}")]
    Optimizer(String),
    /// It was asked to stop, and can be resumed.
    #[error("stopped after step {done} of {total}; resume to go on")]
    Stopped {
        /// Steps done.
        done: usize,
        /// Steps in all.
        total: usize,
    },
    /// Two steps in a row had gradients that are not finite.
    #[error(
        "step {step}: the gradient norm is {norm} for the second step in a row; lower \
         `optimizer.learning_rate`"
    )]
    Diverged {
        /// The step.
        step: usize,
        /// The norm.
        norm: f64,
    },
    /// The sampler is not the policy that is trained.
    #[error(
        "step {step}: the log-probabilities of sampler and trainer differ by {difference} nats a \
         token in the mean; the device's kernels disagree: try another device (or, where it is on, \
         without `bf16`), and report it"
    )]
    Disagree {
        /// The step.
        step: usize,
        /// The mean difference.
        difference: f64,
    },
    /// A reward function did not give one usable number to each rank.
    #[error("step {step}: {source}")]
    Reward {
        /// The step.
        step: usize,
        /// Why.
        source: crate::reward::RewardError,
    },
    /// The sampler gave no completions.
    #[error(
        "step {step}: no completions: {source}; the run can be resumed from its newest checkpoint, \
         if it has one"
    )]
    Sampler {
        /// The step.
        step: usize,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process of the run ended or stopped.
    #[error("{0}; a resumed run goes on from its newest checkpoint, if it has one")]
    Group(#[from] GroupError),
    /// The loss refused its inputs, or the device failed.
    #[error("step {step}: {source}")]
    Loss {
        /// The step.
        step: usize,
        /// Why.
        source: rank_grpo::InputError,
    },
}

impl TrainError {
    /// Tells the other processes of the run that this one stops, unless they stop as well.
    pub(crate) fn tell(&self, group: &ProcessGroup) {
        if !matches!(self, Self::Stopped { .. }) {
            group.abort(&self.to_string());
        }
    }
}

impl From<Trouble> for TrainError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Config(e) => e.within("run.watch").into(),
            Trouble::File(e) => e.into(),
            Trouble::Unhealthy(diagnosis) => diagnosis.into(),
        }
    }
}

/// A run in progress.
pub(crate) struct Run<'a> {
    options: &'a RunOptions,
    manifest: Manifest,
    journal: Journal,
    skipped: bool,
    /// The steps that were done when this process began.
    first: usize,
}

/// The state of a run when it starts: at step 0 or at a checkpoint.
pub(crate) struct Start {
    pub(crate) step: usize,
    pub(crate) policy: Policy,
    /// The policy that the next rollouts are drawn from, where it is another one.
    pub(crate) behaviour: Option<Policy>,
    pub(crate) updates: Updates,
    /// Further state of the loop; none at step 0.
    pub(crate) state: Option<Value>,
}

/// What a loop puts into a checkpoint.
pub(crate) struct Progress<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) behaviour: Option<&'a Policy>,
    pub(crate) updates: &'a Updates,
    pub(crate) state: Value,
}

impl<'a> Run<'a> {
    pub(crate) fn open(
        options: &'a RunOptions,
        kind: &str,
        config: &impl Serialize,
        mut inputs: BTreeMap<String, String>,
        mut start: Start,
    ) -> Result<(Self, Start), TrainError> {
        let group = &options.group;
        // Another interval would give another log.
        inputs.insert("evaluate_every".into(), options.evaluate_every.to_string());
        let config = serde_json::to_value(config).expect("a config holds numbers, texts and lists");
        let manifest = Manifest {
            kind: kind.into(),
            step: 0,
            run: config,
            inputs,
            state: Value::Null,
            files: BTreeMap::new(),
        };
        same_everywhere(group, facts(options, &manifest))?;
        if let Some(folder) = &options.folder
            && let Some(newest) = sent::newest(group, || newest(folder, options.resume))?
        {
            start = resume(&newest.path, &manifest, start)?;
        }
        same_weights(group, &start.policy)?;
        let run_folder = options.folder.as_deref().filter(|_| group.is_first());
        if let (Some(folder), Some(text)) = (run_folder, &options.settings) {
            keep_settings(folder, text, start.step > 0)?;
        }
        let journal = Journal::open(
            run_folder.map(Path::to_path_buf),
            start.step,
            options.watch.clone(),
        )?;
        Ok((
            Run {
                options,
                manifest,
                journal,
                skipped: false,
                first: start.step,
            },
            start,
        ))
    }

    /// Records a step, and shows it.
    pub(crate) fn record(
        &mut self,
        view: &StepView<'_>,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        // The others have no figures of evaluations, which may be why the doctor stops a run.
        if !self.options.group.is_first() {
            return Ok(());
        }
        let recorded = self.journal.step(view);
        observer.observe(view);
        Ok(recorded?)
    }

    /// Refuses to go on after two steps in a row without a finite gradient.
    pub(crate) fn watch(&mut self, step: usize, grad_norm: f64) -> Result<(), TrainError> {
        let skipped = !grad_norm.is_finite();
        if skipped && self.skipped {
            return Err(TrainError::Diverged {
                step,
                norm: grad_norm,
            });
        }
        self.skipped = skipped;
        Ok(())
    }

    /// Whether the run was asked to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.options.stop.is_asked()
    }

    /// Writes a checkpoint after `done` of `total` steps when one is due, and stops where a stop
    /// was asked for, in any process.
    pub(crate) fn checkpoint(
        &self,
        done: usize,
        total: usize,
        progress: Progress<'_>,
    ) -> Result<(), TrainError> {
        let group = &self.options.group;
        let spent = self
            .options
            .stop_after
            .is_some_and(|steps| done - self.first >= steps);
        let asked = group.any(self.is_stopping())?;
        let stops = done < total && (spent || asked);
        if stops || done == total || due(done, self.options.checkpoint_every) {
            same_weights(group, progress.policy)?;
            self.write(done, progress)?;
        }
        if stops {
            Err(TrainError::Stopped { done, total })
        } else {
            Ok(())
        }
    }

    /// Writes a checkpoint, and stops. The other processes are not asked.
    pub(crate) fn stop_here(
        &self,
        done: usize,
        total: usize,
        progress: Progress<'_>,
    ) -> TrainError {
        let written = self.write(done, progress);
        let stopped = TrainError::Stopped { done, total };
        self.options.group.abort(&stopped.to_string());
        written.err().unwrap_or(stopped)
    }

    /// Writes a checkpoint into the run's folder, where there is one and this is process 0.
    fn write(&self, done: usize, progress: Progress<'_>) -> Result<(), TrainError> {
        let Some(folder) = &self.options.folder else {
            return Ok(());
        };
        if !self.options.group.is_first() {
            return Ok(());
        }
        let manifest = Manifest {
            step: done,
            state: progress.state,
            ..self.manifest.clone()
        };
        let optimizer = progress.updates.to_bytes().map_err(TrainError::Optimizer)?;
        if let Some(text) = &self.options.settings {
            keep_settings(folder, text, true)?;
        }
        checkpoint::save(
            folder,
            progress.policy,
            progress.behaviour,
            optimizer,
            manifest,
            self.options.keep_checkpoints,
        )?;
        Ok(())
    }

    /// Lists for the first validation samples where completions of this step are kept, to compare
    /// them over a run.
    pub(crate) fn lists(
        &self,
        step: usize,
        policy: &dyn Fn() -> Policy,
        validation: &Validation<'_>,
    ) -> Vec<CompletionRecord> {
        let Validation {
            task,
            samples,
            decoding,
        } = validation;
        let samples = &samples[..samples.len().min(SHOWN)];
        if !self.options.group.is_first() {
            return vec![];
        }
        if samples.is_empty() || !self.journal.wants_completions(step) {
            return vec![];
        }
        let evaluated = evaluate(&policy(), task, samples, decoding).samples;
        let shown = |(evaluated, sample)| shown(task, step, sample, evaluated);
        evaluated.into_iter().zip(samples).map(shown).collect()
    }

    /// Evaluates after `done` of `total` steps when an evaluation is due, and after the last step.
    /// `policy` makes the policy to evaluate.
    pub(crate) fn evaluate(
        &self,
        done: usize,
        total: usize,
        policy: &dyn Fn() -> Policy,
        validation: &Validation<'_>,
    ) -> Record {
        let every = self.options.evaluate_every;
        if !self.options.group.is_first() {
            return Record::new();
        }
        if validation.samples.is_empty() || !(due(done, every) || (every > 0 && done == total)) {
            return Record::new();
        }
        let Validation {
            task,
            samples,
            decoding,
        } = validation;
        evaluation_record(
            &evaluate(&policy(), task, samples, decoding),
            task.n_ranks(),
        )
    }
}

/// Validation samples whose lists are kept.
const SHOWN: usize = 8;

fn shown(task: &Task, step: usize, sample: &Sample, evaluated: Evaluated) -> CompletionRecord {
    let relevant = task.relevance(&evaluated.answer, sample);
    CompletionRecord {
        step,
        id: sample.id.clone(),
        prompt: Some(
            task.prompter()
                .tokenizer()
                .decode_with_specials(&sample.prompt),
        ),
        items: listed(&evaluated.answer, &relevant),
        text: evaluated.answer.text,
        ended: evaluated.answer.segments.ended,
        ..CompletionRecord::default()
    }
}

/// The items of an answer, for people to read.
pub(crate) fn listed(answer: &Answer, relevant: &[bool]) -> Vec<ListedItem> {
    let item = |(rank, (name, id)): (usize, (&Item, &Option<ItemId>))| ListedItem {
        name: name.to_string(),
        in_catalog: id.is_some(),
        hit: relevant.get(rank).copied().unwrap_or(false),
    };
    answer
        .names
        .iter()
        .zip(&answer.items)
        .enumerate()
        .map(item)
        .collect()
}

/// The validation of a run while it trains.
#[derive(Debug, Clone, Copy)]
pub struct Validation<'a> {
    /// The task.
    pub task: &'a Task,
    /// The samples. There may be none.
    pub samples: &'a [Sample],
    /// The decoding of the lists.
    pub decoding: Decoding,
}

/// An evaluation's means under their names, as `eval_NDCG@10`.
pub fn evaluation_record(evaluation: &Evaluation, n_ranks: usize) -> Record {
    let mut record = Record::new();
    for k in [5, 10, 20]
        .into_iter()
        .filter(|k| *k < n_ranks)
        .chain([n_ranks])
    {
        for measure in [Measure::Recall(k), Measure::Ndcg(k)] {
            record.insert(format!("eval_{measure}"), json!(evaluation.mean(measure)));
        }
    }
    let health = serde_json::to_value(evaluation.health).expect("a struct of numbers");
    if let Value::Object(health) = health {
        record.extend(
            health
                .into_iter()
                .map(|(name, value)| (format!("eval_{name}"), value)),
        );
    }
    record
}

fn due(done: usize, every: usize) -> bool {
    every > 0 && done.is_multiple_of(every)
}

/// Keeps the settings in the folder. An existing file stays. Where the file of a run that has begun
/// is missing, it was removed and is written again.
fn keep_settings(folder: &Path, text: &str, has_begun: bool) -> Result<(), CheckpointError> {
    let path = folder.join("config.toml");
    if has_begun && path.exists() {
        return Ok(());
    }
    if has_begun {
        log::warn!(
            "{}: somebody removed this file; it is written again",
            path.display()
        );
    }
    Ok(write_atomic(path, |out| out.write_all(text.as_bytes()))?)
}

/// The newest checkpoint of a run that is resumed. A run that is not resumed must have none.
fn newest(folder: &Path, resume: bool) -> Result<Option<PathBuf>, TrainError> {
    match checkpoint::list(folder)?.pop() {
        Some((_, newest)) if resume => Ok(Some(newest)),
        Some(_) => Err(TrainError::Exists(folder.into())),
        None if !resume && convrec_watch::log::exists(folder)? => {
            Err(TrainError::Exists(folder.into()))
        }
        None => Ok(None),
    }
}

/// What all processes of a run must have been started with.
fn facts(options: &RunOptions, manifest: &Manifest) -> BTreeMap<String, String> {
    let run = [
        ("folder", options.folder.is_some().to_string()),
        ("resume", options.resume.to_string()),
        ("checkpoint_every", options.checkpoint_every.to_string()),
        ("stop_after", format!("{:?}", options.stop_after)),
        ("training", manifest.kind.clone()),
        ("config", manifest.run.to_string()),
    ];
    let run = run.map(|(name, value)| (name.to_string(), value));
    run.into_iter().chain(manifest.inputs.clone()).collect()
}

fn resume(newest: &Path, expected: &Manifest, start: Start) -> Result<Start, TrainError> {
    let loaded = checkpoint::load(newest, expected, &start.policy)?;
    let updates = start
        .updates
        .with_bytes(loaded.optimizer)
        .map_err(TrainError::Optimizer)?;
    Ok(Start {
        step: loaded.manifest.step,
        policy: loaded.policy,
        behaviour: loaded.behaviour,
        updates,
        state: Some(loaded.manifest.state),
    })
}
