//! What may be written next so that a list cannot leave the catalog.

use std::collections::HashMap;

use convrec_core::{Item, ItemId};

use crate::list::{ListFormat, Style};
use crate::tokenizer::{TextTokenizer, TokenizerError};

/// A token trie over the item lines of a catalog: the lists that can be written are those of N different catalog items,
/// none of them excluded, and then the end token.
///
/// Each node is a beginning of lines; its edges are the tokens that go on to some item. A [`ListCursor`] walks it, one
/// per list, and knows how many items below each node are used up, so a beginning without any item left is never
/// entered. Lists outside the catalog, repeated items, seen items, malformed lines and short lists are then impossible,
/// at every temperature.
///
/// ```
/// use convrec_core::{Item, ItemId};
/// use convrec_text::{ListFormat, ListTrie, TextTokenizer, TrainConfig};
///
/// let items = [Item::new("Heat", 1995), Item::new("Heat 2", 2026), Item::new("Alien", 1979)];
/// let corpus: Vec<String> = items.iter().map(|item| format!("{item}\n")).collect();
/// let tokenizer = TextTokenizer::train(corpus.iter(), &TrainConfig { vocab_size: 300, ..Default::default() })?;
/// let end = tokenizer.special_id("<eos>")?;
/// let trie = ListTrie::new(&tokenizer, ListFormat::default(), end, &items, 2)?;
///
/// // Two items, not Alien: of the two Heats, whichever comes first, only the other one can follow.
/// let mut cursor = trie.cursor(&[ItemId(2)])?;
/// let mut written = vec![];
/// while !cursor.allowed().is_empty() {
///     let token = cursor.allowed()[0];
///     cursor.push(token);
///     written.push(token);
/// }
/// let text = tokenizer.decode(&written);
/// assert!(text == "Heat (1995)\nHeat 2 (2026)\n" || text == "Heat 2 (2026)\nHeat (1995)\n");
/// assert_eq!(cursor.items().len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The trie is stored as flat arrays (compressed sparse rows), shared by all cursors. A list format that numbers its
/// lines has one trie for each rank.
///
/// De Cao, Izacard, Riedel, Petroni, "Autoregressive entity retrieval", ICLR 2021 (arXiv 2010.00904).
#[derive(Debug, Clone)]
pub struct ListTrie {
    /// One, or one for each rank.
    tries: Vec<Trie>,
    n_items: usize,
    n_ranks: usize,
    end: u32,
}

/// No list can be written as asked.
#[derive(Debug, thiserror::Error)]
pub enum TrieError {
    /// The tokenizer failed on an item's line.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The same line, or one that goes on where another ends.
    #[error(
        "the lines of \"{0}\" and \"{1}\" cannot be told apart: the tokens of one begin those of the other; \
         remove one of them from the catalog, or name it differently"
    )]
    Ambiguous(Item, Item),
    /// More items are wanted than there are.
    #[error(
        "a list of {wanted} items cannot be made of the {left} that are left: {all} in the catalog, the others excluded"
    )]
    TooFew {
        /// N.
        wanted: usize,
        /// Items that are not excluded.
        left: usize,
        /// Items in the catalog.
        all: usize,
    },
}

impl ListTrie {
    /// The trie of lists of `n_ranks` of `items`, whose ids are their places, written in `format` and ended by the token
    /// `end`.
    ///
    /// # Errors
    /// When two lines cannot be told apart, there are fewer than `n_ranks` items, or the tokenizer fails.
    pub fn new(
        tokenizer: &TextTokenizer,
        format: ListFormat,
        end: u32,
        items: &[Item],
        n_ranks: usize,
    ) -> Result<Self, TrieError> {
        if items.len() < n_ranks {
            return Err(TrieError::TooFew { wanted: n_ranks, left: items.len(), all: items.len() });
        }
        let ranks = if format.style == Style::Numbered { n_ranks } else { 1 };
        let tries = (0..ranks).map(|rank| {
            let line = |item| tokenizer.encode(&format.line(rank, item));
            let lines = items.iter().map(line).collect::<Result<Vec<_>, _>>()?;
            Trie::new(&lines).map_err(|[a, b]| TrieError::Ambiguous(items[a].clone(), items[b].clone()))
        });
        let tries = tries.collect::<Result<_, TrieError>>()?;
        Ok(Self { tries, n_items: items.len(), n_ranks, end })
    }

