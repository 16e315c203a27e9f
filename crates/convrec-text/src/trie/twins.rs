//! Items of a catalog that are one.

use std::sync::Arc;

use convrec_core::ItemId;

use super::TrieError;

/// Groups of items that are used up together.
#[derive(Debug, Clone, Default)]
pub(super) struct Twins {
    /// The group of each item, by id; empty where there are no groups.
    group_of: Arc<[Option<u32>]>,
    groups: Arc<[Vec<ItemId>]>,
}

impl Twins {
    pub(super) fn new(groups: &[Vec<ItemId>], n_items: usize) -> Result<Self, TrieError> {
        let mut group_of = vec![None; n_items];
        for (group, items) in groups.iter().enumerate() {
            for id in items {
                match group_of.get_mut(id.index()) {
                    Some(slot @ None) => *slot = Some(group as u32),
                    _ => {
                        return Err(TrieError::Twins {
                            id: *id,
                            all: n_items,
                        });
                    }
                }
            }
        }
        Ok(Self {
            group_of: group_of.into(),
            groups: groups.into(),
        })
    }

    /// Adds an item and its twins to `used`.
    pub(super) fn add(&self, item: ItemId, used: &mut Vec<ItemId>) {
        match self.group_of.get(item.index()).copied().flatten() {
            Some(group) => used.extend_from_slice(&self.groups[group as usize]),
            None => used.push(item),
        }
    }

    /// The number of different items among `n_items`.
    pub(super) fn distinct(&self, n_items: usize) -> usize {
        n_items
            - self
                .groups
                .iter()
                .map(|group| surplus(group))
                .sum::<usize>()
    }

    /// The number of different items among `items`, each given once.
    pub(super) fn distinct_among(&self, items: &[ItemId]) -> usize {
        let group = |item: &ItemId| self.group_of.get(item.index()).copied().flatten();
        let mut groups: Vec<u32> = items.iter().filter_map(group).collect();
        let alone = items.len() - groups.len();
        groups.sort_unstable();
        groups.dedup();
        alone + groups.len()
    }
}

fn surplus(group: &[ItemId]) -> usize {
    group.len().saturating_sub(1)
}
