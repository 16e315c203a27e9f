//! What the loss sees.

use burn::tensor::{Tensor, TensorReadError};
use thiserror::Error;

use crate::{LossConfig, Segments};

/// Everything about a batch of B completions of T tokens but the log-probabilities under training.
///
/// Each field is a `[B, T]` table, row by row. All of it comes from the host, or is a constant of
/// the step; to bring a tensor here, use [`to_host`]. Keep it over the updates of one batch of
/// rollouts (mu > 1).
#[derive(Clone, Debug, PartialEq)]
pub struct LossInputs {
    /// `[B, T]`.
    pub shape: [usize; 2],
    /// The tokens that count. Padding does not, nor does what the policy did not choose (forced
    /// tokens).
    pub mask: Vec<bool>,
    /// The rank of each token. Read only where the [`LossConfig`] asks for ranks; there, tokens
    /// without a rank take no part.
    pub segments: Segments,
    /// The advantage of each token: see [`spread`](crate::spread) and
    /// [`LengthShaping`](crate::LengthShaping).
    pub advantages: Vec<f64>,
    /// Log-probabilities under the policy that sampled, as the trainer computes them. `None` means
    /// on-policy: the current ones as constants, so every ratio is exactly 1 and still has a
    /// gradient (quirk L8).
    pub old_log_probs: Option<Vec<f64>>,
    /// Log-probabilities as the sampler reports them; needed where the [`LossConfig`] has a
    /// correction, and nothing without.
    pub sampler_log_probs: Option<Vec<f64>>,
    /// Log-probabilities under the reference policy; needed where the [`LossConfig`] has a KL
    /// penalty.
    pub ref_log_probs: Option<Vec<f64>>,
    /// Entropy of the policy at each token, in nats; needed where `top_entropy` is below 1, a
    /// metric elsewhere.
    pub entropies: Option<Vec<f64>>,
    /// The batch that this is a micro-batch of. `None`: this is all of it.
    pub whole_batch: Option<BatchTotals>,
}

/// The size of a whole batch, for gradient accumulation: with it, the losses (and gradients) of the
/// micro-batches *sum* to those of the whole batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchTotals {
    /// Completions, empty ones too.
    pub rows: usize,
    /// Tokens that count.
    pub tokens: usize,
}

impl BatchTotals {
    /// The totals of micro-batches that make up one batch.
    ///
    /// Counts the masks. Tokens that a loss leaves out by itself (unusable numbers, no rank) are
    /// counted all the same, so mask out beforehand what has no rank.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a LossInputs>) -> Self {
        parts
            .into_iter()
            .fold(BatchTotals { rows: 0, tokens: 0 }, |sum, part| {
                BatchTotals {
                    rows: sum.rows + part.shape[0],
                    tokens: sum.tokens + part.mask.iter().filter(|counts| **counts).count(),
                }
            })
    }
}

/// Inputs that a loss cannot work with.
#[derive(Debug, Error)]
pub enum InputError {
    /// A table is not `[B, T]`.
    #[error("loss inputs: `{field}` has {found} entries, expected B * T = {rows} * {tokens}")]
    Length {
        /// The field.
        field: &'static str,
        /// Its length.
        found: usize,
        /// B.
        rows: usize,
        /// T.
        tokens: usize,
    },
    /// The tensor is not `[B, T]`.
    #[error(
        "loss inputs: `log_probs` has the shape {found:?}, expected {expected:?} as in `shape`"
    )]
    Shape {
        /// The tensor's shape.
        found: [usize; 2],
        /// [`LossInputs::shape`].
        expected: [usize; 2],
    },
    /// The configuration needs a table that was not given.
    #[error(
        "loss inputs: no `{field}`, which the loss config's `{needed_by}` needs; give it or change `{needed_by}`"
    )]
    Missing {
        /// The field of [`LossInputs`].
        field: &'static str,
        /// The field of [`LossConfig`].
        needed_by: &'static str,
    },
    /// A micro-batch cannot exceed its batch.
    #[error("loss inputs: `whole_batch` has {whole} {what}, but this part of it alone has {part}")]
    WholeBatch {
        /// Rows or tokens.
        what: &'static str,
        /// The whole's.
        whole: usize,
        /// The part's.
        part: usize,
    },
    /// The device did not give up the log-probabilities.
    #[error("loss inputs: `log_probs` cannot be read from the device")]
    Read(#[from] TensorReadError),
}

