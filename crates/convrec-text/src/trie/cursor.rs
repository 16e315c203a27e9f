//! Writing one list.

use std::ops::Range;

use convrec_core::ItemId;

use super::ListTrie;
use super::among::Among;
use super::lines::{Lines, Node};

/// The state of one list that is written under a [`ListTrie`].
///
/// A cursor owns what it needs: it shares the trie's arrays, so it can be stored, sent to another
/// thread and outlive the trie it came from. Cloning it is cheap: a group of lists begins with
/// clones of one cursor.
#[derive(Debug, Clone)]
pub struct ListCursor {
    trie: ListTrie,
    /// Items that may not be written, or not any more: those excluded, those written, and the
    /// twins of both.
    used: Vec<ItemId>,
    /// Items written, in order.
    written: Vec<ItemId>,
    node: Node,
    /// The places of the used items among the lines of this rank, ascending; not kept where there
    /// are candidates.
    taken: Vec<u32>,
    /// The candidates, where nothing else may be written.
    among: Option<Among>,
    n_ranks: usize,
    next: Next,
    /// The tokens that may come next where that is [`Next::Left`].
    left: Vec<u32>,
    /// What the scores of the candidates say of `left`, where there are scores.
    prior: Vec<f32>,
}

/// A token that cannot come next: [`ListCursor::try_push`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "token {token} cannot come here after {items} items; expected one of the {allowed} tokens \
     that `allowed` names"
)]
pub struct NotAllowed {
    /// The token.
    pub token: u32,
    /// The items written before.
    pub items: usize,
    /// The number of tokens that may come next.
    pub allowed: usize,
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

impl ListCursor {
    /// `used` holds items of the catalog, each once, with all of their twins.
    pub(super) fn new(trie: ListTrie, used: Vec<ItemId>, among: Option<Among>) -> Self {
        let node = trie.lines(0).root();
        let most = among.as_ref().map_or(usize::MAX, |among| among.distinct);
        let mut cursor = Self {
            n_ranks: trie.n_ranks().min(most),
            trie,
            used,
            written: vec![],
            node,
            taken: vec![],
            among,
            next: Next::All,
            left: vec![],
            prior: vec![],
        };
        cursor.take_all();
        cursor.look_ahead();
        cursor
    }

    /// The tokens that may come next, ascending. They are none after the end token, and one where
    /// there is no choice.
    pub fn allowed(&self) -> &[u32] {
        match self.next {
            Next::All => {
                let lines = self.lines();
                &lines.tokens[self.node.edges(&lines)]
            }
            Next::Left => &self.left,
            Next::End => std::slice::from_ref(&self.trie.source().end),
            Next::Nothing => &[],
        }
    }

    /// What the scores of the candidates say of the tokens that may come next, as logits in the
    /// order of [`allowed`](Self::allowed): for each token the logarithm of the sum of e^score over
    /// the items left below it. Where they are the only logits, each item is so drawn with a
    /// probability proportional to e^score. `None` without scores, and where there is no choice of
    /// items any more.
    ///
    /// ```
    /// use convrec_core::{Candidates, ItemId};
    /// use convrec_text::ListTrie;
    ///
    /// let trie = ListTrie::from_token_ids(&[[1, 2], [1, 3], [4, 5]], &[], 9, 1)?;
    /// let scored = Candidates::scored([(ItemId(0), 0.0), (ItemId(1), 0.0), (ItemId(2), 1.0)]);
    /// let mut cursor = trie.cursor_among(&[], &scored)?;
    /// assert_eq!(cursor.prior(), Some(&[2f32.ln(), 1.0][..]));
    /// cursor.push(1);
    /// assert_eq!(cursor.prior(), Some(&[0.0, 0.0][..]));
    /// # Ok::<(), convrec_text::TrieError>(())
    /// ```
    pub fn prior(&self) -> Option<&[f32]> {
        match self.next {
            Next::Left if !self.prior.is_empty() => Some(&self.prior),
            _ => None,
        }
    }

