//! The inputs of the loss: everything about a batch but the log-probabilities in training.

use thiserror::Error;

use crate::{Clip, LossConfig, Real, Segments};

/// A batch of B completions of T tokens, without the log-probabilities in training.
///
/// Each table is `[B, T]`, row by row. The tables are constants of the step. Keep them over the
/// updates of one batch of rollouts (`num_iterations` above 1). [`slices`](Self::slices) borrows
/// them as [`LossSlices`].
#[derive(Clone, Debug, PartialEq)]
pub struct LossInputs {
    /// The shape `[B, T]`.
    pub shape: [usize; 2],
    /// The tokens that count. Padding does not count. Tokens that the policy did not choose
    /// (forced tokens) should not count either.
    pub mask: Vec<bool>,
    /// The rank of each token. The loss reads it only where its [`LossConfig`] asks for ranks.
    /// There, tokens without a rank take no part.
    pub segments: Segments,
    /// The advantage of each token. [`spread`](crate::spread) makes it from advantages per rank.
    pub advantages: Vec<f64>,
    /// The log-probabilities under the policy that sampled, as the trainer computes them.
    ///
    /// `None` means on-policy: the loss takes the current ones as constants. Every ratio is then
    /// exactly 1 and still has a gradient (quirk L8).
    pub old_log_probs: Option<Vec<f64>>,
    /// The log-probabilities as the sampler reports them. A
    /// [`correction`](LossConfig::correction) needs them. An
    /// [`off_policy_mask_threshold`](LossConfig::off_policy_mask_threshold) prefers them to
    /// `old_log_probs`.
    pub sampler_log_probs: Option<Vec<f64>>,
    /// The log-probabilities under the reference policy. A [`kl`](LossConfig::kl) penalty needs
    /// them.
    pub ref_log_probs: Option<Vec<f64>>,
    /// The entropy of the policy at each token, in nats. A
    /// [`top_entropy_quantile`](LossConfig::top_entropy_quantile) below 1 and an
    /// [`entropy_coef`](LossConfig::entropy_coef) need it. Elsewhere it is only a metric.
    pub entropies: Option<Vec<f64>>,
    /// The size of the batch that this is a micro-batch of. `None` means that this is all of it.
    pub whole_batch: Option<BatchTotals>,
}

/// The borrowed form of [`LossInputs`], in f32 or f64, for [`Loss::evaluate_into`].
///
/// The fields are those of [`LossInputs`].
///
/// [`Loss::evaluate_into`]: crate::Loss::evaluate_into
#[derive(Clone, Copy, Debug)]
pub struct LossSlices<'a, F> {
    /// The shape `[B, T]`.
    pub shape: [usize; 2],
    /// The tokens that count.
    pub mask: &'a [bool],
    /// The rank of each token.
    pub segments: &'a Segments,
    /// The advantage of each token.
    pub advantages: &'a [F],
    /// The log-probabilities under the policy that sampled; `None` means on-policy.
    pub old_log_probs: Option<&'a [F]>,
    /// The log-probabilities as the sampler reports them.
    pub sampler_log_probs: Option<&'a [F]>,
    /// The log-probabilities under the reference policy.
    pub ref_log_probs: Option<&'a [F]>,
    /// The entropy of the policy at each token, in nats.
    pub entropies: Option<&'a [F]>,
    /// The size of the batch that this is a micro-batch of.
    pub whole_batch: Option<BatchTotals>,
}

/// The size of a whole batch, for gradient accumulation.
///
/// With it, the losses and gradients of the micro-batches *sum* to those of the whole batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchTotals {
    /// The number of completions, empty ones included.
    pub rows: usize,
    /// The number of tokens that count.
    pub tokens: usize,
}

impl BatchTotals {
    /// The totals of micro-batches that make up one batch.
    ///
    /// It counts the masks. A loss may leave out more tokens by itself (unusable numbers, no rank).
    /// These are still counted, so mask out tokens without a rank beforehand.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a LossInputs>) -> Self {
        let none = BatchTotals { rows: 0, tokens: 0 };
        parts.into_iter().fold(none, |sum, part| {
            let part = part.slices().totals();
            BatchTotals {
                rows: sum.rows + part.rows,
                tokens: sum.tokens + part.tokens,
            }
        })
    }
}

/// Inputs that a loss cannot work with.
#[derive(Debug, Error)]
#[non_exhaustive]
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
    /// A tensor is not `[B, T]`.
    #[error("loss inputs: `{field}` has the shape {found:?}, expected {expected:?} as in `shape`")]
    Shape {
        /// `log_probs` or `entropies`.
        field: &'static str,
        /// The tensor's shape.
        found: [usize; 2],
        /// [`LossInputs::shape`].
        expected: [usize; 2],
    },
    /// The configuration needs a table that was not given.
    #[error(
        "loss inputs: no `{field}`, which the loss config's `{needed_by}` needs; give it or change \
         `{needed_by}`"
    )]
    Missing {
        /// The field of [`LossInputs`].
        field: &'static str,
        /// The field of [`LossConfig`].
        needed_by: &'static str,
    },
    /// A micro-batch is larger than its batch.
    #[error("loss inputs: `whole_batch` has {whole} {what}, but this part of it alone has {part}")]
    WholeBatch {
        /// Rows or tokens.
        what: &'static str,
        /// The whole's.
        whole: usize,
        /// The part's.
        part: usize,
    },
    /// The device did not give up a tensor.
    #[cfg(feature = "burn")]
    #[error("loss inputs: a tensor cannot be read from the device")]
    Read(#[from] burn::tensor::TensorReadError),
}

