//! Data parallelism over the devices of one host. Each holds a replica of the policy and does a
//! share of the work. Gradients are added up on the policy's own device, which takes the step.
//!
//! This is what burn-train calls `MultiDevice` with the optimiser on the main device. burn's
//! collective operations (`DistributedContext`, `all_reduce`) need NCCL, and are not implemented
//! for the CPU.

use std::thread;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use convrec_policy::Policy;

use crate::optim::Accumulator;

/// A function that computes the gradients of a part of a batch, and further results.
type Compute<'a, T, E> = dyn Fn(&Policy, usize) -> Result<(GradientsParams, T), E> + Sync + 'a;

/// The gradients of the parts of a batch, whose losses are normalised by the whole batch, and the
/// further results of each part, in order. `further` devices take their share; without any, this
/// thread does all the work.
///
/// The same devices give the same bits. Other devices differ by rounding, as sums are in another
/// order.
pub(crate) fn gradients<T: Send, E: Send>(
    policy: &Policy,
    further: &[Device],
    parts: usize,
    compute: &Compute<'_, T, E>,
) -> Result<(GradientsParams, Vec<T>), E> {
    let n = further.len() + 1;
    let of_share = |policy: &Policy, share: usize| {
        let mut sum = Accumulator::default();
        let mut found = Vec::new();
        for part in (share..parts).step_by(n) {
            let (gradients, value) = compute(policy, part)?;
            sum.add(gradients, policy);
            found.push(value);
        }
        Ok((sum.take(), found))
    };
    let shares = on_each(policy, further, &|policy, share| of_share(policy, share));
    let mut sum = Accumulator::default();
    let mut found = Vec::new();
    for share in shares {
        let (gradients, values): (GradientsParams, Vec<T>) = share?;
        sum.add(
            if n == 1 {
                gradients
            } else {
                gradients.to_device(&policy.device(), policy)
            },
            policy,
        );
        found.push(values.into_iter());
    }
    let in_order = (0..parts).map(|part| found[part % n].next().expect("a value for each part"));
    Ok((sum.take(), in_order.collect()))
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
