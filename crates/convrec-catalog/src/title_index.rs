//! Finds the items that share a folded title, with 8 bytes an item. Titles are not kept a
//! second time.

use std::hash::{DefaultHasher, Hash, Hasher};

use convrec_core::{CatalogItem, ItemId};

use crate::normalise::fold;
use crate::reading::reading;

/// Ids in buckets by the hash of the folded title, one item a bucket on average.
#[derive(Debug, Clone)]
pub(crate) struct TitleIndex {
    /// Where each bucket begins; one more than buckets.
    starts: Vec<u32>,
    /// The ids of each bucket: those of one title together and in order.
    ids: Vec<ItemId>,
}

impl TitleIndex {
    pub(crate) fn new(items: &[CatalogItem]) -> Self {
        let n_items = u32::try_from(items.len()).expect("a catalog has fewer than 2^32 items");
        let mut index = Self {
            starts: vec![0; items.len() + 1],
            ids: vec![ItemId(0); items.len()],
        };
        let buckets: Vec<usize> = items.iter().map(|item| index.bucket(&key(item))).collect();
        buckets
            .iter()
            .for_each(|&bucket| index.starts[bucket + 1] += 1);
        (0..items.len()).for_each(|bucket| index.starts[bucket + 1] += index.starts[bucket]);
        let mut ends = index.starts.clone();
        for (id, &bucket) in (0..n_items).zip(&buckets) {
            index.ids[ends[bucket] as usize] = ItemId(id);
            ends[bucket] += 1;
        }
        for bucket in 0..items.len() {
            // The sort is stable, so that the ids of a title stay in order.
            let ids = index.starts[bucket] as usize..index.starts[bucket + 1] as usize;
            if ids.len() > 1 {
                index.ids[ids].sort_by_cached_key(|id| key(&items[id.index()]));
            }
        }
        index
    }

    fn bucket(&self, folded: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        folded.hash(&mut hasher);
        // The hash is taken as a share of all hashes, in units of buckets.
        ((u128::from(hasher.finish()) * (self.starts.len() as u128 - 1)) >> 64) as usize
    }

    /// The items whose folded title is this, in order.
    pub(crate) fn find(&self, folded: &str, items: &[CatalogItem]) -> &[ItemId] {
        let bucket = self.bucket(folded);
        let ids = &self.ids[self.starts[bucket] as usize..self.starts[bucket + 1] as usize];
        let titled = |id: &ItemId| key(&items[id.index()]) == folded;
        let start = ids.iter().position(titled).unwrap_or(ids.len());
        let count = ids[start..].iter().take_while(|id| titled(id)).count();
        &ids[start..start + count]
    }

    /// The first item with the title and year of an earlier one, behind the earlier one.
    pub(crate) fn first_duplicate(&self, items: &[CatalogItem]) -> Option<(ItemId, ItemId)> {
        let named = |id: ItemId| (&items[id.index()].title, items[id.index()].year);
        let in_bucket = |bounds: &[u32]| {
            let ids = &self.ids[bounds[0] as usize..bounds[1] as usize];
            let pairs = (0..ids.len()).flat_map(|b| (0..b).map(move |a| (ids[a], ids[b])));
            pairs
                .filter(|&(a, b)| named(a) == named(b))
                .min_by_key(|&(a, b)| (b, a))
        };
        self.starts
            .windows(2)
            .filter_map(in_bucket)
            .min_by_key(|&(a, b)| (b, a))
    }
}

/// The folded title of an item, without a year that the title ends in.
fn key(item: &CatalogItem) -> String {
    fold(reading(&item.title, item.year).0)
}
