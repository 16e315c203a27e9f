use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// The Gini coefficient of how often each catalog item is recommended: 0 when all are recommended
/// equally often, `1
/// - 1/C` when one item of `C` gets everything. Items never recommended count as 0, items outside
/// the catalog are left out. `None` when no catalog item is recommended.
///
/// Fleder and Hosanagar, "Blockbuster culture's next rise or fall", Management Science 55(5), 2009.
pub fn gini<T: Eq + Hash, L: AsRef<[T]>>(lists: &[L], catalog: &HashSet<T>) -> Option<f64> {
    let mut counts: HashMap<&T, u64> = catalog.iter().map(|item| (item, 0)).collect();
    for item in lists.iter().flat_map(|list| list.as_ref()) {
        if let Some(count) = counts.get_mut(item) {
            *count += 1;
        }
    }
    let mut counts: Vec<u64> = counts.into_values().collect();
    counts.sort_unstable();
    let total: u64 = counts.iter().sum();
    let n = counts.len() as f64;
    // Half the relative mean difference, over sorted counts.
    let weighted = counts
        .iter()
        .enumerate()
        .map(|(index, &count)| (2.0 * index as f64 + 1.0 - n) * count as f64);
    (total > 0).then(|| weighted.sum::<f64>() / (n * total as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_and_uneven() {
        let catalog = HashSet::from([1, 2, 3, 4]);
        assert_eq!(gini(&[[1, 2], [3, 4]], &catalog), Some(0.0));
        assert_eq!(gini(&[[1, 1], [1, 9]], &catalog), Some(0.75));
        assert_eq!(gini(&[[9]], &catalog), None);
        assert_eq!(gini(&[[9]], &HashSet::new()), None);
    }

    #[test]
    fn equals_the_mean_absolute_difference() {
        let counts = [5u32, 0, 2, 2, 7];
        let list: Vec<usize> = (0..5)
            .flat_map(|item| vec![item; counts[item] as usize])
            .collect();
        let differences: u32 = counts
            .iter()
            .flat_map(|a| counts.iter().map(move |b| a.abs_diff(*b)))
            .sum();
        let slow = f64::from(differences) / (2.0 * 5.0 * 16.0);
        assert!((gini(&[list], &(0..5).collect()).unwrap() - slow).abs() < 1e-15);
    }
}
