//! The source of completions.

use std::error::Error;

use burn::tensor::Device;
use convrec_collective::ProcessGroup;
use convrec_policy::{Completion, Generation, Policy};

use crate::evaluate::generate;
use crate::processes;
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

impl Local {
    /// The completions of a part of a batch, which begins at place `first` of it.
    fn sample_part(
        &self,
        policy: &Policy,
        task: &Task,
        samples: &[&Sample],
        first: usize,
        generation: &Generation,
    ) -> Vec<Vec<Completion>> {
        let devices = self.devices.len() + 1;
        // As processes share prompts: rows side by side round alike.
        let place = |device: usize| samples.len() * device / devices;
        let of_share = |policy: &Policy, n: usize| {
            let share = &samples[place(n)..place(n + 1)];
            if share.is_empty() {
                return vec![];
            }
            let prompts: Vec<&[u32]> = share
                .iter()
                .map(|sample| sample.prompt.as_slice())
                .collect();
            let first = first + place(n);
            generate(policy, task, |p| share[p], &prompts, first, generation)
        };
        on_each(policy, &self.devices, &of_share).concat()
    }
}

impl Sampler for Local {
    fn sample(
        &mut self,
        policy: &Policy,
        task: &Task,
        samples: &[&Sample],
        generation: &Generation,
    ) -> Result<Vec<Vec<Completion>>, Box<dyn Error + Send + Sync>> {
        Ok(self.sample_part(policy, task, samples, 0, generation))
    }

    fn is_trainer(&self) -> bool {
        true
    }
}

/// The sampler of a group of processes. All processes get all completions.
pub(crate) enum Shared<'a> {
    /// Each process samples a part of the prompts.
    Dealt(Local, &'a ProcessGroup),
    /// Process 0 asks a sampler of its own.
    OfFirst(&'a mut dyn Sampler, &'a ProcessGroup),
}

/// A completion as processes send it: tokens, log-probabilities, entropies, whether it ended, and
/// its passes.
type Sent = (Vec<u32>, Vec<f32>, Vec<f32>, bool, usize);

impl Sampler for Shared<'_> {
    fn begin_step(
        &mut self,
        policy: &Policy,
        step: usize,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        match self {
            Self::OfFirst(sampler, group) if group.is_first() => sampler.begin_step(policy, step),
            _ => Ok(()),
        }
    }

    fn sample(
        &mut self,
        policy: &Policy,
        task: &Task,
        samples: &[&Sample],
        generation: &Generation,
    ) -> Result<Vec<Vec<Completion>>, Box<dyn Error + Send + Sync>> {
        let groups = match self {
            Self::Dealt(local, group) => {
                let share = group.share(samples.len());
                let part = &samples[share.clone()];
                let own = local.sample_part(policy, task, part, share.start, generation);
                processes::gather(group, sent(own))?.concat()
            }
            Self::OfFirst(sampler, group) => processes::broadcast(group, || {
                let sampled = sampler.sample(policy, task, samples, generation)?;
                Ok::<_, Box<dyn Error + Send + Sync>>(sent(sampled))
            })?,
        };
        Ok(received(groups))
    }

    fn is_trainer(&self) -> bool {
        match self {
            Self::Dealt(local, _) => local.is_trainer(),
            Self::OfFirst(sampler, _) => sampler.is_trainer(),
        }
    }
}

fn sent(groups: Vec<Vec<Completion>>) -> Vec<Vec<Sent>> {
    let of_one = |one: Completion| {
        let Completion {
            tokens,
            log_probs,
            entropies,
            ended,
            passes,
        } = one;
        (tokens, log_probs, entropies, ended, passes)
    };
    let of_group = |group: Vec<Completion>| group.into_iter().map(of_one).collect();
    groups.into_iter().map(of_group).collect()
}

fn received(groups: Vec<Vec<Sent>>) -> Vec<Vec<Completion>> {
    let of_one = |(tokens, log_probs, entropies, ended, passes): Sent| Completion {
        tokens,
        log_probs,
        entropies,
        ended,
        passes,
    };
    let of_group = |group: Vec<Sent>| group.into_iter().map(of_one).collect();
    groups.into_iter().map(of_group).collect()
}
