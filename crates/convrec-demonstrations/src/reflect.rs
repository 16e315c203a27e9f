use convrec_core::ItemId;

/// Reflect: adds gamma times the judge's rating to the scores of the rated items (paper,
/// "Reflect"); s_reflect = s_remap + gamma r.
///
/// Items without a rating keep their score. The candidates to rate are the best of s_remap,
/// [`demonstration`](crate::demonstration)`(s_remap, N_r, &[])`.
///
/// # Panics
/// When a rated item is not in the catalog.
pub fn reflect(scores: &mut [f64], ratings: impl IntoIterator<Item = (ItemId, i8)>, gamma: f64) {
    for (item, rating) in ratings {
        scores[item.index()] += gamma * f64::from(rating);
    }
}
