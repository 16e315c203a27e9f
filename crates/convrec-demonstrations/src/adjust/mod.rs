mod fit;
mod minimise;
mod objective;
mod softmax;

use serde::{Deserialize, Serialize};

pub use fit::{AdjustConfig, AdjustError, Fit, FitReport, FitStep, fit};
pub use objective::{Objective, Reduction};

/// Adjust: s_final = w * s_reflect + b, element by element, shared by all conversations (paper,
/// "Adjust").
///
/// [`fit`] fits it to the ground truth of training conversations. It takes off the teacher's bias
/// towards popular items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adjust {
    /// The factor of each catalog item. Shape `[C]`.
    pub w: Vec<f64>,
    /// The shift of each catalog item. Shape `[C]`.
    pub b: Vec<f64>,
}

impl Adjust {
    /// Replaces scores by adjusted scores.
    ///
    /// # Panics
    /// When the number of scores differs from the number of fitted items.
    pub fn apply(&self, scores: &mut [f64]) {
        assert_eq!(
            scores.len(),
            self.w.len(),
            "{} scores for an adjustment of {} items",
            scores.len(),
            self.w.len()
        );
        for ((s, w), b) in scores.iter_mut().zip(&self.w).zip(&self.b) {
            *s = w * *s + b;
        }
    }
}
