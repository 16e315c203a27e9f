/// Corrects the p-values of all comparisons made, so that the chance of *any* false one below 0.05
/// is at most 0.05 (whatever their dependence). The results are in the order of the input.
///
/// The smallest of `m` is multiplied by `m`, the next by `m - 1`, and so on; none gets smaller than
/// the one before it, or larger than 1.
///
/// Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
/// Statistics 6(2), 1979.
///
/// ```
/// use convrec_metrics::stats::holm;
///
/// assert_eq!(holm(&[0.5, 0.01, 0.02]), [0.5, 0.03, 0.04]);
/// ```
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (smaller, index) in order.into_iter().enumerate() {
        largest = largest
            .max(p_values[index] * (p_values.len() - smaller) as f64)
            .min(1.0);
        corrected[index] = largest;
    }
    corrected
}

#[cfg(test)]
#[test]
fn corrected_values_keep_their_order_and_stay_below_one() {
    assert_eq!(holm(&[0.25, 0.25, 0.5]), [0.75, 0.75, 0.75]);
    assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    assert!(holm(&[]).is_empty());
}
