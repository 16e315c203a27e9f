//! What both loops share: where a run is kept, how it is resumed, and its log.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use convrec_core::files;
use convrec_metrics::Measure;
use convrec_policy::Policy;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::checkpoint::{self, CheckpointError, Manifest};
use crate::config::ConfigError;
use crate::evaluate::{Decoding, Evaluation, evaluate};
use crate::optim::Updates;
use crate::task::{Sample, Task};

/// One line of the log: names to numbers, in TRL's names where TRL has one.
pub type Record = Map<String, Value>;

/// Where and how often a run writes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunOptions {
    /// The run's folder: `log.jsonl` and checkpoints. Without one nothing is written.
    pub folder: Option<PathBuf>,
    /// Go on from the newest checkpoint in the folder. Without it, a folder that holds a run is refused.
    pub resume: bool,
    /// Steps between checkpoints; 0 writes only the last.
    pub checkpoint_every: usize,
    /// Checkpoints kept, at least 1.
    pub keep_checkpoints: usize,
    /// Steps between evaluations on the validation samples, the last step always among them; 0 never evaluates.
    pub evaluate_every: usize,
}

/// A run cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A checkpoint cannot be written or used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log cannot be written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The folder is in use.
    #[error("{0} holds a run already; resume it, or choose another folder")]
    Exists(PathBuf),
    /// The optimiser's state cannot be stored or read.
    #[error("optimiser state: {0}")]
    Optimizer(String),
    /// Two steps in a row had gradients that are not finite.
    #[error("step {step}: the gradient norm is {norm} for the second step in a row; lower `optimizer.learning_rate`")]
    Diverged {
        /// The step.
        step: usize,
        /// The norm.
        norm: f64,
    },
    /// The sampler is not the policy that is trained.
    #[error(
        "step {step}: the log-probabilities of sampler and trainer differ by {difference} nats a token in the mean; \
         the device's kernels disagree: try another device (or, where it is on, without `bf16`), and report it"
    )]
    Disagree {
        /// The step.
        step: usize,
        /// The mean difference.
        difference: f64,
    },
    /// No completions could be had.
    #[error("step {step}: no completions: {source}; the run can be resumed from its newest checkpoint")]
    Sampler {
        /// The step.
        step: usize,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The loss refused its inputs, or the device failed.
    #[error("step {step}: {source}")]
    Loss {
        /// The step.
        step: usize,
        /// Why.
        source: rank_grpo::InputError,
    },
}

/// A run in progress.
pub(crate) struct Run<'a> {
    options: &'a RunOptions,
    manifest: Manifest,
    log: Option<(PathBuf, File)>,
    skipped: bool,
}

/// Where a run stands when it starts: at step 0 or at a checkpoint.
pub(crate) struct Start {
    pub(crate) step: usize,
    pub(crate) policy: Policy,
    pub(crate) updates: Updates,
    /// What else the loop had kept; none at step 0.
    pub(crate) state: Option<Value>,
}

impl<'a> Run<'a> {
    pub(crate) fn open(
        options: &'a RunOptions,
        kind: &str,
        config: &impl Serialize,
        inputs: BTreeMap<String, String>,
        mut start: Start,
    ) -> Result<(Self, Start), TrainError> {
        let config = serde_json::to_value(config).expect("a config holds numbers, texts and lists");
        let manifest =
            Manifest { kind: kind.into(), step: 0, run: config, inputs, state: Value::Null, files: BTreeMap::new() };
        let mut run = Run { options, manifest, log: None, skipped: false };
        let Some(folder) = &options.folder else { return Ok((run, start)) };
        let log = folder.join("log.jsonl");
        match checkpoint::list(folder)?.pop() {
            Some((_, newest)) if options.resume => start = run.resume(&newest, start)?,
            _ if options.resume => {}
            Some(_) => return Err(TrainError::Exists(folder.clone())),
            None if log.exists() => return Err(TrainError::Exists(folder.clone())),
            None => {}
        }
        rewind(&log, start.step)?;
        let file = OpenOptions::new().create(true).append(true).open(&log);
        run.log = Some((log.clone(), file.map_err(|e| files::Error::new("write", log, e))?));
        Ok((run, start))
    }