/// A tensor's numbers, row by row; the tensor stays where it is, and its tape too.
///
/// # Errors
/// If the device fails.
pub fn to_host(tensor: &Tensor<2>) -> Result<Vec<f64>, TensorReadError> {
    tensor.clone().try_into_vec_as::<f64>()
}

impl LossInputs {
    /// On-policy inputs without reference policy; set the other fields as needed:
    /// `LossInputs { old_log_probs: Some(old), ..LossInputs::new(..) }`.
    pub fn new(
        shape: [usize; 2],
        mask: Vec<bool>,
        segments: Segments,
        advantages: Vec<f64>,
    ) -> Self {
        LossInputs {
            shape,
            mask,
            segments,
            advantages,
            old_log_probs: None,
            sampler_log_probs: None,
            ref_log_probs: None,
            entropies: None,
            whole_batch: None,
        }
    }

    pub(crate) fn check(&self, log_probs: usize, config: &LossConfig) -> Result<(), InputError> {
        let [rows, tokens] = self.shape;
        let optional = |table: &Option<Vec<f64>>| table.as_ref().map_or(rows * tokens, Vec::len);
        let lengths = [
            ("log_probs", log_probs),
            ("mask", self.mask.len()),
            ("segments", self.segments.len()),
            ("advantages", self.advantages.len()),
            ("old_log_probs", optional(&self.old_log_probs)),
            ("sampler_log_probs", optional(&self.sampler_log_probs)),
            ("ref_log_probs", optional(&self.ref_log_probs)),
            ("entropies", optional(&self.entropies)),
        ];
        for (field, found) in lengths {
            if found != rows * tokens {
                return Err(InputError::Length {
                    field,
                    found,
                    rows,
                    tokens,
                });
            }
        }
        if config.kl.is_some() && self.ref_log_probs.is_none() {
            return Err(InputError::Missing {
                field: "ref_log_probs",
                needed_by: "kl",
            });
        }
        if config.top_entropy < 1.0 && self.entropies.is_none() {
            return Err(InputError::Missing {
                field: "entropies",
                needed_by: "top_entropy",
            });
        }
        if config.correction.is_some() && self.sampler_log_probs.is_none() {
            return Err(InputError::Missing {
                field: "sampler_log_probs",
                needed_by: "correction",
            });
        }
        let part = BatchTotals::of([self]);
        let whole = self.whole_batch.unwrap_or(part);
        for (what, whole, part) in [
            ("rows", whole.rows, part.rows),
            ("tokens", whole.tokens, part.tokens),
        ] {
            if whole < part {
                return Err(InputError::WholeBatch { what, whole, part });
            }
        }
        Ok(())
    }

    /// Whether every number given for this token is usable: finite, and of a size that a
    /// log-probability has.
    pub(crate) fn usable(&self, token: usize) -> bool {
        let given = [
            &self.old_log_probs,
            &self.sampler_log_probs,
            &self.ref_log_probs,
            &self.entropies,
        ];
        usable(self.advantages[token])
            && given
                .into_iter()
                .flatten()
                .all(|table| usable(table[token]))
    }
}

/// The largest number that the loss takes for a log-probability, an advantage or an entropy.
///
/// Logits of forbidden tokens are often set to -1e9 or to the lowest number there is, not to -inf.
/// What is beyond this bound is as unusable as NaN, and inside it no product in the loss leaves the
/// range of f32.
const LARGEST: f64 = 1e6;

pub(crate) fn usable(x: f64) -> bool {
    // False for NaN.
    x.abs() <= LARGEST
}
