use convrec_config::ConfigError;
use convrec_text::Years;
use serde::{Deserialize, Serialize};

use crate::AdjustConfig;

/// The settings of the pipeline's steps. The default is the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineConfig {
    /// N, the number of items that the teacher is asked for, and of items in a demonstration.
    /// Paper: 20.
    pub n: usize,
    /// Whether a line of an answer must name a year to be an off-catalog item. Titles of the
    /// catalog need none.
    pub years: Years,
    /// The confidence from which on a name that is no title of the catalog counts as the item that
    /// it most likely means ([`FuzzyIndex`](convrec_catalog::FuzzyIndex)). Not set, only exact
    /// names count, as in the paper's I_ic.
    pub fuzzy: Option<f64>,
    /// Whether Remap runs. Without it only the items of the answer that are in the catalog are
    /// left.
    pub remap: bool,
    /// Weight of the conversation's similarity in Remap. Paper: 1.
    pub lambda: f64,
    /// Whether Reflect runs.
    pub reflect: bool,
    /// Candidates that the judge rates: N_r. Paper: 100.
    pub n_reflect: usize,
    /// Weight of a rating in Reflect. Paper: 0.5.
    pub gamma: f64,
    /// Whether Adjust runs.
    pub adjust: bool,
    /// The settings of Adjust's fit.
    pub fit: AdjustConfig,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            n: 20,
            years: Years::Required,
            fuzzy: None,
            remap: true,
            lambda: 1.0,
            reflect: true,
            n_reflect: 100,
            gamma: 0.5,
            adjust: true,
            fit: AdjustConfig::default(),
        }
    }
}

impl PipelineConfig {
    /// Checks that `n` and `n_reflect` are at least 1, that `lambda` and `gamma` are finite and not
    /// below 0, that `fuzzy` lies in 0..=1, and [`AdjustConfig::check`].
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let weight = |value: f64| value.is_finite() && value >= 0.0;
        let confidence = |value: f64| (0.0..=1.0).contains(&value);
        convrec_config::check(
            self,
            &[
                ("n", self.n > 0, "at least 1"),
                ("n_reflect", self.n_reflect > 0, "at least 1"),
                ("lambda", weight(self.lambda), "a number of 0 or more"),
                ("gamma", weight(self.gamma), "a number of 0 or more"),
                (
                    "fuzzy",
                    self.fuzzy.is_none_or(confidence),
                    "a confidence in 0..=1",
                ),
            ],
        )?;
        self.fit.check().map_err(|e| e.within("fit"))
    }
}
