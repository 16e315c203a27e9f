//! Items that a conversation names.

use convrec_catalog::{Catalog, Mentions};
use convrec_core::{Item, Turn};

/// The catalog items that a conversation names ([`Mentions`]).
pub fn named(catalog: &Catalog, turns: &[Turn]) -> Vec<Item> {
    let ids = Mentions::new(catalog).in_turns(turns);
    ids.into_iter().map(|id| catalog[id].item()).collect()
}
