//! The arrays of a trie, in memory or in a file.

use std::ops::Range;

use memmap2::Mmap;

use super::lines::Lines;

/// The arrays of one rank after the other, each as [`line_arrays`](super::lines::line_arrays)
/// leaves them.
pub(super) struct Arrays {
    words: Words,
    ranks: Vec<Rank>,
    n_items: usize,
}

enum Words {
    Owned(Vec<u32>),
    /// The words are the bytes in this range.
    Mapped(Mmap, Range<usize>),
}

struct Rank {
    /// The place of its first word.
    start: usize,
    nodes: usize,
}

impl Arrays {
    /// `nodes` of each rank; `words` must be as many as [`words`] says.
    pub(super) fn new(words: Vec<u32>, nodes: &[u32], n_items: usize) -> Self {
        Self {
            words: Words::Owned(words),
            ranks: ranks(nodes, n_items),
            n_items,
        }
    }

    /// The arrays begin at byte `start`, which must be a multiple of 4, and there must be as many
    /// words as [`words`] says.
    pub(super) fn mapped(file: Mmap, start: usize, nodes: &[u32], n_items: usize) -> Self {
        let ranks = ranks(nodes, n_items);
        let n: usize = ranks
            .iter()
            .map(|rank| words(rank.nodes as u64, n_items as u64) as usize)
            .sum();
        let range = start..start + 4 * n;
        let words = if cfg!(target_endian = "little") {
            Words::Mapped(file, range)
        } else {
            Words::Owned(
                file[range]
                    .as_chunks()
                    .0
                    .iter()
                    .map(|word| u32::from_le_bytes(*word))
                    .collect(),
            )
        };
        Self {
            words,
            ranks,
            n_items,
        }
    }

    pub(super) fn n_items(&self) -> usize {
        self.n_items
    }

    /// The number of ranks that have lines of their own: one, or all.
    pub(super) fn ranks(&self) -> usize {
        self.ranks.len()
    }

    /// The number of nodes of each rank.
    pub(super) fn nodes(&self) -> impl Iterator<Item = u32> {
        self.ranks.iter().map(|rank| rank.nodes as u32)
    }

    /// All words.
    pub(super) fn words(&self) -> &[u32] {
        match &self.words {
            Words::Owned(words) => words,
            Words::Mapped(file, range) => bytemuck::cast_slice(&file[range.clone()]),
        }
    }

    /// The lines of a rank.
    pub(super) fn lines(&self, rank: usize) -> Lines<'_> {
        let Rank { start, nodes } = self.ranks[rank];
        let mut rest = &self.words()[start..];
        let mut array = |length| {
            let (array, others) = rest.split_at(length);
            rest = others;
            array
        };
        Lines {
            first: array(nodes + 1),
            tokens: array(nodes - 1),
            places: array(nodes),
            items: array(self.n_items),
            place_of: array(self.n_items),
        }
    }
}

impl std::fmt::Debug for Arrays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrays")
            .field("n_items", &self.n_items)
            .finish_non_exhaustive()
    }
}

/// The number of words of a rank.
pub(super) fn words(nodes: u64, n_items: u64) -> u64 {
    3 * nodes + 2 * n_items
}

fn ranks(nodes: &[u32], n_items: usize) -> Vec<Rank> {
    let mut start = 0;
    let rank = |nodes: &u32| {
        let rank = Rank {
            start,
            nodes: *nodes as usize,
        };
        start += words((*nodes).into(), n_items as u64) as usize;
        rank
    };
    nodes.iter().map(rank).collect()
}
