//! The processes of a run: what they tell each other, and how they add up gradients.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use convrec_collective::{GroupError, ProcessGroup};
use convrec_core::hash::sha256;
use convrec_policy::Policy;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::inputs::in_words;

/// What each process gives, in the order of ranks.
pub(crate) fn gather<T: Serialize + DeserializeOwned>(
    group: &ProcessGroup,
    own: T,
) -> Result<Vec<T>, GroupError> {
    if group.size() == 1 {
        return Ok(vec![own]);
    }
    let all = group.gather(bytes(&own))?.into_iter().enumerate();
    all.map(|(rank, bytes)| value(group, rank, &bytes))
        .collect()
}

/// What process 0 has. Only that process makes it.
pub(crate) fn broadcast<T: Serialize + DeserializeOwned, E: From<GroupError>>(
    group: &ProcessGroup,
    make: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    if group.size() == 1 {
        return make();
    }
    if group.is_first() {
        let own = make()?;
        group.broadcast(bytes(&own))?;
        return Ok(own);
    }
    let bytes = group.broadcast(vec![])?;
    Ok(value(group, 0, &bytes)?)
}

fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data becomes bytes")
}

fn value<T: DeserializeOwned>(
    group: &ProcessGroup,
    rank: usize,
    bytes: &[u8],
) -> Result<T, GroupError> {
    postcard::from_bytes(bytes).map_err(|e| out_of_step(group, rank, format!("it sent {e}")))
}

fn out_of_step(group: &ProcessGroup, rank: usize, problem: String) -> GroupError {
    GroupError::OutOfStep {
        rank,
        size: group.size(),
        problem,
    }
}

/// Checks that all processes were started with the same things: texts by their names.
pub(crate) fn same_everywhere(
    group: &ProcessGroup,
    own: BTreeMap<String, String>,
) -> Result<(), GroupError> {
    let all = gather(group, own)?;
    for (rank, other) in all.iter().enumerate().skip(1) {
        let mut names = all[0].keys().chain(other.keys());
        if let Some(name) = names.find(|name| all[0].get(*name) != other.get(*name)) {
            let words = in_words(name);
            let problem = format!("{words} (`{name}`) is not that of process 0");
            return Err(out_of_step(group, rank, problem));
        }
    }
    Ok(())
}

/// Checks that all processes have the same weights, bit for bit.
pub(crate) fn same_weights(group: &ProcessGroup, policy: &Policy) -> Result<(), GroupError> {
    if group.size() == 1 {
        return Ok(());
    }
    let all = gather(group, hash_of_weights(policy))?;
    match all.iter().position(|hash| *hash != all[0]) {
        None => Ok(()),
        Some(rank) => {
            let problem = "its weights are not those of process 0; use processors of one kind";
            Err(out_of_step(group, rank, problem.into()))
        }
    }
}

fn hash_of_weights(policy: &Policy) -> String {
    struct Hash(Sha256);
    impl ModuleVisitor for Hash {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.update(param.val().into_data().as_bytes());
        }
    }
    let mut hash = Hash(Sha256::new());
    policy.visit(&mut hash);
    sha256(&hash.0.finalize())
}

/// The parameters that have a gradient, in the order of the module.
pub(crate) fn with_gradient(policy: &Policy, gradients: &GradientsParams) -> Vec<bool> {
    struct Present<'a>(&'a GradientsParams, Vec<bool>);
    impl ModuleVisitor for Present<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push(self.0.get::<D>(param.id).is_some());
        }
    }
    let mut present = Present(gradients, vec![]);
    policy.visit(&mut present);
    present.1
}

/// The sum of the gradients of all processes, in the order of ranks. `wanted` are the parameters
/// that have a gradient in any process.
pub(crate) fn sum(
    group: &ProcessGroup,
    policy: &Policy,
    gradients: GradientsParams,
    wanted: &[bool],
) -> Result<GradientsParams, GroupError> {
    struct Flatten<'a> {
        gradients: GradientsParams,
        wanted: std::slice::Iter<'a, bool>,
        numbers: Vec<f32>,
    }
    impl ModuleVisitor for Flatten<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.wanted.next() != Some(&true) {
                return;
            }
            match self.gradients.remove::<D>(param.id) {
                Some(gradient) => {
                    let data = gradient.into_data().convert::<f32>();
                    self.numbers
                        .extend_from_slice(data.as_slice().expect("f32 after the conversion"));
                }
                // What changes no bit of a sum.
                None => {
                    let n = param.val().shape().num_elements();
                    self.numbers.extend(std::iter::repeat_n(-0.0, n));
                }
            }
        }
    }
    struct Restore<'a> {
        gradients: GradientsParams,
        wanted: std::slice::Iter<'a, bool>,
        numbers: &'a [f32],
    }
    impl ModuleVisitor for Restore<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.wanted.next() != Some(&true) {
                return;
            }
            let weight = param.val();
            let (numbers, rest) = self.numbers.split_at(weight.shape().num_elements());
            self.numbers = rest;
            let data = TensorData::new(numbers.to_vec(), weight.shape());
            let gradient = Tensor::<D>::from_data(data, &weight.device().inner());
            self.gradients.register::<D>(param.id, gradient);
        }
    }
    let mut flat = Flatten {
        gradients,
        wanted: wanted.iter(),
        numbers: vec![],
    };
    policy.visit(&mut flat);
    let mut numbers = flat.numbers;
    group.sum(&mut numbers)?;
    let mut restored = Restore {
        gradients: GradientsParams::new(),
        wanted: wanted.iter(),
        numbers: &numbers,
    };
    policy.visit(&mut restored);
    Ok(restored.gradients)
}