    /// The number of items in the whole list: N, or fewer where there are fewer candidates.
    pub fn n_ranks(&self) -> usize {
        self.n_ranks
    }

    /// Whether a token may come next.
    pub fn is_allowed(&self, token: u32) -> bool {
        self.allowed().binary_search(&token).is_ok()
    }

    /// The token that must come next, where there is no choice.
    pub fn forced(&self) -> Option<u32> {
        match self.allowed() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// Whether the list is complete: its end token is written.
    pub fn is_done(&self) -> bool {
        matches!(self.next, Next::Nothing)
    }

    /// The items written so far, best first.
    pub fn items(&self) -> &[ItemId] {
        &self.written
    }

    /// The number of items in the catalog.
    pub fn n_items(&self) -> usize {
        self.trie.n_items()
    }

    /// Sets the logits of all tokens that may not come next to negative infinity.
    ///
    /// `logits` hold one number for each token id, `[vocabulary]`, of whatever model. Where the
    /// list [is done](Self::is_done) nothing may come next, so all of them are set.
    ///
    /// ```
    /// use convrec_text::ListTrie;
    ///
    /// // Two items of two tokens each; 9 ends a list of one item.
    /// let trie = ListTrie::from_token_ids(&[[1, 2], [1, 3]], &[], 9, 1)?;
    /// let mut cursor = trie.cursor(&[])?;
    /// let mut logits = [0.5; 10];
    /// cursor.mask(&mut logits);
    /// assert!(logits[1] == 0.5 && logits[2] == f32::NEG_INFINITY);
    /// # Ok::<(), convrec_text::TrieError>(())
    /// ```
    ///
    /// # Panics
    /// When there are no logits for a token that may come next: they are of another tokenizer.
    pub fn mask(&self, logits: &mut [f32]) {
        let (mut from, n) = (0, logits.len());
        for token in self.allowed() {
            let token = *token as usize;
            assert!(token < n, "{n} logits have none for token {token}");
            logits[from..token].fill(f32::NEG_INFINITY);
            from = token + 1;
        }
        logits[from..].fill(f32::NEG_INFINITY);
    }

    /// Sets the bits of the tokens that may come next, and clears all others: bit `t % 32` of word
    /// `t / 32` is token t's. Engines that apply such masks on their device take them from here.
    ///
    /// ```
    /// use convrec_text::ListTrie;
    ///
    /// let trie = ListTrie::from_token_ids(&[[1, 2], [33, 2]], &[], 9, 1)?;
    /// let mut bits = [u32::MAX; 2];
    /// trie.cursor(&[])?.mask_bits(&mut bits);
    /// assert_eq!(bits, [1 << 1, 1 << 1]);
    /// # Ok::<(), convrec_text::TrieError>(())
    /// ```
    ///
    /// # Panics
    /// When there are no bits for a token that may come next: they are of another tokenizer.
    pub fn mask_bits(&self, bits: &mut [u32]) {
        bits.fill(0);
        let n = 32 * bits.len();
        for token in self.allowed() {
            let token = *token as usize;
            assert!(token < n, "{n} bits have none for token {token}");
            bits[token / 32] |= 1 << (token % 32);
        }
    }

    /// Goes on with a token.
    ///
    /// # Panics
    /// When the token is not one of [`allowed`](Self::allowed). [`try_push`](Self::try_push)
    /// returns an error instead.
    pub fn push(&mut self, token: u32) {
        if let Err(problem) = self.try_push(token) {
            panic!("{problem}");
        }
    }

    /// Goes on with a token.
    ///
    /// # Errors
    /// [`NotAllowed`] when the token is not one of [`allowed`](Self::allowed); the cursor stays
    /// where it was.
    pub fn try_push(&mut self, token: u32) -> Result<(), NotAllowed> {
        let node = match self.next {
            Next::End if token == self.trie.source().end => {
                self.next = Next::Nothing;
                return Ok(());
            }
            Next::End | Next::Nothing => None,
            Next::All | Next::Left => self
                .lines()
                .child(&self.node, token)
                .filter(|child| self.has_left(child)),
        };
        self.node = node.ok_or(NotAllowed {
            token,
            items: self.written.len(),
            allowed: self.allowed().len(),
        })?;
        match self.lines().item(&self.node) {
            Some(item) => self.end_line(item),
            None => self.look_ahead(),
        }
        Ok(())
    }

    /// Uses up items that are not to be written any more, between two lines. Ids that are not in
    /// the catalog exclude nothing.
    ///
    /// Where nothing is left for the next rank, nothing is [allowed](Self::allowed) any more.
    ///
    /// # Panics
    /// When a line is begun and not ended.
    pub fn exclude(&mut self, items: impl IntoIterator<Item = ItemId>) {
        if !matches!(self.next, Next::All | Next::Left) {
            return;
        }
        let lines = self.trie.lines(self.written.len());
        assert_eq!(
            self.node.places,
            lines.root().places,
            "items are excluded between two lines"
        );
        let n_items = self.trie.arrays().n_items();
        for item in items.into_iter().filter(|item| item.index() < n_items) {
            self.trie.twins().add(item, &mut self.used);
        }
        self.used.sort_unstable();
        self.used.dedup();
        self.take_all();
        self.look_ahead();
    }

    fn end_line(&mut self, item: ItemId) {
        let before = self.used.len();
        self.trie.twins().add(item, &mut self.used);
        self.written.push(item);
        let rank = self.written.len();
        if rank == self.n_ranks {
            return self.next = Next::End;
        }
        if self.trie.arrays().ranks() > 1 {
            self.take_all();
        } else if let Some(among) = &mut self.among {
            let lines = self.trie.lines(rank);
            among.remove(&lines, &self.used[before..]);
        } else {
            let lines = self.trie.lines(rank);
            for item in &self.used[before..] {
                let place = lines.place_of[item.index()];
                let at = self.taken.partition_point(|taken| *taken < place);
                self.taken.insert(at, place);
            }
        }
        self.node = self.lines().root();
        self.look_ahead();
    }

    /// The lines that can stand at this rank.
    fn lines(&self) -> Lines<'_> {
        self.trie.lines(self.written.len())
    }

