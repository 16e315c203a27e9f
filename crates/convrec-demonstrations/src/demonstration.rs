use convrec_catalog::top_k;
use convrec_core::ItemId;

/// The `n` best items that were not seen, best first. Ties go to the lower index.
///
/// ```
/// use convrec_core::ItemId;
///
/// let list = convrec_demonstrations::demonstration(&[0.5, 2.0, 0.5, 1.0], 2, &[ItemId(1)]);
/// assert_eq!(list, [ItemId(3), ItemId(0)]);
/// ```
pub fn demonstration<A: Copy + Into<f64>>(scores: &[A], n: usize, seen: &[ItemId]) -> Vec<ItemId> {
    let best = top_k(scores, n + seen.len())
        .into_iter()
        .map(|(item, _)| item);
    best.filter(|item| !seen.contains(item)).take(n).collect()
}

/// [`demonstration`] from the items of `support` only, which is in order and without repetitions.
pub(crate) fn demonstration_within(
    scores: &[f64],
    n: usize,
    seen: &[ItemId],
    support: &[ItemId],
) -> Vec<ItemId> {
    let unseen: Vec<ItemId> = support
        .iter()
        .copied()
        .filter(|item| !seen.contains(item))
        .collect();
    let scores: Vec<f64> = unseen.iter().map(|item| scores[item.index()]).collect();
    top_k(&scores, n)
        .into_iter()
        .map(|(place, _)| unseen[place.index()])
        .collect()
}
