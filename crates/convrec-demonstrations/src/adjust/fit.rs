use convrec_config::ConfigError;
use convrec_core::ItemId;
use serde::{Deserialize, Serialize};

use super::minimise::minimise;
use super::{Adjust, Objective, Reduction};
use crate::ScoreRows;

/// The settings of the fit of [`Adjust`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdjustConfig {
    /// The weight of the penalty ||w - 1||^2 + ||b||^2, above 0. Paper: 0.01.
    pub reg: f64,
    /// The mean or the sum over conversations. The paper does not say which.
    pub reduction: Reduction,
    /// The largest Euclidean distance of the solution from the true minimiser, over all of w and b.
    pub tolerance: f64,
    /// The number of steps after which the optimiser gives up.
    pub max_iterations: usize,
}

impl Default for AdjustConfig {
    fn default() -> Self {
        Self {
            reg: 0.01,
            reduction: Reduction::Mean,
            tolerance: 1e-6,
            max_iterations: 1000,
        }
    }
}

impl AdjustConfig {
    /// Checks that `reg` and `tolerance` are above 0 and `max_iterations` is at least 1.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let above_0 = |value: f64| value.is_finite() && value > 0.0;
        convrec_config::check(
            self,
            &[
                ("reg", above_0(self.reg), "a number above 0"),
                ("tolerance", above_0(self.tolerance), "a number above 0"),
                ("max_iterations", self.max_iterations > 0, "at least 1"),
            ],
        )
    }
}

/// A fitted adjustment with the report of the fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The minimiser.
    pub adjust: Adjust,
    /// The report of the fit.
    pub report: FitReport,
}

/// The report of a fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FitReport {
    /// The number of conversations with ground truth.
    pub n_rows: usize,
    /// The steps of the optimiser.
    pub iterations: usize,
    /// The passes over the score rows.
    pub evaluations: usize,
    /// The Euclidean norm of the gradient at the end.
    pub gradient_norm: f64,
    /// The objective at w = 1, b = 0.
    pub objective_start: f64,
    /// The objective at the solution.
    pub objective_end: f64,
}

/// The progress of a fit.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct FitStep {
    /// The number of steps done, 0 at the start.
    pub iteration: usize,
    /// The objective here.
    pub objective: f64,
    /// The Euclidean norm of the gradient here.
    pub gradient_norm: f64,
    /// The norm at which the fit ends.
    pub needed: f64,
}

/// The reason why no adjustment could be fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AdjustError {
    /// A field of the configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data cannot be fitted to.
    #[error("Adjust cannot be fitted: {0}")]
    Data(String),
    /// The optimiser stopped too early.
    #[error(
        "Adjust did not converge in {} iterations: the gradient's norm is {:e}, needed {needed:e}; \
         raise `max_iterations` or `tolerance`", .report.iterations, .report.gradient_norm
    )]
    NotConverged {
        /// The report of the fit so far.
        report: FitReport,
        /// The gradient norm that was asked for.
        needed: f64,
    },
}

/// Fits Adjust by maximum likelihood of the ground truth, from w = 1, b = 0, with L-BFGS in f64.
///
/// The objective is strictly convex with a curvature of at least 2 reg. The distance to its one
/// minimiser is therefore at most ||gradient|| / (2 reg), and the fit ends when that is within
/// `tolerance`. The result does not depend on the number of threads.
///
/// # Shapes
/// `rows` `[conversations, C]`. `ground_truth` holds at least one item for each conversation.
///
/// # Errors
/// [`AdjustError::Config`] when a setting is wrong. [`AdjustError::Data`] when ground truth is
/// missing or outside the catalog, or scores are not finite. [`AdjustError::NotConverged`] when the
/// optimiser does not converge.
pub fn fit(
    rows: &impl ScoreRows,
    ground_truth: &[Vec<ItemId>],
    config: &AdjustConfig,
    progress: &dyn Fn(FitStep),
) -> Result<Fit, AdjustError> {
    config.check().map_err(|e| e.within("fit"))?;
    check_data(rows, ground_truth)?;
    let n_items = rows.n_items();
    let objective = Objective::new(rows, ground_truth, config.reg, config.reduction);
    let needed = 2.0 * config.reg * config.tolerance;
    let start = [vec![1.0; n_items], vec![0.0; n_items]].concat();
    let show = |iteration, objective, gradient_norm| {
        progress(FitStep {
            iteration,
            objective,
            gradient_norm,
            needed,
        });
    };
    let function = |x: &[f64]| objective.value_and_gradient(x);
    let end = minimise(start, function, needed, config.max_iterations, show);
    let report = FitReport {
        n_rows: rows.n_rows(),
        iterations: end.iterations,
        evaluations: end.evaluations,
        gradient_norm: end.gradient_norm,
        objective_start: end.start_value,
        objective_end: end.value,
    };
    if !report.objective_start.is_finite() {
        return Err(AdjustError::Data(
            "a score is not finite; check the embeddings and ratings".into(),
        ));
    }
    if report.gradient_norm.is_nan() || report.gradient_norm > needed {
        return Err(AdjustError::NotConverged { report, needed });
    }
    let (w, b) = end.x.split_at(n_items);
    Ok(Fit {
        adjust: Adjust {
            w: w.to_vec(),
            b: b.to_vec(),
        },
        report,
    })
}

fn check_data(rows: &impl ScoreRows, ground_truth: &[Vec<ItemId>]) -> Result<(), AdjustError> {
    let bad = |problem: String| Err(AdjustError::Data(problem));
    if rows.n_rows() == 0 {
        return bad("there is no conversation with ground truth".into());
    }
    if rows.n_rows() != ground_truth.len() {
        return bad(format!(
            "{} rows of scores, but {} of ground truth",
            rows.n_rows(),
            ground_truth.len()
        ));
    }
    for (row, items) in ground_truth.iter().enumerate() {
        if items.is_empty() {
            return bad(format!("row {row} has no ground truth; leave it out"));
        }
        if let Some(item) = items.iter().find(|item| item.index() >= rows.n_items()) {
            return bad(format!(
                "row {row} has item {} as ground truth, the catalog {} items",
                item.0,
                rows.n_items()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::RngExt;

    use super::*;
    use crate::stable;

    /// The objective is strictly convex: another start, far away, leads to the same solution.
    #[test]
    fn the_start_does_not_matter() {
        let mut rng = stable::rng(1, "fit");
        let scores = Array2::from_shape_simple_fn((40, 11), || rng.random_range(-2.0..3.0));
        let ground_truth: Vec<Vec<ItemId>> = (0..40)
            .map(|_| vec![ItemId(rng.random_range(0..11))])
            .collect();
        let config = AdjustConfig::default();
        let fitted = fit(&scores, &ground_truth, &config, &|_| ())
            .unwrap()
            .adjust;
        let objective = Objective::new(&scores, &ground_truth, config.reg, config.reduction);
        let start: Vec<f64> = (0..22).map(|_| rng.random_range(-20.0..20.0)).collect();
        let needed = 2.0 * config.reg * config.tolerance;
        let end = minimise(
            start,
            |x| objective.value_and_gradient(x),
            needed,
            config.max_iterations,
            |_, _, _| (),
        );
        let distance = [fitted.w, fitted.b]
            .concat()
            .iter()
            .zip(&end.x)
            .map(|(a, b)| (a - b).powi(2))
            .sum::<f64>()
            .sqrt();
        assert!(
            end.gradient_norm <= needed && distance <= 2.0 * config.tolerance,
            "{distance:e}"
        );
    }
}
