//! Items that count as one.

use std::collections::BTreeMap;

use convrec_core::ItemId;

use crate::Catalog;

/// The items of a catalog that count as one: a representative and its aliases.
///
/// A catalog that holds twins ([`Catalog::with_twins`]) answers with the representative whenever a
/// name means one of them. Twins are therefore seen together, recommended once and judged together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twins {
    /// For each item the one that stands for it.
    representatives: Vec<ItemId>,
    /// The items that another one stands for, in order.
    aliases: Vec<ItemId>,
}

impl Twins {
    /// Twins from groups of items: the first of each group stands for the others. `n_items` is the
    /// size of the catalog.
    ///
    /// Ids that are not of the catalog, and ids that an earlier group holds, are passed over.
    #[must_use]
    pub fn new<G: AsRef<[ItemId]>>(n_items: usize, groups: impl IntoIterator<Item = G>) -> Self {
        let mut representatives: Vec<ItemId> = (0..n_items).map(|id| ItemId(id as u32)).collect();
        let mut grouped = vec![false; n_items];
        for group in groups {
            let mut free = group.as_ref().iter().copied().filter(|id| {
                let slot = grouped.get_mut(id.index());
                slot.is_some_and(|slot| !std::mem::replace(slot, true))
            });
            if let Some(first) = free.next() {
                free.for_each(|id| representatives[id.index()] = first);
            }
        }
        let aliases = (0..n_items).map(|id| ItemId(id as u32));
        let aliases = aliases
            .filter(|id| representatives[id.index()] != *id)
            .collect();
        Self {
            representatives,
            aliases,
        }
    }

    /// The item that stands for `id`: `id` itself where it has no twin or is no id of the catalog.
    #[must_use]
    pub fn representative(&self, id: ItemId) -> ItemId {
        self.representatives.get(id.index()).copied().unwrap_or(id)
    }

    /// The items that another one stands for, in order.
    #[must_use]
    pub fn aliases(&self) -> &[ItemId] {
        &self.aliases
    }

    /// The groups of items that count as one, each with its representative first.
    #[must_use]
    pub fn groups(&self) -> Vec<Vec<ItemId>> {
        let mut groups: BTreeMap<ItemId, Vec<ItemId>> = BTreeMap::new();
        for alias in &self.aliases {
            let first = self.representative(*alias);
            groups
                .entry(first)
                .or_insert_with(|| vec![first])
                .push(*alias);
        }
        groups.into_values().collect()
    }
}

impl Catalog {
    /// This catalog with the items of [`audit`](crate::audit) that are most likely one counting as
    /// one.
    ///
    /// ```
    /// use convrec_catalog::Catalog;
    /// use convrec_core::{Item, ItemId, jsonl};
    ///
    /// let lines =
    ///     "{\"title\": \"The Godfather\"}\n{\"title\": \"Godfather, The\", \"year\": 1972}\n";
    /// let catalog = Catalog::new(jsonl::read(lines.as_bytes(), "films.jsonl")?)?.merge_twins();
    /// assert_eq!(
    ///     catalog.find(&Item::new("The Godfather", None)),
    ///     Some(ItemId(1))
    /// );
    /// assert_eq!(catalog.aliases(), [ItemId(0)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn merge_twins(self) -> Self {
        let twins = crate::audit(&self).twins();
        self.with_twins(twins)
    }

    /// This catalog with other items counting as one than before.
    #[must_use]
    pub fn with_twins(mut self, twins: Twins) -> Self {
        self.twins = (!twins.aliases.is_empty()).then_some(twins);
        self
    }

    /// The item that stands for `id`: `id` itself where it has no twin.
    #[must_use]
    pub fn representative(&self, id: ItemId) -> ItemId {
        self.twins
            .as_ref()
            .map_or(id, |twins| twins.representative(id))
    }

    /// The items that another one stands for, in order; none where no twins were merged.
    #[must_use]
    pub fn aliases(&self) -> &[ItemId] {
        self.twins.as_ref().map_or(&[], Twins::aliases)
    }

    /// The groups of items that count as one, each with its representative first; none where no
    /// twins were merged.
    #[must_use]
    pub fn twin_groups(&self) -> Vec<Vec<ItemId>> {
        self.twins.as_ref().map_or_else(Vec::new, Twins::groups)
    }

    /// The representatives of `ids`, each once, in order.
    pub(crate) fn representatives(&self, ids: impl IntoIterator<Item = ItemId>) -> Vec<ItemId> {
        let mut found = Vec::new();
        for id in ids {
            let id = self.representative(id);
            if !found.contains(&id) {
                found.push(id);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_group_stands_for_it() {
        let ids = |ids: &[u32]| ids.iter().map(|&id| ItemId(id)).collect::<Vec<_>>();
        let twins = Twins::new(6, [ids(&[4, 1]), ids(&[1, 2, 9]), ids(&[5])]);
        let all: Vec<u32> = (0..7)
            .map(|id| twins.representative(ItemId(id)).0)
            .collect();
        assert_eq!(all, [0, 4, 2, 3, 4, 5, 6]);
        assert_eq!(twins.aliases(), ids(&[1]));
        assert_eq!(twins.groups(), [ids(&[4, 1])]);
    }
}
