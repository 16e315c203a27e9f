//! The authors' evaluation, quirks kept (numbers in the module above).

use std::collections::HashSet;

use super::{NamedList, Scores, TitleYear};
use crate::rewards::discount;

/// The list without seen and off-catalog items (M1), and the ground truths' marks on it.
pub(super) struct Filtered {
    /// The place of each remaining entry in the emitted list.
    positions: Vec<usize>,
    hits: Vec<bool>,
    n_ground_truth: usize,
}

pub(super) fn filter(sample: &NamedList, catalog: &HashSet<TitleYear>) -> Filtered {
    let may_count = |&position: &usize| sample.may_count(&sample.recommended[position], catalog);
    let positions: Vec<usize> = (0..sample.recommended.len()).filter(may_count).collect();
    let mut hits = vec![false; positions.len()];
    for wanted in sample.ground_truth {
        // M3: the first entry that fits, marked or not.
        let fits = |&position: &usize| wanted.distance(&sample.recommended[position]).is_some();
        if let Some(index) = positions.iter().position(fits) {
            hits[index] = true;
        }
    }
    Filtered {
        positions,
        hits,
        n_ground_truth: sample.ground_truth.len(),
    }
}

impl Filtered {
    /// The same for the first `k` entries as emitted. The first mark of the whole list is also the
    /// first in any beginning of it that holds the mark, so the marks need no second search.
    pub(super) fn truncated(&self, k: usize) -> Filtered {
        let kept = self.positions.partition_point(|&position| position < k);
        let (positions, hits) = (self.positions[..kept].to_vec(), self.hits[..kept].to_vec());
        Filtered {
            positions,
            hits,
            n_ground_truth: self.n_ground_truth,
        }
    }

    pub(super) fn scores(&self, k: usize) -> Scores {
        if self.hits.is_empty() {
            return Scores {
                recall: 0.0,
                ndcg: 0.0,
            };
        }
        let found = self.hits.iter().take(k).filter(|&&hit| hit).count();
        // M2: the ideal list is no longer than this one.
        let ideal = self.n_ground_truth.min(self.hits.len());
        // M4: without ground truth both are 0/0.
        Scores {
            recall: found as f64 / self.n_ground_truth as f64,
            ndcg: dcg(self.hits.iter().copied(), k) / dcg((0..ideal).map(|_| true), k),
        }
    }
}

fn dcg(hits: impl Iterator<Item = bool>, k: usize) -> f64 {
    // M6: the first entry is added whatever k.
    hits.take(k.max(1))
        .enumerate()
        .filter(|&(_, hit)| hit)
        .map(|(index, _)| discount(index))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAT: TitleYear = TitleYear {
        title: "Heat",
        year: 1995,
    };
    const ALIEN: TitleYear = TitleYear {
        title: "Alien",
        year: 1979,
    };
    const INVENTED: TitleYear = TitleYear {
        title: "Heat 2",
        year: 1999,
    };

    fn scores(
        recommended: &[TitleYear],
        seen: &[&str],
        ground_truth: &[TitleYear],
        k: usize,
    ) -> (f64, f64) {
        let catalog = HashSet::from([HEAT, ALIEN]);
        let scores = filter(
            &NamedList {
                recommended,
                seen,
                ground_truth,
            },
            &catalog,
        )
        .scores(k);
        (scores.recall, scores.ndcg)
    }

    #[test]
    fn quirks_by_number() {
        assert_eq!(
            scores(&[ALIEN, INVENTED, HEAT], &["Alien"], &[HEAT], 1),
            (1.0, 1.0),
            "M1"
        );
        assert_eq!(scores(&[HEAT], &[], &[HEAT, ALIEN], 5), (0.5, 1.0), "M2");
        assert_eq!(
            scores(&[HEAT, HEAT], &[], &[HEAT, TitleYear::new("Heat", 1997)], 2).0,
            0.5,
            "M3"
        );
        let (recall, ndcg) = scores(&[HEAT], &[], &[], 5);
        assert!(recall.is_nan() && ndcg.is_nan(), "M4");
        assert_eq!(scores(&[], &[], &[], 5), (0.0, 0.0), "M4");
        assert_eq!(
            scores(&[HEAT], &[], &[TitleYear::new("heat", 1995)], 5),
            (0.0, 0.0),
            "M5"
        );
        assert_eq!(scores(&[HEAT, ALIEN], &[], &[HEAT], 0), (0.0, 1.0), "M6");
    }
}
