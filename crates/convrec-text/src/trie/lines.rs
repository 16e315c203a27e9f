//! The lines of one rank as a trie in flat arrays.

use std::ops::Range;

use convrec_core::ItemId;

use super::TrieError;

/// A trie of one line for each item.
///
/// Nodes are numbered breadth first and within a level in the order of the lines, so edge e leads
/// to node e + 1, and the lines below a node are adjacent when all lines are sorted by their
/// tokens: a node is a range of *places* in that order. Which lines are used up below a node is
/// then a matter of sorted places, and nothing has to be counted.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    /// The first edge of each node, and one more for the end. A line ends at a node without edges.
    pub(super) first: &'a [u32],
    /// The token of each edge, ascending within a node.
    pub(super) tokens: &'a [u32],
    /// The place of the first line below each node.
    pub(super) places: &'a [u32],
    /// The item at each place.
    pub(super) items: &'a [u32],
    /// The place of each item.
    pub(super) place_of: &'a [u32],
}

/// A common beginning of some lines.
#[derive(Debug, Clone)]
pub(super) struct Node {
    number: u32,
    /// The places of the lines that begin so.
    pub(super) places: Range<u32>,
}

impl Node {
    /// The places in [`Lines::tokens`] of the tokens that may follow.
    pub(super) fn edges(&self, lines: &Lines<'_>) -> Range<usize> {
        let number = self.number as usize;
        lines.first[number] as usize..lines.first[number + 1] as usize
    }

    /// The number of lines that begin so.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

impl std::fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines")
            .field("nodes", &self.places.len())
            .finish_non_exhaustive()
    }
}

impl Lines<'_> {
    /// The beginning of all lines.
    pub(super) fn root(&self) -> Node {
        Node {
            number: 0,
            places: 0..self.items.len() as u32,
        }
    }

    /// The node that a token leads to.
    pub(super) fn child(&self, node: &Node, token: u32) -> Option<Node> {
        let edges = node.edges(self);
        let edge = self.tokens[edges.clone()].binary_search(&token).ok()?;
        Some(self.follow(node, edges.start + edge))
    }

    /// The edge below which the line at `place` is, which must be below `node`.
    pub(super) fn edge_to(&self, node: &Node, place: u32) -> usize {
        let edges = node.edges(self);
        edges.start
            + self.places[edges.start + 1..=edges.end].partition_point(|first| *first <= place)
            - 1
    }

    /// The node that an edge of `node` leads to.
    pub(super) fn follow(&self, node: &Node, edge: usize) -> Node {
        let child = edge + 1;
        let is_last = child == node.edges(self).end;
        let end = if is_last {
            node.places.end
        } else {
            self.places[child + 1]
        };
        Node {
            number: child as u32,
            places: self.places[child]..end,
        }
    }

    /// The item whose line ends at `node`.
    pub(super) fn item(&self, node: &Node) -> Option<ItemId> {
        node.edges(self)
            .is_empty()
            .then(|| ItemId(self.items[node.places.start as usize]))
    }

    /// The numbers of tokens of the `count` longest lines, in no order.
    pub(super) fn longest(&self, count: usize) -> impl Iterator<Item = usize> {
        let mut of_length = vec![];
        // The children of a level's nodes are the next level.
        let mut level = 0..1;
        while !level.is_empty() {
            of_length.push(
                level
                    .clone()
                    .filter(|node| self.first[*node] == self.first[*node + 1])
                    .count(),
            );
            level = self.first[level.start] as usize + 1..self.first[level.end] as usize + 1;
        }
        let longest_first = of_length.into_iter().enumerate().rev();
        longest_first
            .flat_map(|(length, lines)| std::iter::repeat_n(length, lines))
            .take(count)
    }
}

/// Why lines make no trie; items are places.
pub(super) enum BadLines {
    NoTokens(usize),
    EndInside { end: u32, item: usize },
    Ambiguous(usize, usize),
    TooLarge(usize),
}

impl BadLines {
    /// The error for a caller, with items named by `named` and what two have in common by `why`.
    pub(super) fn named(
        self,
        named: impl Fn(usize) -> String,
        why: impl Fn(usize, usize) -> String,
    ) -> TrieError {
        match self {
            Self::NoTokens(item) => TrieError::NoTokens(named(item)),
            Self::EndInside { end, item } => TrieError::EndInside {
                end,
                item: named(item),
            },
            Self::Ambiguous(a, b) => TrieError::Ambiguous {
                first: named(a),
                second: named(b),
                items: [ItemId(a as u32), ItemId(b as u32)],
                why: why(a, b),
            },
            Self::TooLarge(items) => TrieError::TooLarge(items),
        }
    }
}

/// Appends the arrays of [`Lines`] to `words`, in the order of its fields, and gives the number of
/// nodes. There must be at least one line.
pub(super) fn line_arrays(
    lines: &[Vec<u32>],
    end: u32,
    words: &mut Vec<u32>,
) -> Result<u32, BadLines> {
    let largest = lines.iter().map(Vec::len).sum::<usize>().max(lines.len());
    u32::try_from(largest + 1).map_err(|_| BadLines::TooLarge(lines.len()))?;
    if let Some(item) = lines.iter().position(|line| line.contains(&end)) {
        return Err(BadLines::EndInside { end, item });
    }
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by(|a, b| lines[*a].cmp(&lines[*b]));
    if lines[order[0]].is_empty() {
        return Err(BadLines::NoTokens(order[0]));
    }
    // A line sorts right before those that it begins.
    if let Some(pair) = order
        .windows(2)
        .find(|pair| lines[pair[1]].starts_with(&lines[pair[0]]))
    {
        return Err(BadLines::Ambiguous(pair[0], pair[1]));
    }
    let (mut first, mut tokens, mut places) = (vec![], vec![], vec![0]);
    // The lines below each node of the level; as many of their tokens lead to it.
    let all = 0..lines.len();
    let mut level = vec![all];
    for depth in 0.. {
        let mut next = vec![];
        for mut range in level {
            first.push(tokens.len() as u32);
            if lines[order[range.start]].len() == depth {
                continue;
            }
            while !range.is_empty() {
                let token = lines[order[range.start]][depth];
                let same =
                    order[range.clone()].partition_point(|line| lines[*line][depth] == token);
                tokens.push(token);
                places.push(range.start as u32);
                next.push(range.start..range.start + same);
                range.start += same;
            }
        }
        if next.is_empty() {
            break;
        }
        level = next;
    }
    first.push(tokens.len() as u32);
    let mut place_of = vec![0; order.len()];
    order
        .iter()
        .enumerate()
        .for_each(|(place, item)| place_of[*item] = place as u32);
    let nodes = places.len() as u32;
    words.reserve_exact(3 * places.len() + 2 * order.len());
    words.extend(first.into_iter().chain(tokens).chain(places));
    words.extend(order.into_iter().map(|item| item as u32).chain(place_of));
    Ok(nodes)
}
