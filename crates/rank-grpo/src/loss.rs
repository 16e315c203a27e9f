//! The one loss function.

use crate::aggregate::Partition;
use crate::inputs::{to_host, usable};
use crate::metrics::{Meter, Metrics};
use crate::terms::Ratio;
use crate::{InputError, Kl, LossConfig, LossInputs, RatioLevel};
use burn::tensor::{Bool, Tensor, TensorData};

/// A checked [`LossConfig`]: the only thing that computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    config: LossConfig,
}

/// A loss to call `backward` on, and what to log.
#[derive(Clone, Debug)]
pub struct LossOutput {
    /// The loss, `[1]`, on the tape of the log-probabilities.
    pub loss: Tensor<1>,
    /// What to log.
    pub metrics: Metrics,
}

/// A loss on the host, with its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The loss.
    pub loss: f64,
    /// d loss / d `log_probs`, `[B, T]` row by row; 0 for tokens that do not count.
    pub gradient: Vec<f64>,
    /// What to log.
    pub metrics: Metrics,
}

impl Loss {
    pub(crate) fn from_checked(config: LossConfig) -> Self {
        Loss { config }
    }

    /// The configuration.
    pub fn config(&self) -> &LossConfig {
        &self.config
    }

    /// The loss of a batch as a tensor whose `backward` gives the exact gradient by `log_probs`.
    ///
    /// `log_probs` is `[B, T]`, the log-probability of each token under the policy in training, in
    /// f32 on any device, with or without autodiff. It is read to the host once.
    ///
    /// # Errors
    /// If a table does not have the shape, one that the configuration needs is missing, or the
    /// device fails.
    pub fn forward(
        &self,
        log_probs: Tensor<2>,
        inputs: &LossInputs,
    ) -> Result<LossOutput, InputError> {
        if self.config.entropy_bonus != 0.0 {
            return Err(InputError::Missing {
                field: "entropies in training",
                needed_by: "entropy_bonus",
            });
        }
        self.without_bonus(log_probs, inputs)
    }

    fn without_bonus(
        &self,
        log_probs: Tensor<2>,
        inputs: &LossInputs,
    ) -> Result<LossOutput, InputError> {
        let [rows, tokens] = log_probs.dims();
        if [rows, tokens] != inputs.shape {
            return Err(InputError::Shape {
                found: [rows, tokens],
                expected: inputs.shape,
            });
        }
        let values = to_host(&log_probs)?;
        let Evaluation {
            loss,
            gradient,
            metrics,
        } = self.evaluate(&values, inputs)?;

        let device = log_probs.device();
        let gradient = TensorData::new(gradient, [rows, tokens]);
        let gradient = Tensor::<2>::from_data(gradient, (&device, log_probs.dtype()));
        let infinite: Vec<bool> = values.iter().map(|x| !x.is_finite()).collect();
        let tracked = if infinite.contains(&true) {
            // Their gradient is 0, but 0 times infinity is not. (Found on the host: shaders may
            // assume finite numbers.)
            let infinite = TensorData::new(infinite, [rows, tokens]);
            log_probs.mask_fill(Tensor::<2, Bool>::from_data(infinite, &device), 0.0)
        } else {
            log_probs
        };
        // A function with this gradient; less itself, it is 0, so the value is exactly `loss`.
        let linear = (tracked * gradient).sum();
        Ok(LossOutput {
            loss: linear.clone() - linear.detach() + loss,
            metrics,
        })
    }

    /// As [`forward`](Self::forward), less the entropy bonus: `entropies` `[B, T]` are those of the
    /// distributions in training, with their gradients.
    ///
    /// # Errors
    /// As there.
    pub fn forward_with_entropies(
        &self,
        log_probs: Tensor<2>,
        entropies: Tensor<2>,
        inputs: &LossInputs,
    ) -> Result<LossOutput, InputError> {
        if self.config.entropy_bonus == 0.0 {
            return self.without_bonus(log_probs, inputs);
        }
        if entropies.dims() != inputs.shape {
            return Err(InputError::Shape {
                found: entropies.dims(),
                expected: inputs.shape,
            });
        }
        let values = to_host(&log_probs)?;
        let output = self.without_bonus(log_probs, inputs)?;
        let (tokens, _) = self.tokens_that_count(&values, inputs);
        let mut weights = self.config.aggregation.weights(&tokens, inputs);
        let found = to_host(&entropies)?;
        // An entropy that is not finite is left out, value and gradient.
        let infinite: Vec<bool> = found.iter().map(|x| !x.is_finite()).collect();
        for (weight, infinite) in weights.iter_mut().zip(&infinite) {
            *weight = if *infinite {
                0.0
            } else {
                -self.config.entropy_bonus * *weight
            };
        }
        let (device, shape) = (entropies.device(), inputs.shape);
        let entropies = entropies.mask_fill(
            Tensor::<2, Bool>::from_data(TensorData::new(infinite, shape), &device),
            0.0,
        );
        let weights = Tensor::<2>::from_data(
            TensorData::new(weights, shape),
            (&device, entropies.dtype()),
        );
        Ok(LossOutput {
            loss: output.loss + (entropies * weights).sum(),
            ..output
        })
    }

