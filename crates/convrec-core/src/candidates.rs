//! The items that one list may hold.

use std::collections::HashSet;

use crate::ItemId;

/// The items that one list may hold, in the order in which they were given, each once. They may
/// have scores: what they are worth before a policy looks.
///
/// A score is a logarithm, up to a constant: an item whose score is higher by 1 is e times as
/// likely.
///
/// ```
/// use convrec_core::{Candidates, ItemId};
///
/// let plain = Candidates::new([ItemId(7), ItemId(3), ItemId(7)]);
/// assert_eq!(plain.items(), [ItemId(7), ItemId(3)]);
/// assert!(plain.scores().is_none());
///
/// let scored = Candidates::scored([(ItemId(7), 0.5), (ItemId(3), -1.0)]);
/// assert_eq!(scored.scores(), Some(&[0.5, -1.0][..]));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Candidates {
    items: Vec<ItemId>,
    /// One for each item, or none at all.
    scores: Option<Vec<f32>>,
}

impl Candidates {
    /// Candidates without scores. An item that is given again is passed over.
    #[must_use]
    pub fn new(items: impl IntoIterator<Item = ItemId>) -> Self {
        let mut known = HashSet::new();
        Self {
            items: items.into_iter().filter(|id| known.insert(*id)).collect(),
            scores: None,
        }
    }

    /// Candidates with scores. An item that is given again is passed over, and so is one whose
    /// score is NaN or infinite.
    #[must_use]
    pub fn scored(items: impl IntoIterator<Item = (ItemId, f32)>) -> Self {
        let mut known = HashSet::new();
        let items = items.into_iter();
        let (items, scores) = items
            .filter(|(id, score)| score.is_finite() && known.insert(*id))
            .unzip();
        Self {
            items,
            scores: Some(scores),
        }
    }

    /// The items.
    #[must_use]
    pub fn items(&self) -> &[ItemId] {
        &self.items
    }

    /// The scores, in the order of the items, where there are any.
    #[must_use]
    pub fn scores(&self) -> Option<&[f32]> {
        self.scores.as_deref()
    }

    /// The number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}
