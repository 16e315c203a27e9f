use std::collections::HashSet;

use super::{NamedList, TitleYear};
use crate::JudgedList;

/// Judges a list by titles and years in the textbook way: every entry keeps its rank, and entries
/// and ground truths are paired one to one.
///
/// Entries are taken from the top. An entry that is in the catalog and not seen takes the ground
/// truth of the same title and the nearest year that no earlier entry took. The year is within
/// [`YEAR_TOLERANCE`](super::YEAR_TOLERANCE); among equally near ones the first is taken. Any
/// [`Measure`](crate::Measure) can be computed from the result.
pub fn judge(sample: &NamedList, catalog: &HashSet<TitleYear>) -> JudgedList {
    let mut remaining = sample.ground_truth.to_vec();
    let hits = sample.recommended.iter().map(|entry| {
        let near = remaining
            .iter()
            .enumerate()
            .filter_map(|(index, wanted)| Some((entry.distance(wanted)?, index)));
        match near.min() {
            Some((_, index)) if sample.may_count(entry, catalog) => {
                remaining.remove(index);
                true
            }
            _ => false,
        }
    });
    JudgedList::new(hits.collect(), sample.ground_truth.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(recommended: &[i32], ground_truth: &[i32]) -> Vec<bool> {
        let named = |years: &[i32]| {
            years
                .iter()
                .map(|&year| TitleYear::new("Dune", year))
                .collect::<Vec<_>>()
        };
        let (recommended, ground_truth) = (named(recommended), named(ground_truth));
        let catalog = recommended.iter().copied().collect();
        judge(
            &NamedList {
                recommended: &recommended,
                seen: &[],
                ground_truth: &ground_truth,
            },
            &catalog,
        )
        .hits()
        .to_vec()
    }

    #[test]
    fn the_nearest_year_is_taken_once() {
        assert_eq!(
            hits(&[2000, 2000, 2000], &[2001, 1999]),
            [true, true, false]
        );
        // 2001 takes 2002 (nearest), which leaves 1999 for 1998; the other way round 1998 would
        // find nothing.
        assert_eq!(hits(&[2001, 1998], &[1999, 2002]), [true, true]);
        // Equally near: the first, 2001, which leaves 1999 for nobody.
        assert_eq!(hits(&[2000, 2003], &[2001, 1999]), [true, false]);
        assert_eq!(hits(&[2000, 2003], &[1999, 2001]), [true, true]);
    }
}
