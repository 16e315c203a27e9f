//! The common inputs of all parts of a step, and the errors of a step.

use std::error::Error;

use burn::tensor::TensorReadError;
use convrec_collective::{GroupError, ProcessGroup};
use convrec_text::segments::Segmentation;
use rank_grpo::InputError;

use super::config::RlConfig;
use crate::reward::{Popularity, RewardError, WeightedRewards};
use crate::rollout::Row;
use crate::run::TrainError;
use crate::task::Task;

/// The constants of a run.
pub(super) struct Job<'a> {
    pub(super) config: &'a RlConfig,
    pub(super) task: &'a Task,
    pub(super) rewards: WeightedRewards<'a>,
    /// The popularity that the log reports.
    pub(super) popularity: &'a Popularity,
    /// The processes of the run.
    pub(super) group: &'a ProcessGroup,
}

impl Job<'_> {
    /// Returns the advantages `[B][N]` of whole groups of rows.
    pub(super) fn advantages(&self, rows: &[Row<'_>]) -> Vec<Vec<f64>> {
        let rewards = rows.iter().map(|row| &row.rewards);
        let advantages = self
            .rewards
            .advantages(rewards, self.config.num_generations);
        advantages
            .expect("rows come in whole groups of one width")
            .values
    }
}

/// The kind of lists that a task wants, as a checkpoint records it.
pub(super) fn kind_of_lists(task: &Task) -> String {
    let lines = match task.segmentation() {
        Segmentation::OneParse => "",
        Segmentation::Reference => ", ranks by line feeds",
    };
    format!(
        "{} items, constrained: {}{lines}",
        task.n_ranks(),
        task.is_constrained()
    )
}

/// A step failed.
pub(super) enum StepError {
    Group(GroupError),
    Loss(InputError),
    Reward(RewardError),
    Sampler(Box<dyn Error + Send + Sync>),
}

impl From<InputError> for StepError {
    fn from(error: InputError) -> Self {
        StepError::Loss(error)
    }
}

impl From<TensorReadError> for StepError {
    fn from(error: TensorReadError) -> Self {
        StepError::Loss(error.into())
    }
}

impl From<GroupError> for StepError {
    fn from(error: GroupError) -> Self {
        StepError::Group(error)
    }
}

impl StepError {
    /// The error of a run whose `step` (from 1) failed.
    pub(super) fn at(self, step: usize) -> TrainError {
        match self {
            StepError::Group(source) => TrainError::Group(source),
            StepError::Loss(source) => TrainError::Loss { step, source },
            StepError::Reward(source) => TrainError::Reward { step, source },
            StepError::Sampler(source) => TrainError::Sampler { step, source },
        }
    }
}
