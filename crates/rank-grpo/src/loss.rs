//! The one loss function: a checked configuration, and the two ways to call it on the host.

use crate::batch::Batch;
use crate::{InputError, LossConfig, LossInputs, LossSlices, Metrics, Real, Workspace};

/// A checked [`LossConfig`]: the only thing that computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    config: LossConfig,
}

/// A loss on the host, with its gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The loss.
    pub loss: f64,
    /// d loss / d `log_probs`, `[B, T]` row by row; 0 for tokens that do not count.
    pub gradient: Vec<f64>,
    /// d loss / d `entropies`, `[B, T]`; `None` without an entropy bonus.
    pub entropy_gradient: Option<Vec<f64>>,
    /// The numbers to log.
    pub metrics: Metrics,
}

/// A loss whose gradient was written into the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossValue {
    /// The loss.
    pub loss: f64,
    /// The numbers to log.
    pub metrics: Metrics,
}

impl Loss {
    pub(crate) fn from_checked(config: LossConfig) -> Self {
        Loss { config }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &LossConfig {
        &self.config
    }

    /// The loss of a batch and its gradients, in f64 and in new memory.
    ///
    /// `log_probs` is `[B, T]`: the log-probability of each token under the policy in training.
    ///
    /// # Errors
    /// [`InputError::Length`] if a table does not have the shape, [`InputError::Missing`] if one is
    /// missing that the configuration needs, [`InputError::WholeBatch`] if a micro-batch is larger
    /// than its batch.
    pub fn evaluate(
        &self,
        log_probs: &[f64],
        inputs: &LossInputs,
    ) -> Result<Evaluation, InputError> {
        let (mut workspace, mut gradient) = (Workspace::default(), vec![0.0; log_probs.len()]);
        let value =
            self.evaluate_into(log_probs, &inputs.slices(), &mut workspace, &mut gradient)?;
        let bonus = self.config.entropy_coef != 0.0;
        Ok(Evaluation {
            loss: value.loss,
            gradient,
            entropy_gradient: bonus.then_some(workspace.entropy_gradient),
            metrics: value.metrics,
        })
    }

    /// The loss of a batch, with d loss / d `log_probs` written into `gradient`, `[B, T]`.
    ///
    /// Sums are in f64 for both element types. The `workspace` holds all that is needed in between:
    /// after the first call, further calls of the same shape allocate nothing. With an entropy
    /// bonus, [`Workspace::entropy_gradient`] then holds the gradient by the entropies.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate). [`InputError::Length`] also covers `gradient`. After an
    /// error `gradient` is as it was.
    ///
    /// ```
    /// use rank_grpo::{LossConfig, LossSlices, Segments, Workspace};
    ///
    /// let loss = LossConfig {
    ///     kl: None,
    ///     ..LossConfig::paper()
    /// }
    /// .check()?;
    /// let segments = Segments::ranks(&[0, 1, 1, /**/ 0, 0, 1], 2);
    /// let (mask, advantages) = ([true; 6], [0.7_f32, -0.7, -0.7, -0.7, -0.7, 0.7]);
    /// let inputs = LossSlices::new([2, 3], &mask, &segments, &advantages);
    ///
    /// let (mut workspace, mut gradient) = (Workspace::default(), [0.0_f32; 6]);
    /// for step in 0..3 {
    ///     let log_probs = [-1.0_f32 - step as f32; 6]; // in earnest: of the policy
    ///     loss.evaluate_into(&log_probs, &inputs, &mut workspace, &mut gradient)?;
    ///     assert!(gradient[0] < 0.0); // a step against it makes the token more probable
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn evaluate_into<F: Real>(
        &self,
        log_probs: &[F],
        inputs: &LossSlices<'_, F>,
        workspace: &mut Workspace,
        gradient: &mut [F],
    ) -> Result<LossValue, InputError> {
        inputs.check(log_probs.len(), &self.config)?;
        if gradient.len() != log_probs.len() {
            let [rows, tokens] = inputs.shape;
            return Err(InputError::Length {
                field: "gradient",
                found: gradient.len(),
                rows,
                tokens,
            });
        }
        Ok(Batch::new(&self.config, log_probs, inputs).evaluate(workspace, gradient))
    }
}
