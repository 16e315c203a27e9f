//! The inputs that a trie is made from.

use convrec_core::Item;
use sha2::{Digest, Sha256};

use super::{ListFormat, TextTokenizer};
use crate::list::Style;
use crate::tokenizer::TokenizerError;

/// Everything that decides what a trie holds. Two tries of equal sources are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    style: Style,
    pub(super) n_ranks: u32,
    pub(super) end: u32,
    n_items: u32,
    /// SHA-256 of the items' names or tokens, in order.
    catalog: [u8; 32],
    /// SHA-256 of `tokenizer.json`; zeros where the items are given by their tokens.
    tokenizer: [u8; 32],
}

impl Source {
    /// The number of bytes of [`to_bytes`](Self::to_bytes).
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

    /// The source of lines that are given by their tokens. The same bounds hold.
    pub(super) fn of_token_ids(lines: &[Vec<u32>], end: u32, n_ranks: usize) -> Self {
        let mut ids = Sha256::new();
        for line in lines {
            ids.update((line.len() as u64).to_le_bytes());
            line.iter().for_each(|id| ids.update(id.to_le_bytes()));
        }
        Self {
            style: Style::Plain,
            n_ranks: n_ranks as u32,
            end,
            n_items: lines.len() as u32,
            catalog: ids.finalize().into(),
            tokenizer: [0; 32],
        }
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

    /// Says what differs in the source of a file; `None` where nothing does.
    pub(super) fn differences(&self, file: &[u8; Self::BYTES]) -> Option<String> {
        let ours = self.to_bytes();
        let number = |bytes: &[u8], at: usize| {
            bytes[4 * at..]
                .first_chunk()
                .map_or(0, |b| u32::from_le_bytes(*b))
        };
        let mut found = vec![];
        if number(&ours, 0) != number(file, 0) {
            found.push("the list style differs".to_string());
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
            found.push("the catalog's names, or their order, differ".into());
        }
        if self.tokenizer != file[48..] {
            found.push("the tokenizer differs".into());
        }
        (!found.is_empty()).then(|| found.join("; "))
    }
}
