//! The update of a weight by its gradient.

use burn::tensor::Tensor;

use crate::composed;
#[cfg(feature = "flex")]
use crate::flex;

/// Settings of one update of AdamW (Loshchilov and Hutter, [arXiv 1711.05101]): see
/// [`AdamW::update`].
///
/// [arXiv 1711.05101]: https://arxiv.org/abs/1711.05101
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// The decoupled decay: the weight shrinks by this times the learning rate.
    pub weight_decay: f32,
    /// Updates of this weight so far, this one included: from 1 on.
    pub time: usize,
}

impl AdamW {
    /// The weight and its two moments after an update:
    ///
    /// ```text
    /// m = beta_1 m + (1 - beta_1) g            v = beta_2 v + (1 - beta_2) g^2
    /// w = (1 - lr wd) w - lr m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon)
    /// ```
    ///
    /// It happens in place on the CPU, where the tensors are held by nobody else. None of them is
    /// tracked by autodiff.
    ///
    /// # Panics
    /// When the shapes differ.
    pub fn update<const N: usize>(
        &self,
        weight: Tensor<N>,
        gradient: Tensor<N>,
        moments: [Tensor<N>; 2],
    ) -> (Tensor<N>, [Tensor<N>; 2]) {
        let same = [&gradient, &moments[0], &moments[1]]
            .iter()
            .all(|tensor| tensor.dims() == weight.dims());
        assert!(same, "weight, gradient and moments have one shape");
        #[cfg(feature = "flex")]
        if flex::takes(&weight) {
            return flex::adamw(weight, gradient, moments, *self);
        }
        composed::adamw(weight, gradient, moments, self)
    }

    /// beta_1, 1 - beta_1, beta_2, 1 - beta_2, 1 / (1 - beta_1^t), 1 / (1 - beta_2^t), epsilon, lr,
    /// 1 - lr wd.
    pub(crate) fn constants(&self) -> [f32; 9] {
        let [beta_1, beta_2] = [self.beta_1, self.beta_2].map(f64::from);
        let time = i32::try_from(self.time).unwrap_or(i32::MAX);
        let constants = [
            beta_1,
            1.0 - beta_1,
            beta_2,
            1.0 - beta_2,
            1.0 / (1.0 - beta_1.powi(time)),
            1.0 / (1.0 - beta_2.powi(time)),
            f64::from(self.epsilon),
            self.learning_rate,
            1.0 - self.learning_rate * f64::from(self.weight_decay),
        ];
        constants.map(|x| x as f32)
    }
}

/// The sum of the squares of all elements, added up in f64 on the CPU.
pub fn sum_of_squares<const N: usize>(x: Tensor<N>) -> f64 {
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        return flex::sum_of_squares(x);
    }
    f64::from(x.square().sum().into_scalar::<f32>())
}
