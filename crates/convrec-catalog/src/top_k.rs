use convrec_core::ItemId;

/// The `k` best-scored places of `scores` with their scores, best first; all of them, where there
/// are fewer.
///
/// The result is exact and deterministic: of equal scores the lower id is better, -0 equals 0, and
/// NaN is below all numbers.
///
/// ```
/// use convrec_catalog::top_k;
/// use convrec_core::ItemId;
///
/// assert_eq!(
///     top_k(&[0.5_f32, 2.0, 0.5, 1.0], 3),
///     [(ItemId(1), 2.0), (ItemId(3), 1.0), (ItemId(0), 0.5)]
/// );
/// ```
pub fn top_k<S: Copy + Into<f64>>(scores: &[S], k: usize) -> Vec<(ItemId, S)> {
    // Adding 0 turns -0 into 0, which `total_cmp` would tell apart.
    let score = |id: u32| {
        Some(scores[id as usize].into() + 0.0)
            .filter(|s| !s.is_nan())
            .unwrap_or(f64::NEG_INFINITY)
    };
    let better_first = |&a: &u32, &b: &u32| score(b).total_cmp(&score(a)).then(a.cmp(&b));
    let mut ids: Vec<u32> = (0..scores.len() as u32).collect();
    if k < ids.len() {
        ids.select_nth_unstable_by(k, better_first);
        ids.truncate(k);
    }
    ids.sort_unstable_by(better_first);
    ids.into_iter()
        .map(|id| (ItemId(id), scores[id as usize]))
        .collect()
}

/// Leaves the `k` best of `found`, best first, by the order of [`top_k`].
pub(crate) fn keep_best(found: &mut Vec<(ItemId, f32)>, k: usize) {
    found.sort_unstable_by_key(|(id, _)| *id);
    let scores: Vec<f32> = found.iter().map(|(_, score)| *score).collect();
    *found = top_k(&scores, k)
        .into_iter()
        .map(|(place, _)| found[place.index()])
        .collect();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ties_zeros_and_nans() {
        let scores = [f32::NAN, 0.0, -0.0, f32::NEG_INFINITY, 0.0, f32::INFINITY];
        let order: Vec<u32> = top_k(&scores, 9).iter().map(|(id, _)| id.0).collect();
        assert_eq!(order, [5, 1, 2, 4, 0, 3]);
        assert!(top_k(&scores, 0).is_empty() && top_k::<f64>(&[], 3).is_empty());
    }

    proptest! {
        #[test]
        fn equals_picking_the_best_again_and_again(scores in prop::collection::vec(-3_i32..3, 0..40), k in 0_usize..45) {
            let mut left: Vec<usize> = (0..scores.len()).collect();
            let mut slow = Vec::new();
            while slow.len() < k && !left.is_empty() {
                let best = (0..left.len()).rev().max_by_key(|&i| scores[left[i]]).unwrap();
                let place = left.remove(best);
                slow.push((ItemId(place as u32), scores[place]));
            }
            prop_assert_eq!(top_k(&scores, k), slow);
        }
    }
}
