//! What a trie is made from.

use convrec_core::Item;
use sha2::{Digest, Sha256};

use super::{ListFormat, TextTokenizer, TokenizerError};
use crate::list::Style;

/// All that decides what a trie holds: two tries of equal sources are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    style: Style,
    pub(super) n_ranks: u32,
    pub(super) end: u32,
    n_items: u32,
    /// SHA-256 of the items' names, in order.
    catalog: [u8; 32],
    /// SHA-256 of `tokenizer.json`.
    tokenizer: [u8; 32],
}

impl Source {
    /// The bytes of [`to_bytes`](Self::to_bytes).
    pub(super) const BYTES: usize = 80;

    /// There must be at most `u32::MAX` items, and no more ranks than items.
    pub(super) fn new(
        tokenizer: &TextTokenizer,
        format: ListFormat,
        end: u32,
        items: &[Item],
        n_ranks: usize,
    ) -> Result<Self, TokenizerError> {
        let mut names = Sha256::new();
        items
            .iter()
            .for_each(|item| names.update(ListFormat::default().line(0, item)));
        Ok(Self {
            style: format.style,
            n_ranks: n_ranks as u32,
            end,
            n_items: items.len() as u32,
            catalog: names.finalize().into(),
            tokenizer: tokenizer.sha256()?,
        })
    }

    pub(super) fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let numbers =
            [self.style as u32, self.n_ranks, self.end, self.n_items].map(u32::to_le_bytes);
        bytes[..16].copy_from_slice(numbers.as_flattened());
        bytes[16..48].copy_from_slice(&self.catalog);
        bytes[48..].copy_from_slice(&self.tokenizer);
        bytes
    }

    /// What differs in the source of a file, for people; nothing if it is this one.
    pub(super) fn differences(&self, file: &[u8; Self::BYTES]) -> Option<String> {
        let ours = self.to_bytes();
        let number = |bytes: &[u8], at: usize| {
            bytes[4 * at..]
                .first_chunk()
                .map_or(0, |b| u32::from_le_bytes(*b))
        };
        let mut found = vec![];
        if number(&ours, 0) != number(file, 0) {
            found.push("the list style is another".to_string());
        }
        for (at, name) in [
            (1, "items in a list"),
            (2, "the end token"),
            (3, "items in the catalog"),
        ] {
            let (asked, there) = (number(&ours, at), number(file, at));
            if asked != there {
                found.push(format!("{name}: {there} in the file, {asked} asked for"));
            }
        }
        if self.catalog != file[16..48] {
            found.push("the catalog's names, or their order, are others".into());
        }
        if self.tokenizer != file[48..] {
            found.push("the tokenizer is another".into());
        }
        (!found.is_empty()).then(|| found.join("; "))
    }
}
