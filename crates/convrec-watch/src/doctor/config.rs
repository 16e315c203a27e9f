use std::collections::BTreeSet;

use convrec_config::{ConfigError, check};
use serde::{Deserialize, Serialize};

use super::Check;

/// When a run is unhealthy.
///
/// "At first" is the median of the first `window` records that have the value, "now" that of the
/// latest `window`. Records are steps where each step is logged, as here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DoctorConfig {
    /// Checks that are left out, as in `off = ["entropy_high"]`.
    pub off: BTreeSet<Check>,
    /// Records in a window.
    pub window: usize,
    /// Records in a row, all with a learning rate, over which no KL or no gradient at all means
    /// that the weights do not move.
    pub stalled_records: usize,
    /// KL, in nats a token, below which the policy is still the reference.
    pub kl_flat: f64,
    /// KL, in nats a token, above which the policy has left the reference behind.
    pub kl_high: f64,
    /// Entropy now, as a share of that at first, below which it has collapsed.
    pub entropy_low: f64,
    /// Entropy now, as a multiple of that at first, above which it runs away ...
    pub entropy_high: f64,
    /// ... if it has also risen by as many nats a token: small entropies double easily.
    pub entropy_rise: f64,
    /// Length now (in tokens or items), as a share of that at first, below which lists have become
    /// too short.
    pub length_low: f64,
    /// Length now, as a multiple of that at first, above which lists have become too long.
    pub length_high: f64,
    /// Rise of the share of completions that were cut, from which on the end token is lost.
    pub cut_rise: f64,
    /// Fall of the share of named items that are in the catalog, from which on lists leave it.
    pub catalog_fall: f64,
    /// Popularity of what is recommended, now as a multiple of that at first or the reverse, above
    /// which it drifts.
    pub popularity_drift: f64,
    /// Mean difference between the log-probabilities of sampler and trainer, in nats a token,
    /// above which they are two policies; five times as much in a single record. The training
    /// loop has a limit of its own, for single steps, where it samples itself.
    pub sampler_difference: f64,
    /// Records in a row whose loss is not a number.
    pub nan_records: usize,
    /// Norm of the gradient (the median of the last five records), as a multiple of its median
    /// over the three windows before, above which it explodes.
    pub gradient_spike: f64,
    /// Evaluations (three at least) of which the first and the last are compared by their medians.
    pub evaluations: usize,
    /// Fall of all measures of the evaluations, as a share of what each was, from which on a
    /// rising reward is not to be trusted.
    pub evaluation_fall: f64,
    /// How the names of measures begin of which more is better.
    pub measures: Vec<String>,
}

impl Default for DoctorConfig {
    fn default() -> Self {
        Self {
            off: BTreeSet::new(),
            window: 20,
            stalled_records: 100,
            kl_flat: 1e-6,
            kl_high: 5.0,
            entropy_low: 0.05,
            entropy_high: 4.0,
            entropy_rise: 1.0,
            length_low: 0.5,
            length_high: 2.0,
            cut_rise: 0.3,
            catalog_fall: 0.2,
            popularity_drift: 2.0,
            sampler_difference: 0.1,
            nan_records: 2,
            gradient_spike: 20.0,
            evaluations: 3,
            evaluation_fall: 0.25,
            measures: vec!["eval_NDCG".into(), "eval_Recall".into()],
        }
    }
}

impl DoctorConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong, as `doctor.window`.
    pub fn check(&self) -> Result<(), ConfigError> {
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let share = |x: f64| x > 0.0 && x < 1.0;
        let multiple = |x: f64| x > 1.0 && x.is_finite();
        let rules = [
            ("window", self.window >= 5, "at least 5"),
            ("stalled_records", self.stalled_records >= 2, "at least 2"),
            (
                "kl_flat",
                positive(self.kl_flat),
                "a positive number of nats",
            ),
            (
                "kl_high",
                self.kl_high > self.kl_flat && self.kl_high.is_finite(),
                "more nats than `kl_flat`",
            ),
            (
                "entropy_low",
                share(self.entropy_low),
                "a share between 0 and 1",
            ),
            (
                "entropy_high",
                multiple(self.entropy_high),
                "a multiple above 1",
            ),
            (
                "entropy_rise",
                self.entropy_rise >= 0.0 && self.entropy_rise.is_finite(),
                "nats, 0 or more",
            ),
            (
                "length_low",
                share(self.length_low),
                "a share between 0 and 1",
            ),
            (
                "length_high",
                multiple(self.length_high),
                "a multiple above 1",
            ),
            ("cut_rise", share(self.cut_rise), "a share between 0 and 1"),
            (
                "catalog_fall",
                share(self.catalog_fall),
                "a share between 0 and 1",
            ),
            (
                "popularity_drift",
                multiple(self.popularity_drift),
                "a multiple above 1",
            ),
            (
                "sampler_difference",
                positive(self.sampler_difference),
                "a positive number of nats",
            ),
            ("nan_records", self.nan_records > 0, "at least 1"),
            (
                "gradient_spike",
                multiple(self.gradient_spike),
                "a multiple above 1",
            ),
            (
                "measures",
                self.measures.iter().all(|name| name.starts_with("eval_")),
                "beginnings as `eval_NDCG`",
            ),
            ("evaluations", self.evaluations >= 3, "at least 3"),
            (
                "evaluation_fall",
                share(self.evaluation_fall),
                "a share between 0 and 1",
            ),
        ];
        check(self, &rules).map_err(|e| e.within("doctor"))
    }
}
