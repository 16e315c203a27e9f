//! Writing one list.

use std::ops::Range;

use convrec_core::ItemId;

use super::ListTrie;
use super::lines::{Lines, Node};

/// Where one list stands in a [`ListTrie`]. Cloning it is cheap: a group of lists begins with
/// clones of one cursor.
#[derive(Debug, Clone)]
pub struct ListCursor<'a> {
    trie: &'a ListTrie,
    /// What may not be written (any more): the excluded items, then those written, in order.
    used: Vec<ItemId>,
    excluded: usize,
    /// Those that can stand at this rank.
    lines: Lines<'a>,
    node: Node,
    /// The places of the used items among the lines of this rank, ascending.
    taken: Vec<u32>,
    next: Next,
    /// What may come next if that is [`Next::Left`].
    left: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    /// All tokens that go on from the node.
    All,
    /// Only some of them: below the others, all items are used up.
    Left,
    /// The end token.
    End,
    /// The list is ended.
    Nothing,
}

impl<'a> ListCursor<'a> {
    /// `excluded`: of the catalog, each once.
    pub(super) fn new(trie: &'a ListTrie, excluded: Vec<ItemId>) -> Self {
        let lines = trie.lines(0);
        let (count, node) = (excluded.len(), lines.root());
        let mut cursor = Self {
            trie,
            used: excluded,
            excluded: count,
            lines,
            node,
            taken: vec![],
            next: Next::All,
            left: vec![],
        };
        cursor.take_all();
        cursor.look_ahead();
        cursor
    }

    /// The tokens that may come next, ascending. Empty after the end token; one where there is no
    /// choice.
    pub fn allowed(&self) -> &[u32] {
        match self.next {
            Next::All => &self.lines.tokens[self.node.edges(&self.lines)],
            Next::Left => &self.left,
            Next::End => std::slice::from_ref(&self.trie.source.end),
            Next::Nothing => &[],
        }
    }

    /// The token that must come next, where there is no choice.
    pub fn forced(&self) -> Option<u32> {
        if let [only] = self.allowed() {
            Some(*only)
        } else {
            None
        }
    }

    /// The items written so far, best first.
    pub fn items(&self) -> &[ItemId] {
        &self.used[self.excluded..]
    }

    /// Goes on with a token.
    ///
    /// # Panics
    /// When the token is not one of [`allowed`](Self::allowed).
    pub fn push(&mut self, token: u32) {
        let node = match self.next {
            Next::End if token == self.trie.source.end => return self.next = Next::Nothing,
            Next::End | Next::Nothing => None,
            Next::All | Next::Left => self
                .lines
                .child(&self.node, token)
                .filter(|child| self.has_left(child)),
        };
        self.node = node.unwrap_or_else(|| panic!("token {token} cannot come here"));
        if let Some(item) = self.lines.item(&self.node) {
            self.used.push(item);
            self.begin_line();
        } else {
            self.look_ahead();
        }
    }

    fn begin_line(&mut self) {
        let rank = self.items().len();
        if rank == self.trie.n_ranks() {
            return self.next = Next::End;
        }
        if self.trie.arrays.ranks() > 1 {
            self.lines = self.trie.lines(rank);
            self.take_all();
        } else {
            let place = self.node.places.start;
            self.taken
                .insert(self.taken.partition_point(|taken| *taken < place), place);
        }
        self.node = self.lines.root();
        self.look_ahead();
    }

    fn take_all(&mut self) {
        self.taken.clear();
        self.taken.extend(
            self.used
                .iter()
                .map(|item| self.lines.place_of[item.index()]),
        );
        self.taken.sort_unstable();
    }

    /// The used places of a node, as places in `taken`.
    fn taken(&self, node: &Node) -> Range<usize> {
        let before = |place| self.taken.partition_point(|taken| *taken < place);
        before(node.places.start)..before(node.places.end)
    }

    fn has_left(&self, node: &Node) -> bool {
        self.taken(node).len() < node.len()
    }

    /// Finds the children without an item left by going through the used items, of which there are
    /// few.
    fn look_ahead(&mut self) {
        self.left.clear();
        let Range { start, end } = self.node.edges(&self.lines);
        let mut from = start;
        let mut taken = &self.taken[self.taken(&self.node)];
        while let [place, ..] = taken {
            let edge = self.lines.edge_to(&self.node, *place);
            let child = self.lines.follow(&self.node, edge);
            let (below, others) =
                taken.split_at(taken.partition_point(|taken| *taken < child.places.end));
            if below.len() == child.len() {
                self.left.extend_from_slice(&self.lines.tokens[from..edge]);
                from = edge + 1;
            }
            taken = others;
        }
        if from == start {
            return self.next = Next::All;
        }
        self.left.extend_from_slice(&self.lines.tokens[from..end]);
        self.next = Next::Left;
    }
}
