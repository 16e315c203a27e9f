//! Data parallelism over devices, of one process or of several. Each device holds a replica of the
//! policy and does a share of the work. Gradients are added up on the policy's own device, and then
//! over the processes. Every process takes the same step.
//!
//! Within a process this is what burn-train calls `MultiDevice` with the optimiser on the main
//! device. burn's collective operations (`DistributedContext`, `all_reduce`) need NCCL, and are not
//! implemented for the CPU.

use std::thread;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use convrec_collective::{GroupError, ProcessGroup};
use convrec_policy::Policy;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::optim::Accumulator;
use crate::processes;

/// The devices of all processes of a run.
pub(crate) struct Workers<'a> {
    pub(crate) group: &'a ProcessGroup,
    /// Further devices of this process; the policy's own comes first.
    further: &'a [Device],
    /// The number of this process's first device among all.
    first: usize,
    /// The number of devices of all processes.
    total: usize,
}

impl<'a> Workers<'a> {
    pub(crate) fn new(group: &'a ProcessGroup, further: &'a [Device]) -> Result<Self, GroupError> {
        let counts = processes::gather(group, further.len() + 1)?;
        Ok(Self {
            group,
            further,
            first: counts[..group.rank()].iter().sum(),
            total: counts.iter().sum(),
        })
    }

    /// Whether this process computes a part of a batch.
    pub(crate) fn has(&self, part: usize) -> bool {
        (self.first..=self.first + self.further.len()).contains(&(part % self.total))
    }
}

/// A function that computes the gradients of a part of a batch, and further results.
type Compute<'a, T, E> = dyn Fn(&Policy, usize) -> Result<(GradientsParams, T), E> + Sync + 'a;

/// The gradients of the parts of a batch, whose losses are normalised by the whole batch, and the
/// further results of each part, in order. Without further devices and processes, this thread does
/// all the work.
///
/// The same devices give the same bits, and so do as many processes with a device each. Other
/// numbers of devices differ by rounding, as sums are in another order.
pub(crate) fn gradients<T, E>(
    policy: &Policy,
    workers: &Workers<'_>,
    parts: usize,
    compute: &Compute<'_, T, E>,
) -> Result<(GradientsParams, Vec<T>), E>
where
    T: Send + Serialize + DeserializeOwned,
    E: Send + From<GroupError>,
{
    let n = workers.total;
    let of_share = |policy: &Policy, share: usize| {
        let mut sum = Accumulator::default();
        let mut found = Vec::new();
        for part in (workers.first + share..parts).step_by(n) {
            let (gradients, value) = compute(policy, part)?;
            sum.add(gradients, policy);
            found.push(value);
        }
        Ok::<_, E>((sum.take(), found))
    };
    let shares = on_each(policy, workers.further, &|policy, share| {
        of_share(policy, share)
    });
    let mut sum = Accumulator::default();
    let mut found = Vec::new();
    for share in shares {
        let (gradients, values): (GradientsParams, Vec<T>) = share?;
        sum.add(
            if workers.further.is_empty() {
                gradients
            } else {
                gradients.to_device(&policy.device(), policy)
            },
            policy,
        );
        found.push(values);
    }
    let mut sum = sum.take();
    if workers.group.size() > 1 {
        let own = (processes::with_gradient(policy, &sum), found);
        let (present, of_all): (Vec<_>, Vec<_>) =
            processes::gather(workers.group, own)?.into_iter().unzip();
        let wanted = (0..present[0].len()).map(|n| present.iter().any(|has| has[n]));
        let wanted: Vec<bool> = wanted.collect();
        sum = processes::sum(workers.group, policy, sum, &wanted)?;
        found = of_all.into_iter().flatten().collect();
    }
    let mut found: Vec<_> = found.into_iter().map(Vec::into_iter).collect();
    let in_order = (0..parts).map(|part| found[part % n].next().expect("a value for each part"));
    Ok((sum, in_order.collect()))
}

/// The results of `work` on each device, from a replica of the policy and the number of the device.
/// Number 0 is the policy's own device.
pub(crate) fn on_each<T: Send>(
    policy: &Policy,
    further: &[Device],
    work: &(dyn Fn(&Policy, usize) -> T + Sync),
) -> Vec<T> {
    let replicas = further.iter().map(|device| {
        let device = if policy.device().is_autodiff() {
            device.clone().autodiff()
        } else {
            device.clone()
        };
        policy.clone().fork(&device)
    });
    let replicas: Vec<Policy> = replicas.collect();
    thread::scope(|scope| {
        let workers: Vec<_> = replicas
            .into_iter()
            .enumerate()
            .map(|(n, replica)| scope.spawn(move || work(&replica, n + 1)))
            .collect();
        let first = work(policy, 0);
        let others = workers.into_iter().map(|worker| {
            worker
                .join()
                .unwrap_or_else(|e| std::panic::resume_unwind(e))
        });
        std::iter::once(first).chain(others).collect()
    })
}