    fn take_all(&mut self) {
        let lines = self.trie.lines(self.written.len());
        if let Some(among) = &mut self.among {
            return among.place(&lines, &self.used);
        }
        self.taken.clear();
        self.taken
            .extend(self.used.iter().map(|item| lines.place_of[item.index()]));
        self.taken.sort_unstable();
    }

    /// The used places of a node, as places in `taken`.
    fn taken(&self, node: &Node) -> Range<usize> {
        let before = |place| self.taken.partition_point(|taken| *taken < place);
        before(node.places.start)..before(node.places.end)
    }

    fn has_left(&self, node: &Node) -> bool {
        match &self.among {
            Some(among) => !among.below(node).is_empty(),
            None => self.taken(node).len() < node.len(),
        }
    }

    /// Finds the children without an item left by going through the used items, of which there are
    /// few.
    fn look_ahead(&mut self) {
        let lines = self.trie.lines(self.written.len());
        self.left.clear();
        if let Some(among) = &self.among {
            among.look_ahead(&lines, &self.node, &mut self.left, &mut self.prior);
            return self.next = Next::Left;
        }
        let Range { start, end } = self.node.edges(&lines);
        let mut from = start;
        let mut taken = &self.taken[self.taken(&self.node)];
        while let [place, ..] = taken {
            let edge = lines.edge_to(&self.node, *place);
            let child = lines.follow(&self.node, edge);
            let (below, others) =
                taken.split_at(taken.partition_point(|taken| *taken < child.places.end));
            if below.len() == child.len() {
                self.left.extend_from_slice(&lines.tokens[from..edge]);
                from = edge + 1;
            }
            taken = others;
        }
        if from == start {
            return self.next = Next::All;
        }
        self.left.extend_from_slice(&lines.tokens[from..end]);
        self.next = Next::Left;
    }
}
