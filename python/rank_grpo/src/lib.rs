//! The native part of the Python package `rank_grpo`. Tables arrive flat and contiguous; the Python
//! part brings them into this form.

mod advantages;

use std::sync::Mutex;

use numpy::{Element, PyReadonlyArray1, PyReadwriteArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rank_grpo::{BatchTotals, LossConfig, LossSlices, LossType, Real, Segments, Workspace};

/// Any error of the crate as a `ValueError`.
pub(crate) fn value_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// The largest N. A table of ranks takes memory for each of them.
const MOST_RANKS: usize = 1_000_000;

/// A checked loss with its buffers.
#[pyclass(frozen)]
struct Loss {
    loss: rank_grpo::Loss,
    buffers: Mutex<Buffers>,
}

/// The memory of one call, kept for the next one.
struct Buffers {
    workspace: Workspace,
    /// The last segments with their `overflow`.
    segments: (Segments, bool),
}

impl Buffers {
    fn new(threads: Option<usize>) -> Self {
        Buffers {
            workspace: threads.map_or_else(Workspace::default, Workspace::with_threads),
            segments: (Segments::sequences(0), false),
        }
    }

    /// Makes segments of ids, in the memory of the last ones where they are of the same kind.
    fn fill(&mut self, ids: &[i64], n_ranks: usize, overflow: bool) -> PyResult<()> {
        let (kept, kept_overflow) = &mut self.segments;
        if (kept.n_ranks(), *kept_overflow) == (n_ranks, overflow) {
            kept.refill(ids);
        } else {
            self.segments = (segments(ids, n_ranks, overflow)?, overflow);
        }
        Ok(())
    }
}

/// The tables of a batch, flat.
#[derive(FromPyObject)]
struct Tables<'py, F: Element> {
    advantages: PyReadonlyArray1<'py, F>,
    old_log_probs: Option<PyReadonlyArray1<'py, F>>,
    sampler_log_probs: Option<PyReadonlyArray1<'py, F>>,
    ref_log_probs: Option<PyReadonlyArray1<'py, F>>,
    entropies: Option<PyReadonlyArray1<'py, F>>,
    mask: PyReadonlyArray1<'py, bool>,
    segments: Option<PyReadonlyArray1<'py, i64>>,
    n_ranks: usize,
    overflow: bool,
    shape: [usize; 2],
    whole_batch: Option<(usize, usize)>,
}

impl Loss {
    fn run<F: Element + Real + Sync>(
        &self,
        py: Python<'_>,
        log_probs: PyReadonlyArray1<'_, F>,
        tables: &Tables<'_, F>,
        mut gradient: PyReadwriteArray1<'_, F>,
    ) -> PyResult<(f64, Option<Vec<f64>>, String)> {
        fn flat<'a, F: Element>(
            table: &'a Option<PyReadonlyArray1<'_, F>>,
        ) -> PyResult<Option<&'a [F]>> {
            table.as_ref().map(|t| t.as_slice().map_err(value_error)).transpose()
        }
        let none = Segments::sequences(0);
        let inputs = LossSlices {
            shape: tables.shape,
            mask: tables.mask.as_slice().map_err(value_error)?,
            segments: &none,
            advantages: tables.advantages.as_slice().map_err(value_error)?,
            old_log_probs: flat(&tables.old_log_probs)?,
            sampler_log_probs: flat(&tables.sampler_log_probs)?,
            ref_log_probs: flat(&tables.ref_log_probs)?,
            entropies: flat(&tables.entropies)?,
            whole_batch: (tables.whole_batch).map(|(rows, tokens)| BatchTotals { rows, tokens }),
        };
        let log_probs = log_probs.as_slice().map_err(value_error)?;
        let gradient = gradient.as_slice_mut().map_err(value_error)?;
        let (ids, n_ranks, overflow) = (flat(&tables.segments)?, tables.n_ranks, tables.overflow);
        let (value, bonus) = py.detach(|| -> PyResult<_> {
            // A panic elsewhere leaves buffers that the next call clears.
            let mut buffers = self.buffers.lock().unwrap_or_else(|e| e.into_inner());
            match ids {
                Some(ids) => buffers.fill(ids, n_ranks, overflow)?,
                None => buffers.segments = (Segments::sequences(log_probs.len()), false),
            }
            let Buffers { workspace, segments: (segments, _) } = &mut *buffers;
            let inputs = LossSlices { segments, ..inputs };
            let value = self.loss.evaluate_into(log_probs, &inputs, workspace, gradient);
            Ok((value, workspace.entropy_gradient().to_vec()))
        })?;
        let value = value.map_err(value_error)?;
        let bonus = (self.loss.config().entropy_coef != 0.0).then_some(bonus);
        let metrics = serde_json::to_string(&value.metrics).map_err(value_error)?;
        Ok((value.loss, bonus, metrics))
    }
}

