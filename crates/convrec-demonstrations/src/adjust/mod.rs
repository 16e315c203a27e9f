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
/// Fitted to the ground truth of training conversations by [`fit`]; takes off the teacher's bias
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
    /// When there are not as many scores as items were fitted.
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