    /// Begins a list without the items of `excluded`; ids that are not in the catalog exclude nothing.
    ///
    /// # Errors
    /// When fewer than N items are left.
    pub fn cursor(&self, excluded: &[ItemId]) -> Result<ListCursor<'_>, TrieError> {
        let mut used: Vec<ItemId> = excluded.iter().copied().filter(|id| id.index() < self.n_items).collect();
        used.sort_unstable();
        used.dedup();
        let left = self.n_items - used.len();
        if left < self.n_ranks {
            return Err(TrieError::TooFew { wanted: self.n_ranks, left, all: self.n_items });
        }
        let excluded = used.len();
        let mut cursor =
            ListCursor { trie: self, used, excluded, node: ROOT, taken: HashMap::new(), allowed: vec![], ended: false };
        cursor.begin_line();
        Ok(cursor)
    }

    /// No list has more tokens, the end token included.
    pub fn longest_list(&self) -> usize {
        let lengths = |trie: &Trie| (0..self.n_items).map(|item| trie.path(ItemId(item as u32)).count()).collect();
        let of_lines: Vec<Vec<usize>> = self.tries.iter().map(lengths).collect();
        let longest = |lengths: &Vec<usize>| lengths.iter().copied().max().unwrap_or(0);
        match &of_lines[..] {
            [one] => {
                let mut lengths = one.clone();
                lengths.sort_unstable_by(|a, b| b.cmp(a));
                lengths[..self.n_ranks].iter().sum::<usize>() + 1
            }
            ranks => ranks.iter().map(longest).sum::<usize>() + 1,
        }
    }

    /// Tokens that a list can begin with, when nothing is excluded.
    pub fn first_tokens(&self) -> &[u32] {
        let edges = self.tries[0].edges(ROOT);
        &self.tries[0].tokens[edges]
    }
}

/// Where one list stands in a [`ListTrie`].
#[derive(Debug, Clone)]
pub struct ListCursor<'a> {
    trie: &'a ListTrie,
    /// What may not be written (any more): the excluded items, then those written, in order.
    used: Vec<ItemId>,
    excluded: usize,
    node: u32,
    /// For each node of this rank's trie that has used items below it, how many.
    taken: HashMap<u32, u32>,
    allowed: Vec<u32>,
    ended: bool,
}

impl ListCursor<'_> {
    /// The tokens that may come next, ascending. Empty after the end token; one where there is no choice.
    pub fn allowed(&self) -> &[u32] {
        &self.allowed
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
        assert!(self.allowed.binary_search(&token).is_ok(), "token {token} cannot come here");
        if self.items().len() == self.trie.n_ranks {
            self.ended = true;
            return self.allowed.clear();
        }
        let trie = self.trie_of_rank();
        let node = trie.child(self.node, token).expect("allowed tokens have an edge");
        let item = trie.item(node);
        self.node = node;
        match item {
            Some(item) => {
                self.used.push(item);
                self.begin_line();
            }
            None => self.look_ahead(),
        }
    }

    fn trie_of_rank(&self) -> &Trie {
        let tries = &self.trie.tries;
        &tries[self.items().len().min(tries.len() - 1)]
    }

    fn begin_line(&mut self) {
        if self.items().len() == self.trie.n_ranks {
            self.allowed = vec![self.trie.end];
            return;
        }
        self.node = ROOT;
        let mut taken = HashMap::new();
        let trie = self.trie_of_rank();
        for item in &self.used {
            trie.path(*item).for_each(|node| *taken.entry(node).or_insert(0) += 1);
        }
        self.taken = taken;
        self.look_ahead();
    }

    fn look_ahead(&mut self) {
        let trie = self.trie_of_rank();
        let left = |edge: &usize| {
            let child = trie.children[*edge];
            trie.below[child as usize] > self.taken.get(&child).copied().unwrap_or(0)
        };
        self.allowed = trie.edges(self.node).filter(left).map(|edge| trie.tokens[edge]).collect();
    }
}