    /// The loss of a batch and its gradient on the host in f64; what [`forward`](Self::forward) is
    /// made of.
    ///
    /// # Errors
    /// If a table does not have the shape, or one that the configuration needs is missing.
    pub fn evaluate(
        &self,
        log_probs: &[f64],
        inputs: &LossInputs,
    ) -> Result<Evaluation, InputError> {
        inputs.check(log_probs.len(), &self.config)?;
        let config = &self.config;
        let (tokens, dropped) = self.tokens_that_count(log_probs, inputs);
        let old_log_probs = inputs.old_log_probs.as_deref().unwrap_or(log_probs);
        let segments = Partition::new(config.ratio, &tokens, inputs);
        let log_ratios = segments.means(&tokens, |t| log_probs[t] - old_log_probs[t]); // [segments of the batch]
        let ratios: Vec<Ratio> = log_ratios.into_iter().map(Ratio::from_log).collect();

        let mut weights = self.policy_weights(&tokens, inputs); // [B, T]
        let correction = config
            .correction
            .as_ref()
            .zip(inputs.sampler_log_probs.as_deref());
        let correction = correction.map(|(correction, sampler)| {
            let (corrections, metrics) =
                correction.weights(&tokens, inputs, old_log_probs, sampler);
            weights
                .iter_mut()
                .zip(corrections)
                .for_each(|(weight, correction)| *weight *= correction);
            metrics
        });
        let penalty = Penalty::new(config, &tokens, inputs);

        let mut loss = 0.0;
        let mut gradient = vec![0.0; log_probs.len()]; // [B, T]
        let mut by_log_ratio = vec![0.0; log_probs.len()]; // [B, T]
        let mut meter = Meter::default();
        for &t in &tokens {
            let ratio = ratios[segments.of[t]];
            let mut term = config.clip.term(ratio, inputs.advantages[t], log_probs[t]) * weights[t];
            if let Some(penalty) = &penalty {
                let kl = penalty
                    .kl
                    .term(log_probs[t], penalty.ref_log_probs[t], ratio);
                term = term + kl * (penalty.kl.beta * penalty.weights[t]);
                meter.kl += kl.value;
            }
            loss += term.value;
            gradient[t] = term.by_log_prob;
            by_log_ratio[t] = term.by_log_ratio;
            meter.ratio(
                ratio.value,
                config.clip.clipped(ratio.value, inputs.advantages[t]),
            );
        }
        // The mean over segments is a symmetric matrix: it takes values forward and gradients back
        // alike.
        let through_ratio = segments.means(&tokens, |t| by_log_ratio[t]);
        tokens
            .iter()
            .for_each(|&t| gradient[t] += through_ratio[segments.of[t]]);
        let entropy = inputs
            .entropies
            .as_ref()
            .map(|h| tokens.iter().map(|&t| h[t]).sum::<f64>());
        let metrics = Metrics {
            correction,
            ..meter.metrics(config.kl.is_some(), entropy, tokens.len(), dropped)
        };
        Ok(Evaluation {
            loss,
            gradient,
            metrics,
        })
    }

    /// The tokens of numerator and denominator alike, and the share of the mask that was unusable.
    fn tokens_that_count(&self, log_probs: &[f64], inputs: &LossInputs) -> (Vec<usize>, f64) {
        let config = &self.config;
        let kl_ranks = config
            .kl
            .as_ref()
            .and_then(|kl| kl.aggregation.as_ref())
            .is_some_and(|a| a.needs_ranks());
        let levels = [
            Some(config.ratio),
            config
                .correction
                .as_ref()
                .map(|correction| correction.level),
        ];
        let needs_ranks = levels.contains(&Some(RatioLevel::Rank))
            || config.aggregation.needs_ranks()
            || kl_ranks;
        let masked = (0..log_probs.len()).filter(|&t| inputs.mask[t]);
        let masked: Vec<usize> = masked
            .filter(|&t| !needs_ranks || inputs.segments.get(t).is_some())
            .collect();
        let count = masked.len();
        let kept: Vec<usize> = masked
            .into_iter()
            .filter(|&t| usable(log_probs[t]) && inputs.usable(t))
            .collect();
        let dropped = (count - kept.len()) as f64 / count.max(1) as f64;
        (kept, dropped)
    }

