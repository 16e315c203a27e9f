//! Where completions come from.

use std::error::Error;

use convrec_policy::{Completion, Generation, Policy};

use crate::evaluate::generate;
use crate::task::{Sample, Task};

/// Writes completions. [`Local`] is the policy itself; an engine on other machines may do it as well.
pub trait Sampler {
    /// `generation.group_size` completions of each sample, in their order, under `policy` (without autodiff). Where the
    /// task is constrained, they must be within [`Task::constraint`].
    ///
    /// # Errors
    /// When completions cannot be had; the run stops, and can be resumed.
    fn sample(
        &mut self,
        policy: &Policy,
        task: &Task,
        samples: &[&Sample],
        generation: &Generation,
    ) -> Result<Vec<Vec<Completion>>, Box<dyn Error + Send + Sync>>;

    /// Whether the log-probabilities are the trainer's own, to rounding. Where they are not, the trainer computes its own,
    /// `loss.correction` corrects for the difference, and the entropies of the completions may be left empty.
    fn is_trainer(&self) -> bool;
}

/// The policy samples by itself, with the trainer's kernels.
#[derive(Debug, Clone, Copy)]
pub struct Local;

impl Sampler for Local {
    fn sample(
        &mut self,
        policy: &Policy,
        task: &Task,
        samples: &[&Sample],
        generation: &Generation,
    ) -> Result<Vec<Vec<Completion>>, Box<dyn Error + Send + Sync>> {
        let prompts: Vec<&[u32]> = samples.iter().map(|sample| sample.prompt.as_slice()).collect();
        Ok(generate(policy, task, |p| samples[p], &prompts, generation))
    }

    fn is_trainer(&self) -> bool {
        true
    }
}
