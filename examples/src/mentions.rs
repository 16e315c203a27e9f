//! Items that a conversation names.

use convrec_catalog::Catalog;
use convrec_core::{Item, Turn};

/// Catalog items whose full name, year included, stands in the conversation, and not as the end of
/// a longer one.
pub fn named(catalog: &Catalog, turns: &[Turn]) -> Vec<Item> {
    let text = turns
        .iter()
        .map(|turn| turn.content.as_str())
        .collect::<Vec<_>>()
        .join("\n");
    let items = catalog
        .iter()
        .map(|(_, item)| item.item())
        .filter(|item| item.year.is_some());
    let found: Vec<(usize, usize, Item)> = items
        .flat_map(|item| {
            let name = item.to_string();
            text.match_indices(&name)
                .map(|(at, name)| (at, at + name.len(), item.clone()))
                .collect::<Vec<_>>()
        })
        .collect();
    let within = |a: &(usize, usize, Item), b: &(usize, usize, Item)| {
        b.0 <= a.0 && a.1 <= b.1 && b.1 - b.0 > a.1 - a.0
    };
    let mut named: Vec<Item> = Vec::new();
    for place in found
        .iter()
        .filter(|place| !found.iter().any(|other| within(place, other)))
    {
        if !named.contains(&place.2) {
            named.push(place.2.clone());
        }
    }
    named
}