    fn policy_weights(&self, tokens: &[usize], inputs: &LossInputs) -> Vec<f64> {
        let mut weights = self.config.aggregation.weights(tokens, inputs);
        if let (true, Some(entropies)) = (self.config.top_entropy < 1.0, &inputs.entropies) {
            let threshold = quantile(
                tokens.iter().map(|&t| entropies[t]).collect(),
                1.0 - self.config.top_entropy,
            );
            // Left out of the sum, not of the count (as in TRL).
            tokens
                .iter()
                .filter(|&&t| entropies[t] < threshold)
                .for_each(|&t| weights[t] = 0.0);
        }
        weights
    }
}

/// What the KL of a token is made of.
struct Penalty<'a> {
    kl: &'a Kl,
    ref_log_probs: &'a [f64],
    weights: Vec<f64>,
}

impl<'a> Penalty<'a> {
    fn new(config: &'a LossConfig, tokens: &[usize], inputs: &'a LossInputs) -> Option<Self> {
        let (kl, ref_log_probs) = (config.kl.as_ref()?, inputs.ref_log_probs.as_ref()?);
        let weights = kl
            .aggregation
            .as_ref()
            .unwrap_or(&config.aggregation)
            .weights(tokens, inputs);
        Some(Penalty {
            kl,
            ref_log_probs,
            weights,
        })
    }
}

/// The quantile of a list by linear interpolation; of an empty one, minus infinity.
fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = q * values.len().saturating_sub(1) as f64;
    let at = |i: f64| values.get(i as usize).copied().unwrap_or(f64::NEG_INFINITY);
    let (low, high) = (at(place.floor()), at(place.ceil()));
    if low == high {
        low
    } else {
        low + (high - low) * place.fract()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::Segments;

    #[test]
    fn the_bonus_is_the_mean_entropy_with_its_gradient() {
        let segments = Segments::ranks(&[0, 1, 1, 0, 1, -1], 2);
        let mask = vec![true, true, true, true, true, false];
        let inputs = LossInputs::new([2, 3], mask, segments, vec![0.5, -1.0, -1.0, 1.0, 0.0, 0.0]);
        let device = Device::flex().autodiff();
        let log_probs = Tensor::<2>::from_floats([[-1.0, -0.5, -0.3], [-0.2, -0.9, 0.0]], &device)
            .require_grad();
        let entropies =
            Tensor::<2>::from_floats([[1.0, 0.6, 0.2], [0.4, 2.0, 9.0]], &device).require_grad();
        let config = LossConfig {
            kl: None,
            ..LossConfig::paper()
        };
        let plain = config
            .clone()
            .check()
            .unwrap()
            .forward(log_probs.clone(), &inputs)
            .unwrap();
        let loss = LossConfig {
            entropy_bonus: 0.1,
            ..config.clone()
        }
        .check()
        .unwrap();
        let with = loss
            .forward_with_entropies(log_probs.clone(), entropies.clone(), &inputs)
            .unwrap();
        // Rank means 1.0 and 0.4, 0.4 and 2.0, each over two ranks and two rows.
        let bonus = 0.1 * (1.0 + 0.4 + 0.4 + 2.0) / 4.0;
        let value = |output: &LossOutput| f64::from(output.loss.clone().into_scalar::<f32>());
        assert!((value(&plain) - value(&with) - bonus).abs() < 1e-6);
        let gradients = with.loss.backward();
        let of_entropies = to_host(&entropies.grad(&gradients).unwrap()).unwrap();
        for (found, share) in of_entropies
            .iter()
            .zip([0.25, 0.125, 0.125, 0.25, 0.25, 0.0])
        {
            assert!((found + 0.1 * share).abs() < 1e-7, "{of_entropies:?}");
        }
        let of_log_probs = |gradients| to_host(&log_probs.grad(&gradients).unwrap()).unwrap();
        assert_eq!(of_log_probs(gradients), of_log_probs(plain.loss.backward()));
        assert!(
            loss.forward(log_probs, &inputs)
                .unwrap_err()
                .to_string()
                .contains("`entropy_bonus`")
        );
        assert!(
            LossConfig {
                entropy_bonus: -0.1,
                ..config
            }
            .check()
            .is_err()
        );
    }
}
