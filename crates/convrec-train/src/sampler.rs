//! The source of completions.

use std::error::Error;

use burn::tensor::Device;
use convrec_policy::{Completion, Generation, Policy};

use crate::evaluate::generate;
use crate::replicas::on_each;
use crate::task::{Sample, Task};

/// A source of completions. [`Local`] is the policy itself; inference servers on other machines can
/// do it as well.
pub trait Sampler: Send {
    /// Hands over new weights. Completions from here on, for the step of this number (from 1), are
    /// under these weights.
    ///
    /// # Errors
    /// Any error of the sampler when the weights cannot be handed on. The run stops with
    /// [`TrainError::Sampler`].
    ///
    /// [`TrainError::Sampler`]: crate::TrainError::Sampler
    fn begin_step(
        &mut self,
        _policy: &Policy,
        _step: usize,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    /// `generation.group_size` completions of each sample, in their order, under `policy` (without
    /// autodiff). Where the task is constrained, they must be within [`Task::constraint`].
    ///
    /// # Errors
    /// Any error of the sampler when it gives no completions. The run stops with
    /// [`TrainError::Sampler`](crate::TrainError::Sampler), and can be resumed.
    fn sample(
        &mut self,
        policy: &Policy,
        task: &Task,
        samples: &[&Sample],
        generation: &Generation,
    ) -> Result<Vec<Vec<Completion>>, Box<dyn Error + Send + Sync>>;

    /// Whether the log-probabilities are the trainer's own, to rounding. Where they are not, the
    /// trainer computes its own, `loss.correction` corrects for the difference, and the
    /// entropies of the completions may be left empty.
    fn is_trainer(&self) -> bool;
}

/// The policy samples by itself, with the trainer's kernels.
#[derive(Debug, Clone, Default)]
pub struct Local {
    /// Further devices of this host that take a share of the prompts. Completions do not depend on
    /// them.
    pub devices: Vec<Device>,
}

impl Sampler for Local {
    fn sample(
        &mut self,
        policy: &Policy,
        task: &Task,
        samples: &[&Sample],
        generation: &Generation,
    ) -> Result<Vec<Vec<Completion>>, Box<dyn Error + Send + Sync>> {
        let size = samples.len().div_ceil(self.devices.len() + 1).max(1);
        let shares: Vec<&[&Sample]> = samples.chunks(size).collect();
        let of_share = |policy: &Policy, n: usize| {
            let Some(share) = shares.get(n) else {
                return vec![];
            };
            let prompts: Vec<&[u32]> = share
                .iter()
                .map(|sample| sample.prompt.as_slice())
                .collect();
            generate(policy, task, |p| share[p], &prompts, n * size, generation)
        };
        Ok(on_each(policy, &self.devices, &of_share).concat())
    }

    fn is_trainer(&self) -> bool {
        true
    }
}