    fn resume(&self, newest: &Path, start: Start) -> Result<Start, TrainError> {
        let (manifest, policy, optimizer) = checkpoint::load(newest, &self.manifest, start.policy)?;
        let updates = start.updates.with_bytes(optimizer).map_err(TrainError::Optimizer)?;
        Ok(Start { step: manifest.step, policy, updates, state: Some(manifest.state) })
    }

    /// Appends a line to the log.
    pub(crate) fn record(&mut self, record: &Record) -> Result<(), TrainError> {
        let Some((path, file)) = &mut self.log else { return Ok(()) };
        let mut line = serde_json::to_vec(record).expect("a record holds numbers and lists");
        line.push(b'\n');
        file.write_all(&line).map_err(|e| files::Error::new("write", path.clone(), e))?;
        Ok(())
    }

    /// Refuses to go on after two steps in a row without a finite gradient.
    pub(crate) fn watch(&mut self, step: usize, grad_norm: f64) -> Result<(), TrainError> {
        let skipped = !grad_norm.is_finite();
        if skipped && self.skipped {
            return Err(TrainError::Diverged { step, norm: grad_norm });
        }
        self.skipped = skipped;
        Ok(())
    }

    /// Writes a checkpoint after `done` of `total` steps, when one is due.
    pub(crate) fn checkpoint(
        &self,
        done: usize,
        total: usize,
        policy: &Policy,
        updates: &Updates,
        state: Value,
    ) -> Result<(), TrainError> {
        let Some(folder) = &self.options.folder else { return Ok(()) };
        if done == total || due(done, self.options.checkpoint_every) {
            let manifest = Manifest { step: done, state, ..self.manifest.clone() };
            let optimizer = updates.to_bytes().map_err(TrainError::Optimizer)?;
            checkpoint::save(folder, policy, optimizer, manifest, self.options.keep_checkpoints)?;
        }
        Ok(())
    }

    /// Evaluates after `done` of `total` steps, when it is due, and after the last.
    /// `policy` gives the one to evaluate, where an evaluation is due.
    pub(crate) fn evaluate(
        &self,
        done: usize,
        total: usize,
        policy: &dyn Fn() -> Policy,
        validation: &Validation<'_>,
    ) -> Record {
        let every = self.options.evaluate_every;
        if validation.samples.is_empty() || !(due(done, every) || (every > 0 && done == total)) {
            return Record::new();
        }
        let Validation { task, samples, decoding } = validation;
        evaluation_record(&evaluate(&policy(), task, samples, decoding), task.n_ranks())
    }
}

/// What a run is evaluated on while it trains.
#[derive(Debug, Clone, Copy)]
pub struct Validation<'a> {
    /// The task.
    pub task: &'a Task,
    /// The samples; may be none.
    pub samples: &'a [Sample],
    /// How.
    pub decoding: Decoding,
}

/// An evaluation's means under their names, as `eval_NDCG@10`.
pub fn evaluation_record(evaluation: &Evaluation, n_ranks: usize) -> Record {
    let mut record = Record::new();
    for k in [5, 10, 20].into_iter().filter(|k| *k < n_ranks).chain([n_ranks]) {
        for measure in [Measure::Recall(k), Measure::Ndcg(k)] {
            record.insert(format!("eval_{measure}"), json!(evaluation.mean(measure)));
        }
    }
    let health = serde_json::to_value(evaluation.health).expect("a struct of numbers");
    if let Value::Object(health) = health {
        record.extend(health.into_iter().map(|(name, value)| (format!("eval_{name}"), value)));
    }
    record
}

fn due(done: usize, every: usize) -> bool {
    every > 0 && done.is_multiple_of(every)
}

/// Drops the log's lines from `step` on (and a last one that was cut), so that a resumed run writes them again.
fn rewind(log: &Path, step: usize) -> Result<(), TrainError> {
    if !log.exists() {
        return files::write_atomic(log, |_| Ok(())).map_err(TrainError::from);
    }
    let text = files::read_text(log)?;
    let earlier = |line: &&str| {
        let record: Option<Record> = serde_json::from_str(line).ok();
        record.and_then(|record| record.get("step")?.as_u64()).is_some_and(|done| done as usize <= step)
    };
    let kept: String = text.lines().filter(earlier).flat_map(|line| [line, "\n"]).collect();
    Ok(files::write_atomic(log, |out| out.write_all(kept.as_bytes()))?)
}
