use convrec_text::Years;
use serde::{Deserialize, Serialize};

use crate::AdjustConfig;

/// Which steps run, and how. The default is the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineConfig {
    /// Items asked of the teacher, and items of a demonstration: N. Paper: 20.
    pub n: usize,
    /// Whether a line of an answer must name a year to be an off-catalog item. Titles of the
    /// catalog need none.
    pub years: Years,
    /// Takes a name that is no title of the catalog, but most likely means one, for that item:
    /// with at least this confidence ([`FuzzyIndex`](convrec_catalog::FuzzyIndex)). Not set,
    /// only exact names are; the paper's I_ic.
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
    /// How Adjust is fitted.
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
    /// `n` and `n_reflect` are at least 1, `lambda` and `gamma` finite and not below 0, `fuzzy` in
    /// 0..=1, `fit` as [`AdjustConfig::check`].
    ///
    /// # Errors
    /// The field that is wrong, and what was found and expected.
    pub fn check(&self) -> Result<(), (String, String)> {
        for (field, value) in [("n", self.n), ("n_reflect", self.n_reflect)] {
            if value == 0 {
                return Err((field.into(), "0; expected at least 1".into()));
            }
        }
        for (field, value) in [("lambda", self.lambda), ("gamma", self.gamma)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err((
                    field.into(),
                    format!("{value}; expected a number of 0 or more"),
                ));
            }
        }
        if let Some(confidence) = self
            .fuzzy
            .filter(|confidence| !(0.0..=1.0).contains(confidence))
        {
            return Err((
                "fuzzy".into(),
                format!("{confidence}; expected a confidence in 0..=1"),
            ));
        }
        self.fit
            .check()
            .map_err(|(field, problem)| (format!("fit.{field}"), problem))
    }
}
