//! Judges lists of titles and years, as the paper's own evaluation does and as the textbook does.
//!
//! The figures published with Rank-GRPO (Zhu et al., arXiv 2510.20150) come from a function of the
//! authors' code, `evaluate_direct_match`. It differs from the textbook in ways that change the
//! numbers, so a figure is worth little without the name of its protocol. The differences are:
//!
//! | quirk | [`Protocol::Reference`] | [`Protocol::Textbook`] |
//! |---|---|---|
//! | M1 | seen and off-catalog items are removed first; later items move up | every item keeps its rank |
//! | M2 | the ideal list is no longer than the filtered list: a short list is not punished in NDCG | ideal over `min(k, ground truths)` |
//! | M3 | each ground truth marks the first entry that fits, even one already marked; two ground truths of one title count one hit | one to one, nearest year first |
//! | M4 | no ground truth: NaN, or 0 for an empty list | 0 |
//! | M5 | titles must be equal to the letter (years within 2) | the same |
//! | M6 | the first entry enters DCG even at a cut-off of 0 | it does not |
//!
//! [`Protocol::ReferenceTruncatedFirst`] cuts the list to `k` entries *before* filtering. The
//! authors' scripts name such a function, which their repository lacks. This one follows its name.
//! It is not known which of the two made the published figures.
//!
//! Both sides need a year. Items without one, or known by an id, are judged by
//! [`JudgedList::from_ids`](crate::JudgedList::from_ids).

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::measure::{ndcg, recall};

mod reference;
mod textbook;

pub use textbook::judge;

/// The furthest that two years of the same work may lie apart; fixed in the authors' code.
pub const YEAR_TOLERANCE: u32 = 2;

/// An item by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TitleYear<'a> {
    /// The title, to the letter.
    pub title: &'a str,
    /// The year.
    pub year: i32,
}

impl<'a> TitleYear<'a> {
    /// An item by name.
    pub fn new(title: &'a str, year: i32) -> Self {
        Self { title, year }
    }

    /// The distance in years where the titles are equal to the letter and the years near enough.
    fn distance(&self, other: &TitleYear) -> Option<u32> {
        let years = self.year.abs_diff(other.year);
        (self.title == other.title && years <= YEAR_TOLERANCE).then_some(years)
    }
}

/// A list with all that it is judged by.
#[derive(Debug, Clone, Copy)]
pub struct NamedList<'a> {
    /// The list, best first.
    pub recommended: &'a [TitleYear<'a>],
    /// Titles that may not be recommended again, without years: a remake of a seen film never
    /// scores.
    pub seen: &'a [&'a str],
    /// The relevant items.
    pub ground_truth: &'a [TitleYear<'a>],
}

impl NamedList<'_> {
    fn may_count(&self, item: &TitleYear, catalog: &HashSet<TitleYear>) -> bool {
        !self.seen.contains(&item.title) && catalog.contains(item)
    }
}

/// The scores of one list at one cut-off. Where a protocol gives NaN, JSON has `null`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scores {
    /// Recall@k.
    pub recall: f64,
    /// NDCG@k.
    pub ndcg: f64,
}

/// A way to score a list of titles and years. The [module](self) lists their differences.
///
/// ```
/// use std::collections::HashSet;
///
/// use convrec_metrics::protocol::{NamedList, Protocol, TitleYear};
///
/// let (heat, alien) = (TitleYear::new("Heat", 1995), TitleYear::new("Alien", 1979));
/// let invented = TitleYear::new("Heat of the Alien", 2001);
/// let catalog = HashSet::from([heat, alien]);
/// let sample = NamedList { recommended: &[invented, heat], seen: &[], ground_truth: &[heat, alien] };
///
/// // The invented item takes no rank, and a list of one is compared with an ideal list of one...
/// assert_eq!(Protocol::Reference.evaluate(&sample, &catalog, &[5])[0].ndcg, 1.0);
/// // ... while the textbook wants both items, at ranks 1 and 2.
/// assert!(Protocol::Textbook.evaluate(&sample, &catalog, &[5])[0].ndcg < 0.4);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Protocol {
    /// The authors' `evaluate_direct_match`, quirks M1 to M6 kept.
    Reference,
    /// The same on the first `k` entries alone, which are cut before anything is filtered.
    ReferenceTruncatedFirst,
    /// Ranks as emitted, one-to-one matching, ideal list over `min(k, ground truths)`. See
    /// [`judge`].
    Textbook,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Protocol; 3] = [
        Protocol::Reference,
        Protocol::ReferenceTruncatedFirst,
        Protocol::Textbook,
    ];

    /// Scores one list, once for each cut-off.
    pub fn evaluate(
        self,
        sample: &NamedList,
        catalog: &HashSet<TitleYear>,
        cutoffs: &[usize],
    ) -> Vec<Scores> {
        match self {
            Protocol::Reference => {
                let list = reference::filter(sample, catalog);
                cutoffs.iter().map(|&k| list.scores(k)).collect()
            }
            Protocol::ReferenceTruncatedFirst => {
                let list = reference::filter(sample, catalog);
                cutoffs
                    .iter()
                    .map(|&k| list.truncated(k).scores(k))
                    .collect()
            }
            Protocol::Textbook => {
                let list = judge(sample, catalog);
                cutoffs
                    .iter()
                    .map(|&k| Scores {
                        recall: recall(&list, k),
                        ndcg: ndcg(&list, k),
                    })
                    .collect()
            }
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Protocol::Reference => "reference",
            Protocol::ReferenceTruncatedFirst => "reference-truncated-first",
            Protocol::Textbook => "textbook",
        })
    }
}

/// The text names no protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a protocol; expected `reference`, `reference-truncated-first` or `textbook`"
)]
pub struct ParseError {
    text: String,
}

impl FromStr for Protocol {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let named = Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.to_string() == text);
        named.ok_or_else(|| ParseError { text: text.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_to_text_and_back() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
            assert_eq!(
                serde_json::to_string(&protocol).unwrap(),
                format!("\"{protocol}\"")
            );
        }
        assert!(
            "direct"
                .parse::<Protocol>()
                .unwrap_err()
                .to_string()
                .contains("`direct` is not a protocol")
        );
    }
}
