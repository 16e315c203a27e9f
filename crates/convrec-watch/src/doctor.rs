//! Reads a run's records as they come, and stops a run that has gone wrong.

use std::collections::BTreeMap;

mod config;
mod diagnosis;
mod series;
#[cfg(test)]
mod tests;

pub use config::DoctorConfig;
pub use diagnosis::{Check, Diagnosis};
use series::{Median, Series, Streak};

use convrec_config::ConfigError;

use crate::record::{Record, number, step};

/// Reads a run's records and says when the run is unhealthy.
///
/// It compares medians of windows, not steps, and keeps only the values of these windows. Its state
/// is a function of the records: a resumed run shows it the log first. All names are TRL's, so it
/// reads TRL's logs too. A check whose field is missing is silent.
///
/// ```
/// use convrec_watch::{Check, Doctor, DoctorConfig, Record};
///
/// let mut doctor = Doctor::new(DoctorConfig::default()).unwrap();
/// let record = |step: usize| {
///     let entropy = if step < 50 { 1.1 } else { 0.001 }; // nats a token
///     Record::from_iter([("step".to_string(), step.into()), ("entropy".to_string(), entropy.into())])
/// };
/// let diagnosis = (1..100).find_map(|step| doctor.check(&record(step)).err()).unwrap();
/// assert_eq!((diagnosis.check, diagnosis.last), (Check::EntropyLow, 60)); // when half of the latest 20 steps are so
/// println!("{diagnosis}");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Doctor {
    config: DoctorConfig,
    records: usize,
    series: BTreeMap<&'static str, Series>,
    /// The values of each measure of the evaluations.
    evaluations: BTreeMap<String, Series>,
    without_kl: Streak,
    without_gradient: Streak,
    without_loss: Streak,
}

