/// Intra-list diversity: the mean of `1 - similarity` over all unordered pairs of ranks. `None` for
/// fewer than two items, which form no pair.
///
/// The similarity (of embeddings, of genres) is the caller's, and should be symmetric; with one in
/// [0, 1] the diversity is in [0, 1] too.
///
/// Smyth and McClave, "Similarity vs. diversity", ICCBR 2001; Ziegler et al., "Improving
/// recommendation lists through topic diversification", WWW 2005.
pub fn intra_list_diversity<T>(list: &[T], similarity: impl Fn(&T, &T) -> f64) -> Option<f64> {
    let pairs = list
        .iter()
        .enumerate()
        .flat_map(|(index, a)| list[index + 1..].iter().map(move |b| (a, b)));
    let n_pairs = list.len() * list.len().saturating_sub(1) / 2;
    (n_pairs > 0).then(|| pairs.map(|(a, b)| 1.0 - similarity(a, b)).sum::<f64>() / n_pairs as f64)
}

#[cfg(test)]
#[test]
fn mean_distance_of_pairs() {
    let same_genre = |a: &&str, b: &&str| if a == b { 1.0 } else { 0.0 };
    assert_eq!(
        intra_list_diversity(&["war", "war", "war"], same_genre),
        Some(0.0)
    );
    assert_eq!(
        intra_list_diversity(&["war", "war", "drama"], same_genre),
        Some(2.0 / 3.0)
    );
    assert_eq!(intra_list_diversity(&["war"], same_genre), None);
}