const ROOT: u32 = 0;
const NO_ITEM: u32 = u32::MAX;

/// The lines of one rank. Nodes are numbered breadth first, so that the edges of a node, and its children, are adjacent.
#[derive(Debug, Clone)]
struct Trie {
    /// Of each node, its first edge; one more for the end.
    first: Vec<u32>,
    /// Of each edge, ascending within a node.
    tokens: Vec<u32>,
    /// Of each edge.
    children: Vec<u32>,
    /// Of each node, [`NO_ITEM`] unless a line ends there.
    items: Vec<u32>,
    /// Of each node, how many items end at or below it.
    below: Vec<u32>,
    /// Of each node.
    parents: Vec<u32>,
    /// Of each item, where its line ends.
    leaves: Vec<u32>,
}

impl Trie {
    /// The two lines that cannot be told apart are the error.
    fn new(lines: &[Vec<u32>]) -> Result<Self, [usize; 2]> {
        let mut order: Vec<usize> = (0..lines.len()).collect();
        order.sort_by(|a, b| lines[*a].cmp(&lines[*b]));
        // A line sorts right before those that it begins.
        if let Some(pair) = order.windows(2).find(|pair| lines[pair[1]].starts_with(&lines[pair[0]])) {
            return Err([pair[0], pair[1]]);
        }
        let mut trie = Self {
            first: vec![],
            tokens: vec![],
            children: vec![],
            items: vec![NO_ITEM],
            below: vec![lines.len() as u32],
            parents: vec![ROOT],
            leaves: vec![0; lines.len()],
        };
        // Of each node that has no edges yet: the lines below it and how many of their tokens lead to it.
        let mut level = vec![(ROOT, 0..lines.len(), 0)];
        while !level.is_empty() {
            let mut next = vec![];
            for (node, mut range, depth) in level {
                trie.first.push(trie.tokens.len() as u32);
                if let [only] = order[range.clone()]
                    && lines[only].len() == depth
                {
                    trie.items[node as usize] = only as u32;
                    trie.leaves[only] = node;
                    continue;
                }
                while !range.is_empty() {
                    let token = lines[order[range.start]][depth];
                    let same = order[range.clone()].partition_point(|line| lines[*line][depth] == token);
                    let child = trie.below.len() as u32;
                    trie.tokens.push(token);
                    trie.children.push(child);
                    trie.items.push(NO_ITEM);
                    trie.below.push(same as u32);
                    trie.parents.push(node);
                    next.push((child, range.start..range.start + same, depth + 1));
                    range.start += same;
                }
            }
            level = next;
        }
        trie.first.push(trie.tokens.len() as u32);
        Ok(trie)
    }

    fn edges(&self, node: u32) -> std::ops::Range<usize> {
        self.first[node as usize] as usize..self.first[node as usize + 1] as usize
    }

    fn child(&self, node: u32, token: u32) -> Option<u32> {
        let edges = self.edges(node);
        let edge = self.tokens[edges.clone()].binary_search(&token).ok()?;
        Some(self.children[edges.start + edge])
    }

    fn item(&self, node: u32) -> Option<ItemId> {
        let item = self.items[node as usize];
        (item != NO_ITEM).then_some(ItemId(item))
    }

    /// The nodes of an item's line, from its end up to the root's child.
    fn path(&self, item: ItemId) -> impl Iterator<Item = u32> {
        let mut node = self.leaves[item.index()];
        std::iter::from_fn(move || {
            let here = node;
            node = self.parents[here as usize];
            (here != ROOT).then_some(here)
        })
    }
}