#[pymethods]
impl Loss {
    /// A loss from a configuration in JSON, for at most so many threads.
    #[new]
    fn new(config: &str, threads: Option<usize>) -> PyResult<Self> {
        let config: LossConfig = serde_json::from_str(config).map_err(value_error)?;
        Ok(Loss {
            loss: config.check().map_err(value_error)?,
            buffers: Mutex::new(Buffers::new(threads)),
        })
    }

    fn evaluate_f32(
        &self,
        py: Python<'_>,
        log_probs: PyReadonlyArray1<'_, f32>,
        tables: Tables<'_, f32>,
        gradient: PyReadwriteArray1<'_, f32>,
    ) -> PyResult<(f64, Option<Vec<f64>>, String)> {
        self.run(py, log_probs, &tables, gradient)
    }

    fn evaluate_f64(
        &self,
        py: Python<'_>,
        log_probs: PyReadonlyArray1<'_, f64>,
        tables: Tables<'_, f64>,
        gradient: PyReadwriteArray1<'_, f64>,
    ) -> PyResult<(f64, Option<Vec<f64>>, String)> {
        self.run(py, log_probs, &tables, gradient)
    }
}

pub(crate) fn segments(ids: &[i64], n_ranks: usize, overflow: bool) -> PyResult<Segments> {
    if !(1..=MOST_RANKS).contains(&n_ranks) {
        return Err(value_error(format!(
            "n_ranks is {n_ranks}, expected 1 to {MOST_RANKS} where segments are given"
        )));
    }
    let build = if overflow { Segments::ranks_and_overflow } else { Segments::ranks };
    Ok(build(ids, n_ranks))
}

/// The configuration of a preset, in JSON.
#[pyfunction]
fn preset(name: &str, max_completion_length: usize) -> PyResult<String> {
    let config = match name {
        "paper" => LossConfig::paper(),
        "authors" => LossConfig::authors(),
        "grpo" => LossConfig::grpo(),
        "bnpo" => LossConfig::bnpo(),
        "gspo" => LossConfig::gspo(),
        "luspo" => LossConfig::luspo(),
        "dr_grpo" => LossConfig::dr_grpo(max_completion_length),
        "dapo" => LossConfig::dapo(),
        "cispo" => LossConfig::cispo(),
        "sapo" => LossConfig::sapo(),
        "vespo" => LossConfig::vespo(),
        "two_sided" => LossConfig::two_sided(1.5),
        "sibling_grpo" => LossConfig::sibling_grpo(),
        other => {
            let of_trl = other.strip_prefix("trl:").unwrap_or(other);
            let loss_type: LossType = serde_json::from_value(of_trl.into())
                .map_err(|_| value_error(format!("no preset {other:?}; see `rank_grpo.PRESETS`")))?;
            loss_type.config(max_completion_length)
        }
    };
    serde_json::to_string(&config).map_err(value_error)
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Loss>()?;
    module.add_function(wrap_pyfunction!(preset, module)?)?;
    advantages::register(module)
}
