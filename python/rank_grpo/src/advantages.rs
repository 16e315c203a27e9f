//! Advantages: nested lists in, nested lists out.

use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use rank_grpo::{AdvantageError, GroupAdvantages, ScaleRewards};

use crate::{segments, value_error};

/// Advantages and the share of (group, rank) pairs without signal.
type Found = (Vec<Vec<f64>>, f64);

fn found(advantages: Result<GroupAdvantages, AdvantageError>) -> PyResult<Found> {
    let advantages = advantages.map_err(value_error)?;
    Ok((advantages.values, advantages.frac_reward_zero_std))
}

fn scale(name: &str) -> PyResult<ScaleRewards> {
    match name {
        "group" => Ok(ScaleRewards::Group),
        "batch" => Ok(ScaleRewards::Batch),
        "none" => Ok(ScaleRewards::None),
        other => Err(value_error(format!(
            "scale_rewards is {other:?}, expected \"group\", \"batch\" or \"none\""
        ))),
    }
}

#[pyfunction]
fn group_advantages(
    rewards: Vec<Vec<f64>>,
    group_size: usize,
    scale_rewards: &str,
) -> PyResult<Found> {
    found(rank_grpo::group_advantages(&rewards, group_size, scale(scale_rewards)?))
}

#[pyfunction]
fn ordinal_advantages(rewards: Vec<Vec<f64>>, group_size: usize) -> PyResult<Found> {
    found(rank_grpo::ordinal_advantages(&rewards, group_size))
}

#[pyfunction]
fn sum_then_normalize(
    tables: Vec<(f64, Vec<Vec<f64>>)>,
    group_size: usize,
    scale_rewards: &str,
) -> PyResult<Found> {
    found(rank_grpo::sum_then_normalize(&tables, group_size, scale(scale_rewards)?))
}

#[pyfunction]
fn normalize_then_sum(tables: Vec<(f64, Vec<Vec<f64>>)>, group_size: usize) -> PyResult<Found> {
    found(rank_grpo::normalize_then_sum(&tables, group_size))
}

#[pyfunction]
fn condition_rewards(
    rewards: Vec<Vec<f64>>,
    given: Vec<Vec<f64>>,
    threshold: f64,
) -> PyResult<Vec<Vec<f64>>> {
    rank_grpo::condition_rewards(&rewards, &given, threshold).map_err(value_error)
}

#[pyfunction]
fn sibling_advantages(
    paths: Vec<Vec<i64>>,
    rewards: Vec<f64>,
    group_size: usize,
) -> PyResult<Vec<Vec<f64>>> {
    rank_grpo::sibling_advantages(&paths, &rewards, group_size).map_err(value_error)
}

#[pyfunction]
fn spread(
    advantages: Vec<Vec<f64>>,
    ids: PyReadonlyArray1<'_, i64>,
    n_ranks: usize,
) -> PyResult<Vec<f64>> {
    let ids = ids.as_slice().map_err(value_error)?;
    rank_grpo::spread(&advantages, &segments(ids, n_ranks, true)?).map_err(value_error)
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(group_advantages, module)?)?;
    module.add_function(wrap_pyfunction!(ordinal_advantages, module)?)?;
    module.add_function(wrap_pyfunction!(sum_then_normalize, module)?)?;
    module.add_function(wrap_pyfunction!(normalize_then_sum, module)?)?;
    module.add_function(wrap_pyfunction!(condition_rewards, module)?)?;
    module.add_function(wrap_pyfunction!(sibling_advantages, module)?)?;
    module.add_function(wrap_pyfunction!(spread, module)?)
}
