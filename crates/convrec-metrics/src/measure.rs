//! Measures of a judged list at a cut-off, each in its own file with its source.
//!
//! All lie in [0, 1]. They are 0 for an empty list, for a sample without relevant items, and at a
//! cut-off of 0. They average over samples: the mean of AP@k is MAP@k, that of RR@k is MRR@k.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::JudgedList;

mod hit_rate;
mod map;
mod mrr;
mod ndcg;
mod precision;
mod recall;

pub use hit_rate::hit_rate;
pub use map::average_precision;
pub use mrr::reciprocal_rank;
pub use ndcg::ndcg;
pub use precision::precision;
pub use recall::recall;

/// A measure with its cut-off. It prints, parses and serialises under its usual name, as in
/// `NDCG@10`.
///
/// ```
/// use convrec_metrics::{JudgedList, Measure};
///
/// let measure: Measure = "Recall@20".parse()?;
/// assert_eq!(measure, Measure::Recall(20));
/// assert_eq!(Measure::Ndcg(10).to_string(), "NDCG@10");
/// assert_eq!(measure.of(&JudgedList::new(vec![true, false], 2)), 0.5);
///
/// let error = "nDCG10".parse::<Measure>().unwrap_err();
/// assert!(error.to_string().starts_with("`nDCG10` is not a measure"));
/// # Ok::<(), convrec_metrics::measure::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Measure {
    /// See [`recall`].
    Recall(usize),
    /// See [`ndcg`].
    Ndcg(usize),
    /// See [`hit_rate`].
    HitRate(usize),
    /// See [`reciprocal_rank`].
    Mrr(usize),
    /// See [`average_precision`].
    Map(usize),
    /// See [`precision`].
    Precision(usize),
}

impl Measure {
    /// The mean over lists; NaN for none.
    #[must_use]
    pub fn mean<'a>(&self, judged: impl IntoIterator<Item = &'a JudgedList>) -> f64 {
        // The sum begins at 0.0, as the empty sum of floats is -0.0.
        let add = |(sum, n): (f64, usize), list| (sum + self.of(list), n + 1);
        let (sum, n) = judged.into_iter().fold((0.0, 0), add);
        sum / n as f64
    }

    /// The value for one list.
    pub fn of(self, list: &JudgedList) -> f64 {
        let value = match self {
            Measure::Recall(k) => recall(list, k),
            Measure::Ndcg(k) => ndcg(list, k),
            Measure::HitRate(k) => hit_rate(list, k),
            Measure::Mrr(k) => reciprocal_rank(list, k),
            Measure::Map(k) => average_precision(list, k),
            Measure::Precision(k) => precision(list, k),
        };
        // The sum of no floats is -0.0, which would be printed so.
        value + 0.0
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, k) = match self {
            Measure::Recall(k) => ("Recall", k),
            Measure::Ndcg(k) => ("NDCG", k),
            Measure::HitRate(k) => ("HitRate", k),
            Measure::Mrr(k) => ("MRR", k),
            Measure::Map(k) => ("MAP", k),
            Measure::Precision(k) => ("Precision", k),
        };
        // `pad` so that tables can align names.
        f.pad(&format!("{name}@{k}"))
    }
}

/// The text is not a measure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a measure; expected Recall, NDCG, HitRate, MRR, MAP or Precision, then `@` \
     and a cut-off of at least 1, as in `NDCG@10`"
)]
pub struct ParseError {
    text: String,
}

impl FromStr for Measure {
    type Err = ParseError;

    /// Names are read in any case: `ndcg@10` is `NDCG@10`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError { text: text.into() };
        let (name, k) = text.split_once('@').ok_or_else(bad)?;
        let k = k.parse().ok().filter(|&k| k > 0).ok_or_else(bad)?;
        match name.to_ascii_lowercase().as_str() {
            "recall" => Ok(Measure::Recall(k)),
            "ndcg" => Ok(Measure::Ndcg(k)),
            "hitrate" => Ok(Measure::HitRate(k)),
            "mrr" => Ok(Measure::Mrr(k)),
            "map" => Ok(Measure::Map(k)),
            "precision" => Ok(Measure::Precision(k)),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for Measure {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<Measure> for String {
    fn from(measure: Measure) -> String {
        measure.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_to_text_and_back() {
        let names = [
            "Recall@1",
            "NDCG@10",
            "HitRate@5",
            "MRR@10",
            "MAP@20",
            "Precision@3",
        ];
        for name in names {
            let measure: Measure = name.parse().unwrap();
            assert_eq!(measure.to_string(), name);
            assert_eq!(name.to_lowercase().parse(), Ok(measure));
        }
        let read: Vec<Measure> =
            serde_json::from_str(&serde_json::to_string(&names).unwrap()).unwrap();
        assert_eq!(
            serde_json::to_string(&read).unwrap(),
            serde_json::to_string(&names).unwrap()
        );
        assert_eq!(
            format!("{:>9}|{:<9}|", Measure::Map(5), Measure::Map(5)),
            "    MAP@5|MAP@5    |"
        );
    }

    #[test]
    fn what_is_no_measure_is_refused() {
        for text in [
            "", "@", "NDCG", "NDCG@", "NDCG@0", "NDCG@-1", "NDCG@1.5", "DCG@5", "@5", "NDCG@5 ",
        ] {
            assert!(
                text.parse::<Measure>()
                    .unwrap_err()
                    .to_string()
                    .contains("as in `NDCG@10`"),
                "{text}"
            );
        }
    }
}
