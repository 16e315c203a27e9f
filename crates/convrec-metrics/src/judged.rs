use std::collections::HashSet;
use std::hash::Hash;

/// A ranked list after judgement: the ranks that hit, and the number of relevant items.
///
/// Every [`Measure`](crate::Measure) is a function of this and a cut-off. It does not depend on how
/// hits were decided (ids, titles with a year, a file of judgements).
///
/// ```
/// use std::collections::HashSet;
///
/// use convrec_metrics::JudgedList;
///
/// let list = JudgedList::from_ids(&[7, 3, 7, 9], &HashSet::from([7, 8]));
/// assert_eq!(list.hits(), [true, false, false, false]); // the second 7 earns nothing
/// assert_eq!(list.relevant(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedList {
    hits: Vec<bool>,
    relevant: usize,
}

impl JudgedList {
    /// A list judged elsewhere. `hits[k]` says whether index `k` (rank `k + 1`) is credited;
    /// `relevant` is the number of relevant items.
    ///
    /// # Panics
    /// When there are more hits than relevant items: some item was then credited twice.
    pub fn new(hits: Vec<bool>, relevant: usize) -> Self {
        let found = hits.iter().filter(|&&hit| hit).count();
        assert!(
            found <= relevant,
            "{found} hits but only {relevant} relevant items; credit each item once"
        );
        Self { hits, relevant }
    }

    /// Judges a list of ids: a rank hits when its item is relevant and stands at no earlier rank.
    pub fn from_ids<T: Eq + Hash>(list: &[T], relevant: &HashSet<T>) -> Self {
        let mut credited = HashSet::new();
        let hits = list
            .iter()
            .map(|item| relevant.contains(item) && credited.insert(item))
            .collect();
        Self {
            hits,
            relevant: relevant.len(),
        }
    }

    /// Whether each rank hit, best rank first; as long as the list.
    pub fn hits(&self) -> &[bool] {
        &self.hits
    }

    /// The number of relevant items, found or not.
    pub fn relevant(&self) -> usize {
        self.relevant
    }

    /// The number of hits within the first `k` ranks.
    pub fn found(&self, k: usize) -> usize {
        self.hits.iter().take(k).filter(|&&hit| hit).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "2 hits but only 1 relevant items")]
    fn an_item_is_not_credited_twice() {
        JudgedList::new(vec![true, true], 1);
    }
}