/// A check of drift: its name, its field, and whether the first and the present median are
/// unhealthy.
type Drift = (Check, &'static str, fn(&DoctorConfig, f64, f64) -> bool);

const DRIFTS: [Drift; 9] = [
    (Check::EntropyLow, "entropy", |c, first, now| {
        now < c.entropy_low * first
    }),
    (Check::EntropyHigh, "entropy", |c, first, now| {
        now > c.entropy_high * first && now - first > c.entropy_rise
    }),
    (Check::LengthLow, "items", |c, first, now| {
        now < c.length_low * first
    }),
    (Check::LengthHigh, "items", |c, first, now| {
        now > c.length_high * first
    }),
    (
        Check::MissingEos,
        "completions/clipped_ratio",
        |c, first, now| now - first > c.cut_rise,
    ),
    (
        Check::LengthLow,
        "completions/mean_length",
        |c, first, now| now < c.length_low * first,
    ),
    (
        Check::LengthHigh,
        "completions/mean_length",
        |c, first, now| now > c.length_high * first,
    ),
    (Check::OffCatalog, "in_catalog", |c, first, now| {
        first - now > c.catalog_fall
    }),
    (Check::PopularityDrift, "popularity", |c, first, now| {
        now > c.popularity_drift * first || now * c.popularity_drift < first
    }),
];

/// The fields whose first and latest values are compared or limited.
const FIELDS: [&str; 9] = [
    "entropy",
    "items",
    "completions/clipped_ratio",
    "completions/mean_length",
    "in_catalog",
    "popularity",
    "kl",
    "reward",
    SAMPLER,
];

const SAMPLER: &str = "sampling/sampling_logp_difference/mean";

/// The number of records whose median is the gradient's present norm.
const GRADIENTS: usize = 5;

impl Doctor {
    /// A doctor that has seen no record yet.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting that is wrong.
    pub fn new(config: DoctorConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            records: 0,
            series: BTreeMap::new(),
            evaluations: BTreeMap::new(),
            without_kl: Streak::default(),
            without_gradient: Streak::default(),
            without_loss: Streak::default(),
        })
    }

    /// All findings about a run, each check once, as it is first seen.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting that is wrong.
    pub fn examine(
        config: DoctorConfig,
        records: &[Record],
    ) -> Result<Vec<Diagnosis>, ConfigError> {
        let mut doctor = Self::new(config)?;
        let mut found: Vec<Diagnosis> = Vec::new();
        for record in records {
            doctor.take(record);
            while let Some(diagnosis) = doctor.find() {
                doctor.config.off.insert(diagnosis.check);
                found.push(diagnosis);
            }
        }
        Ok(found)
    }

    /// Takes in the next record.
    ///
    /// # Errors
    /// [`Diagnosis`] of the first check that fails. It is repeated at each record while it lasts.
    pub fn check(&mut self, record: &Record) -> Result<(), Diagnosis> {
        self.take(record);
        self.find().map_or(Ok(()), Err)
    }

    fn take(&mut self, record: &Record) {
        self.records += 1;
        let step = step(record).unwrap_or(self.records);
        let window = self.config.window;
        for field in FIELDS {
            if let Some(value) = number(record, field) {
                self.series
                    .entry(field)
                    .or_default()
                    .push(step, value, window, window);
            }
        }
        self.take_gradient(step, record);
        if let Some(loss) = record.get("loss") {
            self.without_loss.push(step, loss.as_f64().is_none());
        }
        let is_measure = |name: &str| {
            self.config
                .measures
                .iter()
                .any(|start| name.starts_with(start))
        };
        let n = self.config.evaluations;
        for (name, value) in record.iter().filter(|(name, _)| is_measure(name)) {
            if let Some(value) = value.as_f64() {
                self.evaluations
                    .entry(name.clone())
                    .or_default()
                    .push(step, value, n, n);
            }
        }
    }

    fn take_gradient(&mut self, step: usize, record: &Record) {
        let learns = number(record, "learning_rate").is_some_and(|rate| rate > 0.0);
        if let Some(kl) = number(record, "kl").filter(|_| learns) {
            self.without_kl.push(step, kl.abs() < self.config.kl_flat);
        }
        let Some(norm) = number(record, "grad_norm") else {
            return;
        };
        if learns {
            self.without_gradient.push(step, norm == 0.0);
        }
        // A batch without any difference in its rewards says nothing about the norm.
        if norm > 0.0 {
            let kept = 3 * self.config.window + GRADIENTS;
            self.series
                .entry("grad_norm")
                .or_default()
                .push(step, norm, 0, kept);
        }
    }

    fn find(&self) -> Option<Diagnosis> {
        let found = self
            .loss()
            .or_else(|| self.still())
            .or_else(|| self.high())
            .or_else(|| self.gradient());
        found.or_else(|| self.drift()).or_else(|| self.hacked())
    }

    fn is_on(&self, check: Check) -> bool {
        !self.config.off.contains(&check)
    }

    fn streak(&self, check: Check, streak: Streak, enough: usize, seen: &str) -> Option<Diagnosis> {
        (self.is_on(check) && streak.records >= enough).then(|| Diagnosis {
            check,
            first: streak.from,
            last: streak.to,
            seen: format!("{seen} in {} records in a row", streak.records),
        })
    }

    fn loss(&self) -> Option<Diagnosis> {
        let enough = self.config.nan_records;
        self.streak(
            Check::LossNotANumber,
            self.without_loss,
            enough,
            "`loss` is not a number",
        )
    }

    fn still(&self) -> Option<Diagnosis> {
        let enough = self.config.stalled_records;
        let kl = format!(
            "`kl` is measured and is below {:e} nats a token, with a learning rate,",
            self.config.kl_flat
        );
        let gradient = "`grad_norm` is exactly 0, with a learning rate,";
        let found = self.streak(
            Check::StalledWeights,
            self.without_gradient,
            enough,
            gradient,
        );
        found.or_else(|| self.streak(Check::StalledWeights, self.without_kl, enough, &kl))
    }

    fn high(&self) -> Option<Diagnosis> {
        let (window, apart) = (self.config.window, self.config.sampler_difference);
        let limits = [
            (Check::KlHigh, "kl", self.config.kl_high, window),
            (Check::SamplerMismatch, SAMPLER, apart, window),
            // A server that came back with old weights spoils a single step. One such step is too
            // many.
            (Check::SamplerMismatch, SAMPLER, 5.0 * apart, 1),
        ];
        limits
            .into_iter()
            .filter(|(check, ..)| self.is_on(*check))
            .find_map(|(check, field, limit, window)| {
                let now = self
                    .series
                    .get(field)?
                    .latest(window)
                    .filter(|now| now.value > limit)?;
                let seen = format!(
                    "`{field}` is {} nats a token in the median, above {limit}",
                    short(now.value)
                );
                Some(Diagnosis {
                    check,
                    first: now.from,
                    last: now.to,
                    seen,
                })
            })
    }

    fn gradient(&self) -> Option<Diagnosis> {
        let norms = self
            .series
            .get("grad_norm")
            .filter(|_| self.is_on(Check::GradientSpike))?;
        let (now, before) = (
            norms.latest(GRADIENTS)?,
            norms.before_latest(GRADIENTS, self.config.window)?,
        );
        (now.value > self.config.gradient_spike * before.value)
            .then(|| compared(Check::GradientSpike, "grad_norm", before, now))
    }

    fn drift(&self) -> Option<Diagnosis> {
        DRIFTS
            .iter()
            .filter(|(check, ..)| self.is_on(*check))
            .find_map(|(check, field, is_unhealthy)| {
                let (first, now) = self.series.get(field)?.ends(self.config.window)?;
                is_unhealthy(&self.config, first.value, now.value)
                    .then(|| compared(*check, field, first, now))
            })
    }

    /// A rise is measured by the spread of the first rewards, as rewards may have any sign and
    /// size.
    fn hacked(&self) -> Option<Diagnosis> {
        let rewards = self
            .series
            .get("reward")
            .filter(|_| self.is_on(Check::RewardHacked))?;
        let (at_first, now) = rewards.ends(self.config.window)?;
        if now.value <= rewards.upper_quartile_of_first()? {
            return None;
        }
        let ends =
            |(name, measure): (_, &Series)| Some((name, measure.ends(self.config.evaluations)?));
        let measures: Vec<(&String, (Median, Median))> =
            self.evaluations.iter().filter_map(ends).collect();
        let kept = 1.0 - self.config.evaluation_fall;
        // A single one of many measures falls easily, so all must fall.
        if measures
            .iter()
            .any(|(_, (first, last))| last.value >= kept * first.value)
        {
            return None;
        }
        let (name, (first, last)) = measures.into_iter().next()?;
        let reward = format!(
            "`reward` rose from {} to {}, but ",
            short(at_first.value),
            short(now.value)
        );
        let measure = compared(Check::RewardHacked, name, first, last);
        Some(Diagnosis {
            seen: reward + &measure.seen,
            ..measure
        })
    }
}

fn compared(check: Check, field: &str, before: Median, now: Median) -> Diagnosis {
    let (is, was) = (short(now.value), short(before.value));
    let seen = format!(
        "`{field}` is {is} in the median; over steps {} to {} it was {was}",
        before.from, before.to
    );
    Diagnosis {
        check,
        first: now.from,
        last: now.to,
        seen,
    }
}

/// A number with four digits, for people to read.
pub(crate) fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    match 3 - value.abs().log10().floor() as i32 {
        digits @ 0..=7 => format!("{value:.*}", digits as usize),
        ..0 => format!("{value:.0}"),
        _ => format!("{value:.3e}"),
    }
}
