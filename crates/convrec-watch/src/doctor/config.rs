use std::collections::BTreeSet;

use convrec_config::{ConfigError, check};
use serde::{Deserialize, Serialize};

use super::Check;

/// The thresholds of an unhealthy run.
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
    /// Entropy now, as a multiple of that at first, above which it runs away. It must also have
    /// risen by `entropy_rise`.
    pub entropy_high: f64,
    /// Rise of the entropy, in nats a token, below which it does not run away: small entropies
    /// double easily.
    pub entropy_rise: f64,
    /// Length now (in tokens or items), as a share of that at first, below which lists have become
    /// too short.
    pub length_low: f64,
    /// Length now, as a multiple of that at first, above which lists have become too long.
    pub length_high: f64,
    /// Rise of the share of completions that were cut, from which on the end token counts as
    /// missing.
    pub cut_rise: f64,
    /// Fall of the share of named items that are in the catalog, from which on lists count as
    /// leaving it.
    pub catalog_fall: f64,
    /// Popularity of the listed items now, as a multiple of that at first or the reverse, above
    /// which it drifts.
    pub popularity_drift: f64,
    /// Mean difference between the log-probabilities of sampler and trainer, in nats a token, above
    /// which they are two policies. In a single record the limit is five times as much. The
    /// training loop has a limit of its own for single steps where it samples itself.
    pub sampler_difference: f64,
    /// Records in a row whose loss is not a number.
    pub nan_records: usize,
    /// Norm of the gradient (the median of the last five records), as a multiple of its median
    /// over the three windows before, above which it explodes.
    pub gradient_spike: f64,
    /// Evaluations in each of the two groups, the first and the last, whose medians are compared;
    /// three at least.
    pub evaluations: usize,
    /// Fall of all measures of the evaluations, as a share of each measure's first value, from
    /// which on a rising reward counts as hacked.
    pub evaluation_fall: f64,
    /// The beginnings of the names of measures for which more is better.
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