impl LossInputs {
    /// On-policy inputs without a reference policy.
    ///
    /// Set the other fields as needed: `LossInputs { old_log_probs: Some(old),
    /// ..LossInputs::new(..) }`. All tables are `[B, T]`, as `shape` says.
    #[must_use]
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

    /// The same inputs, borrowed.
    #[must_use]
    pub fn slices(&self) -> LossSlices<'_, f64> {
        LossSlices {
            shape: self.shape,
            mask: &self.mask,
            segments: &self.segments,
            advantages: &self.advantages,
            old_log_probs: self.old_log_probs.as_deref(),
            sampler_log_probs: self.sampler_log_probs.as_deref(),
            ref_log_probs: self.ref_log_probs.as_deref(),
            entropies: self.entropies.as_deref(),
            whole_batch: self.whole_batch,
        }
    }
}

impl<'a, F: Real> LossSlices<'a, F> {
    /// On-policy inputs without a reference policy; set the other fields as needed.
    #[must_use]
    pub fn new(
        shape: [usize; 2],
        mask: &'a [bool],
        segments: &'a Segments,
        advantages: &'a [F],
    ) -> Self {
        LossSlices {
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

    /// The size of this part.
    pub(crate) fn totals(&self) -> BatchTotals {
        BatchTotals {
            rows: self.shape[0],
            tokens: self.mask.iter().filter(|counts| **counts).count(),
        }
    }

    pub(crate) fn check(&self, log_probs: usize, config: &LossConfig) -> Result<(), InputError> {
        let [rows, tokens] = self.shape;
        let expected = rows.saturating_mul(tokens);
        let optional = |table: Option<&[F]>| table.map_or(expected, <[F]>::len);
        let lengths = [
            ("log_probs", log_probs),
            ("mask", self.mask.len()),
            ("segments", self.segments.len()),
            ("advantages", self.advantages.len()),
            ("old_log_probs", optional(self.old_log_probs)),
            ("sampler_log_probs", optional(self.sampler_log_probs)),
            ("ref_log_probs", optional(self.ref_log_probs)),
            ("entropies", optional(self.entropies)),
        ];
        if let Some(&(field, found)) = lengths.iter().find(|(_, found)| *found != expected) {
            return Err(InputError::Length {
                field,
                found,
                rows,
                tokens,
            });
        }
        let needs = [
            (
                "ref_log_probs",
                "kl",
                config.kl.is_some(),
                self.ref_log_probs.is_none(),
            ),
            (
                "entropies",
                "top_entropy_quantile",
                config.top_entropy_quantile < 1.0,
                self.entropies.is_none(),
            ),
            (
                "entropies",
                "entropy_coef",
                config.entropy_coef != 0.0,
                self.entropies.is_none(),
            ),
            (
                "sampler_log_probs",
                "correction",
                config.correction.is_some(),
                self.sampler_log_probs.is_none(),
            ),
        ];
        if let Some(&(field, needed_by, ..)) = needs.iter().find(|n| n.2 && n.3) {
            return Err(InputError::Missing { field, needed_by });
        }
        let Some(whole) = self.whole_batch else {
            return Ok(());
        };
        let part = self.totals();
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

    /// Leaves those of the tokens from `first` on whose numbers are all usable.
    #[inline(always)]
    pub(crate) fn keep(&self, first: usize, keep: &mut [bool]) {
        let tables = [
            self.old_log_probs,
            self.sampler_log_probs,
            self.ref_log_probs,
            self.entropies,
        ];
        keep_usable(self.advantages, first, keep);
        for table in tables.into_iter().flatten() {
            keep_usable(table, first, keep);
        }
    }
}

impl LossConfig {
    /// Whether the loss reads the entropies for more than a metric.
    #[cfg(feature = "burn")]
    pub(crate) fn needs_entropies(&self) -> bool {
        self.entropy_coef != 0.0 || self.top_entropy_quantile < 1.0
    }

    /// Whether tokens without a rank take no part.
    pub(crate) fn needs_ranks(&self) -> bool {
        let by_rank = |level| level == crate::RatioLevel::Rank;
        by_rank(self.importance_sampling_level)
            || self.correction.as_ref().is_some_and(|c| by_rank(c.level))
            || self.aggregation.needs_ranks()
            || self
                .kl_aggregation()
                .is_some_and(crate::Aggregation::needs_ranks)
    }

    /// The average of the KL, where there is one.
    pub(crate) fn kl_aggregation(&self) -> Option<&crate::Aggregation> {
        let kl = self.kl.as_ref()?;
        Some(kl.aggregation.as_ref().unwrap_or(&self.aggregation))
    }

    /// Whether the correction is a factor of the policy loss; VESPO takes it into its weight.
    pub(crate) fn corrects_terms(&self) -> bool {
        self.correction.is_some() && !matches!(self.clip, Clip::Vespo { .. })
    }
}

/// Leaves those of the tokens from `first` on whose number is usable.
#[inline(always)]
pub(crate) fn keep_usable<F: Real>(table: &[F], first: usize, keep: &mut [bool]) {
    for (keep, x) in keep.iter_mut().zip(&table[first..]) {
        *keep &= x.is_usable();
    }
}
