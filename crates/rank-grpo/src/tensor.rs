//! The loss as a burn tensor to call `backward` on.

use burn::tensor::{Bool, Tensor, TensorData, TensorReadError};

use crate::{InputError, Loss, LossInputs, LossSlices, Metrics, Workspace};

/// The output of the policy in training: tensors `[B, T]` on any device, with or without autodiff.
#[derive(Clone, Debug)]
pub struct PolicyOutput {
    /// The log-probability of each token.
    pub log_probs: Tensor<2>,
    /// The entropy of the distribution at each token, in nats.
    ///
    /// An [`entropy_coef`](crate::LossConfig::entropy_coef) above 0 needs it. Where the
    /// configuration uses entropies, these take the place of
    /// [`LossInputs::entropies`]. Elsewhere the loss does not read them from the device.
    pub entropies: Option<Tensor<2>>,
}

impl From<Tensor<2>> for PolicyOutput {
    /// Log-probabilities without entropies.
    fn from(log_probs: Tensor<2>) -> Self {
        PolicyOutput {
            log_probs,
            entropies: None,
        }
    }
}

/// A loss to call `backward` on, and the numbers to log.
#[derive(Clone, Debug)]
pub struct LossOutput {
    /// The loss, `[1]`, on the tape of the policy's output.
    pub loss: Tensor<1>,
    /// The numbers to log.
    pub metrics: Metrics,
}

impl Loss {
    /// The loss of a batch as a tensor whose `backward` gives the exact gradient by the policy's
    /// output.
    ///
    /// A tensor of log-probabilities is a [`PolicyOutput`] too. It is read to the host once; so are
    /// the entropies where the configuration uses them.
    ///
    /// # Errors
    /// - [`InputError::Shape`] or [`InputError::Length`] if a table does not have the shape
    /// - [`InputError::Missing`] if one is missing that the configuration needs
    /// - [`InputError::WholeBatch`] if a micro-batch is larger than its batch
    /// - [`InputError::Read`] if the device fails
    pub fn forward(
        &self,
        policy: impl Into<PolicyOutput>,
        inputs: &LossInputs,
    ) -> Result<LossOutput, InputError> {
        let PolicyOutput {
            log_probs,
            entropies,
        } = policy.into();
        let has_shape = |field, tensor: &Tensor<2>| {
            let (found, expected) = (tensor.dims(), inputs.shape);
            if found == expected {
                return Ok(());
            }
            Err(InputError::Shape {
                field,
                found,
                expected,
            })
        };
        has_shape("log_probs", &log_probs)?;
        let entropies = entropies.filter(|_| self.config().needs_entropies());
        if self.config().entropy_coef != 0.0 && entropies.is_none() {
            return Err(InputError::Missing {
                field: "entropies of PolicyOutput",
                needed_by: "entropy_coef",
            });
        }
        let values = to_host(&log_probs)?;
        let mut slices = inputs.slices();
        let current = match &entropies {
            Some(entropies) => {
                has_shape("entropies", entropies)?;
                Some(to_host(entropies)?)
            }
            None => None,
        };
        slices.entropies = current.as_deref().or(slices.entropies);
        self.on_tape(log_probs, entropies, &values, &slices)
    }

    fn on_tape(
        &self,
        log_probs: Tensor<2>,
        entropies: Option<Tensor<2>>,
        values: &[f64],
        slices: &LossSlices<'_, f64>,
    ) -> Result<LossOutput, InputError> {
        let (mut workspace, mut gradient) = (Workspace::default(), vec![0.0; values.len()]);
        let value = self.evaluate_into(values, slices, &mut workspace, &mut gradient)?;
        let mut loss = surrogate(log_probs, values, gradient) + value.loss;
        if let (Some(tensor), Some(values)) = (entropies, slices.entropies)
            && self.config().entropy_coef != 0.0
        {
            loss = loss + surrogate(tensor, values, workspace.entropy_gradient);
        }
        Ok(LossOutput {
            loss,
            metrics: value.metrics,
        })
    }
}

/// A function of the tensor that is exactly 0 and has this gradient.
fn surrogate(tensor: Tensor<2>, values: &[f64], gradient: Vec<f64>) -> Tensor<1> {
    let (device, shape) = (tensor.device(), tensor.dims());
    let data = TensorData::new(gradient, shape);
    let gradient = Tensor::<2>::from_data(data, (&device, tensor.dtype()));
    let infinite: Vec<bool> = values.iter().map(|x| !x.is_finite()).collect();
    let tracked = if infinite.contains(&true) {
        // Their gradient is 0, but 0 times infinity is not. (Found on the host: shaders may assume
        // finite numbers.)
        let infinite = TensorData::new(infinite, shape);
        tensor.mask_fill(Tensor::<2, Bool>::from_data(infinite, &device), 0.0)
    } else {
        tensor
    };
    let linear = (tracked * gradient).sum();
    linear.clone() - linear.detach()
}

/// The numbers of a tensor `[B, T]`, row by row. The tensor stays where it is, and its tape too.
///
/// # Errors
/// [`TensorReadError`] if the device fails.
pub fn to_host(tensor: &Tensor<2>) -> Result<Vec<f64>, TensorReadError> {
    tensor.clone().try_into_vec_as::<f64>()
}
